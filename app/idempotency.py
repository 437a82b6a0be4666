"""Idempotency keys: for 24 hours, the same key and body give the same resource on any replica.

A key is one S3 object, created by a conditional PUT *before* anything else. It holds the id that
the run or resource will get. After a crash between the two, the replay creates the resource under
that id.
"""

import asyncio
import hashlib
import json
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from app.caller import Caller, identity_of
from app.errors import AsgardError, EngineUnreachable, IdempotencyMismatch

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore, StoredObject

PREFIX = "asgard/idempotency/"
LIFETIME = timedelta(hours=24)
SWEEP = 3600.0
"""Seconds between two sweeps, randomized so that replicas do not sweep at the same time."""
log = structlog.get_logger()


@dataclass(frozen=True)
class IdempotencyKey:
    key: str
    caller: Caller
    body_hash: str

    @property
    def object_key(self) -> str:
        scoped = f"{identity_of(self.caller.subject)}\n{self.key}"
        return f"{PREFIX}{hashlib.sha256(scoped.encode()).hexdigest()}.json"


@dataclass(frozen=True)
class Claim:
    """`id` is the id of the resource to create. `replayed` is true if an earlier request chose
    it."""

    id: str
    replayed: bool


class IdempotencyStore:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._sweeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep_forever(), name="idempotency keys")

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def sweep(self) -> int:
        """Delete expired keys and return their number. This takes one listing and one read. Two
        replicas may do it at once. Only a request that uses a key again after its 24 hours, in the
        instant between listing and deleting, loses its key early."""
        listed = await self._store.list(PREFIX)
        if not listed:
            return 0
        oldest = min(listed, key=lambda info: info.last_modified)
        stored = await self._store.get(oldest.key)
        if stored is None or not _expired(stored):
            return 0
        expired = [i.key for i in listed if stored.answered_at - i.last_modified > LIFETIME]
        await self._store.delete_many(expired)
        return len(expired)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                log.info("idempotency_keys_swept", keys=await self.sweep())
            except AsgardError as error:
                log.warning("idempotency_keys_not_swept", error=error.detail)
            except Exception:
                # The outer edge of a task that has to survive every error.
                log.exception("idempotency_sweep_failed")

    async def claim(self, key: IdempotencyKey | None, new_id: str) -> Claim:
        """Claim the key, and return the id to use. Raises `IdempotencyMismatch` if the key was used
        with another body."""
        from app.lakehouse.storage import PreconditionFailed

        if key is None:
            return Claim(new_id, replayed=False)
        body = json.dumps({"id": new_id, "body_hash": key.body_hash}).encode()
        for _ in range(5):
            try:
                await self._store.create(key.object_key, body)
                return Claim(new_id, replayed=False)
            except PreconditionFailed:
                stored = await self._store.get(key.object_key)
            if stored is None:
                continue
            if not _expired(stored):
                return _replay(stored, key, new_id)
            try:
                await self._store.replace(key.object_key, body, stored.etag)
                return Claim(new_id, replayed=False)
            except PreconditionFailed:
                continue  # another request with this key was faster: read its id
        raise EngineUnreachable("Too many concurrent requests use this idempotency key.")


def _expired(stored: "StoredObject") -> bool:
    # Both times come from the storage, so local clocks do not matter.
    return stored.answered_at - stored.last_modified > LIFETIME


def _replay(stored: "StoredObject", key: IdempotencyKey, new_id: str) -> Claim:
    claimed = json.loads(stored.body)
    if claimed["id"] == new_id:
        # Our own PUT landed, but its answer was lost and the client library repeated it.
        return Claim(new_id, replayed=False)
    if claimed["body_hash"] != key.body_hash:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used with another request less than 24 hours ago.",
            hint="Use a new key for a new request.",
        )
    return Claim(claimed["id"], replayed=True)
