"""Checks for readiness and the doctor that the lake still has its objects and accepts new ones.

Reading alone does not show a full disk. Writing alone does not show lost volumes, because new
objects go into new volumes. The probe therefore reads one object, overwrites it and reads it again.
If the earlier object cannot be read, the probe does not overwrite it, which would hide the loss.
The embedded lake also proves that it has lost nothing (see `seaweedfs_losses`).
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from app.errors import AsgardError, EngineUnreachable
from app.lakehouse.storage import ObjectStore

HEALTH_KEY = "asgard/health"
EVERY = 30.0
"""Seconds from one round to the next, however often readiness is requested."""
STALE_AFTER = 60.0
"""Seconds for which an outcome stays valid while the next round runs."""
AT_LEAST_EVERY = 60 * 60.0
"""Seconds between rounds when no client requests readiness. SeaweedFS deletes a volume that has
been empty for a day. Only a check within that day can tell this from a loss."""
MARK = b"written and read again by Asgard's readiness "


Proof = Callable[[], Awaitable[None]]


class Memory(Protocol):
    """Remembers, outside the buckets, which of them have had their probe object."""

    def is_proven(self, bucket: str) -> bool: ...

    def proven(self, bucket: str) -> None: ...


@dataclass(frozen=True)
class ProbeObject:
    """An object that belongs to the probe alone. Without a memory, a missing object counts as one
    that was never written."""

    store: ObjectStore
    key: str = HEALTH_KEY
    memory: Memory | None = None


async def prove_kept(place: ProbeObject) -> None:
    """Read, overwrite and read the object again. Raises `EngineUnreachable`."""
    bucket, memory = place.store.bucket, place.memory
    lost = f"an object stored earlier in bucket {bucket} cannot be read"
    try:
        earlier = await place.store.get(place.key)
    except AsgardError as error:
        raise _failed(lost, error.detail) from error
    if earlier is None and memory is not None and memory.is_proven(bucket):
        raise _failed(lost, f"{place.key} does not exist")
    try:
        await place.store.put(place.key, MARK + uuid.uuid4().hex.encode())
        current = await place.store.get(place.key)
    except AsgardError as error:
        raise _failed(f"bucket {bucket} does not accept objects", error.detail) from error
    # Another gateway's probe may have written since.
    if current is None or not current.body.startswith(MARK):
        raise _failed(f"bucket {bucket} does not return an object it has just accepted")
    if memory is not None:
        memory.proven(bucket)


def _failed(what: str, why: str | None = None) -> EngineUnreachable:
    """`why` may quote S3, and with it an address, which is not for everyone."""
    detail = f"{what}: {why}" if why else what
    return EngineUnreachable(detail, dependency="s3", public=what)


async def prove_all(places: Sequence[ProbeObject], proofs: Sequence[Proof]) -> None:
    """Raise `EngineUnreachable` if something is lost. A failed proof names the cause best."""
    try:
        await asyncio.gather(*map(prove_kept, places))
    except EngineUnreachable:
        await _prove(proofs)
        raise
    await _prove(proofs)


async def _prove(proofs: Sequence[Proof]) -> None:
    for proof in proofs:
        await proof()


class StorageProbe:
    """The one probe for all callers of a gateway."""

    def __init__(
        self, places: Sequence[ProbeObject], proofs: Sequence[Proof] = (), every: float = EVERY
    ) -> None:
        self._places = places
        self._proofs = proofs
        self._every = every
        self._round: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = self._ended = float("-inf")
        self._cause: EngineUnreachable | None = None

    def open(self) -> None:
        """Begin the first round, which may take longer on a new lake than a caller waits."""
        self._begin()

    async def check(self) -> None:
        """Raise `EngineUnreachable` with the cause that the last round found. If there is none,
        check that S3 answers now."""
        now, running = time.monotonic(), self._round
        if running is None or (running.done() and now - self._began >= self._every):
            running = self._begin()
        if now - self._ended > STALE_AFTER:
            await asyncio.shield(running)
        # This comes first: a request for an object in a lost volume only times out.
        if self._cause is not None:
            detail, public = self._cause.detail, self._cause.public
            raise EngineUnreachable(detail, dependency="s3", public=public)
        await self._places[0].store.get(self._places[0].key)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._round is not None:
            self._round.cancel()
            with suppress(asyncio.CancelledError):
                await self._round

    def _begin(self) -> asyncio.Task[None]:
        self._began = time.monotonic()
        self._round = asyncio.create_task(self._run_round(), name="storage probe")
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(AT_LEAST_EVERY, self._begin)
        return self._round

    async def _run_round(self) -> None:
        try:
            await prove_all(self._places, self._proofs)
        except EngineUnreachable as error:
            self._cause = error
        else:
            self._cause = None
        self._ended = time.monotonic()
