"""Idempotency keys: the same key and body give the same resource, for 24 hours, on any replica.

A key is one S3 object made by a conditional PUT *before* anything is created. It holds the id
that the run or resource will get, so that a crash between the two leaves nothing to guess: the
replay creates the resource under that id.
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
KEPT = timedelta(hours=24)
SWEEP = 3600.0
"""Seconds between two sweeps, more or less, so that replicas do not meet."""
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
    """`id` is the id to create under; `replayed` says that an earlier request chose it."""

    id: str
    replayed: bool


class IdempotencyStore:
    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._sweeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep_for_ever(), name="idempotency keys")

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def sweep(self) -> int:
        """Deletes expired keys and says how many. One listing and one read; two replicas that do
        it at once do no harm. Only a request that takes up a key again after its 24 hours, in the
        instant between listing and deleting, has its key forgotten early."""
        listed = await self._store.list(PREFIX)
        if not listed:
            return 0
        oldest = min(listed, key=lambda info: info.last_modified)
        held = await self._store.get(oldest.key)
        if held is None or not _expired(held):
            return 0
        expired = [i.key for i in listed if held.answered_at - i.last_modified > KEPT]
        await self._store.delete_many(expired)
        return len(expired)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                log.info("idempotency_keys_swept", keys=await self.sweep())
            except AsgardError as error:
                log.warning("idempotency_keys_not_swept", error=error.detail)
            except Exception:
                # The outer edge of a task that has to outlive every fault.
                log.exception("idempotency_sweep_failed")

    async def claim(self, key: IdempotencyKey | None, new_id: str) -> Claim:
        """Raises `IdempotencyMismatch` when the key was used with another body."""
        from app.lakehouse.storage import PreconditionFailed

        if key is None:
            return Claim(new_id, replayed=False)
        body = json.dumps({"id": new_id, "body_hash": key.body_hash}).encode()
        for _ in range(5):
            try:
                await self._store.create(key.object_key, body)
                return Claim(new_id, replayed=False)
            except PreconditionFailed:
                held = await self._store.get(key.object_key)
            if held is None:
                continue
            if not _expired(held):
                return _replay(held, key, new_id)
            try:
                await self._store.replace(key.object_key, body, held.etag)
                return Claim(new_id, replayed=False)
            except PreconditionFailed:
                continue  # another request with this key was faster: read what it chose
        raise EngineUnreachable("The idempotency key is claimed by too many requests at once.")


def _expired(held: "StoredObject") -> bool:
    # Both times come from the storage: local clocks play no part.
    return held.answered_at - held.last_modified > KEPT


def _replay(held: "StoredObject", key: IdempotencyKey, new_id: str) -> Claim:
    kept = json.loads(held.body)
    if kept["id"] == new_id:
        # Our own PUT landed, but its answer was lost and the client library repeated it.
        return Claim(new_id, replayed=False)
    if kept["body_hash"] != key.body_hash:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used with another request less than 24 hours ago.",
            hint="Use a new key for a new request.",
        )
    return Claim(kept["id"], replayed=True)
