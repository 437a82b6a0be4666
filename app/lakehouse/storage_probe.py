"""Checks for readiness and the doctor that the lake still has its objects and accepts new ones.

Reading alone does not show a full disk. Writing alone does not show lost volumes, because new
objects go into new volumes. The probe therefore reads one object, overwrites it and reads it again.
If the earlier object cannot be read, the probe does not overwrite it, which would hide the loss.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.errors import AsgardError, EngineUnreachable
from app.lakehouse.storage import ObjectStore

HEALTH_KEY = "asgard/health"
EVERY = 30.0
"""Seconds from one round to the next, however often readiness is requested."""
STALE_AFTER = 60.0
"""Seconds for which an outcome stays valid while the next round runs."""
MARK = b"written and read again by Asgard's readiness "


@dataclass(frozen=True)
class Place:
    """An object that belongs to the probe alone."""

    store: ObjectStore
    key: str = HEALTH_KEY


async def prove_kept(place: Place) -> None:
    """Read, overwrite and read the object again. Raises `EngineUnreachable`."""
    bucket = place.store.bucket
    try:
        await place.store.get(place.key)
    except AsgardError as error:
        lost = f"an object stored earlier in bucket {bucket} cannot be read: {error.detail}"
        raise EngineUnreachable(lost, dependency="s3") from error
    try:
        await place.store.put(place.key, MARK + uuid.uuid4().hex.encode())
        found = await place.store.get(place.key)
    except AsgardError as error:
        raise EngineUnreachable(
            f"bucket {bucket} does not accept objects: {error.detail}", dependency="s3"
        ) from error
    # Another gateway's probe may have written since.
    if found is None or not found.body.startswith(MARK):
        raise EngineUnreachable(
            f"bucket {bucket} does not return an object it has just accepted", dependency="s3"
        )


class StorageProbe:
    """The one probe for all callers of a gateway."""

    def __init__(self, places: Sequence[Place], every: float = EVERY) -> None:
        self._places = places
        self._every = every
        self._round: asyncio.Task[None] | None = None
        self._began = self._ended = float("-inf")
        self._cause: str | None = None

    def open(self) -> None:
        """Begin the first round, which may take longer on a new lake than a caller waits."""
        self._begin()

    async def check(self) -> None:
        """Check on every call that S3 answers, and report what the last round found. Raises
        `EngineUnreachable` with the cause."""
        await self._places[0].store.get(self._places[0].key)
        now, running = time.monotonic(), self._round
        if running is None or (running.done() and now - self._began >= self._every):
            running = self._begin()
        if now - self._ended > STALE_AFTER:
            await asyncio.shield(running)
        if self._cause is not None:
            raise EngineUnreachable(self._cause, dependency="s3")

    async def close(self) -> None:
        if self._round is not None:
            self._round.cancel()
            with suppress(asyncio.CancelledError):
                await self._round

    def _begin(self) -> asyncio.Task[None]:
        self._began = time.monotonic()
        self._round = asyncio.create_task(self._look(), name="storage probe")
        return self._round

    async def _look(self) -> None:
        try:
            await asyncio.gather(*map(prove_kept, self._places))
        except EngineUnreachable as error:
            self._cause = error.detail
        else:
            self._cause = None
        self._ended = time.monotonic()
