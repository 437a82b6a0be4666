"""Moves durable items in batches to where they belong, in the background."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import structlog

from app.concurrency.backoff import backoff_delays
from app.concurrency.notify import wait_within
from app.errors import AsgardError

T = TypeVar("T")
LARGEST_BATCH = 500
LONGEST_PAUSE = 30.0
log = structlog.get_logger()


class Outbox(Generic[T]):
    """Holds items by id until `deliver` has accepted them. A crash repeats a delivery: every item
    exists elsewhere already, and `deliver` accepts one a second time.

    `batching` is how many seconds the first item waits for others. `upkeep` runs after each
    delivery and returns the seconds until it is due again, or None if it is not due. `name` begins
    the log's events."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[T]], Awaitable[None]],
        upkeep: Callable[[], Awaitable[float | None]],
        *,
        batching: float,
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._upkeep = upkeep
        self._batching = batching
        self._items: dict[str, T] = {}
        self._added_at: dict[str, float] = {}
        self._added = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def items(self) -> Mapping[str, T]:
        """Return the items that are not delivered yet, by id, oldest first."""
        return MappingProxyType(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item_id: str, item: T) -> None:
        """Add an item, or replace the one of this id."""
        self._items[item_id] = item
        self._added_at.setdefault(item_id, time.monotonic())
        self._added.set()

    @property
    def oldest_seconds(self) -> float:
        """Return how long the oldest item has waited, or 0 if none waits."""
        oldest = min(self._added_at.values(), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    def open(self) -> None:
        self._task = asyncio.create_task(self._deliver_forever())

    async def stop(self) -> None:
        """End the background task. What is not delivered stays in `items`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def flush(self, grace: float) -> None:
        """Deliver everything within `grace` seconds, or leave the rest and log it."""
        try:
            async with asyncio.timeout(grace):
                await self._deliver_all()
        except (AsgardError, TimeoutError) as error:
            log.warning(f"{self._name}_left", waiting=len(self), error=repr(error))

    async def _deliver_forever(self) -> None:
        due: float | None = 0.0
        delays = _delays()
        while True:
            try:
                if not self._items:
                    # Cleared while nothing waits, because a set event would make this loop spin.
                    self._added.clear()
                    await wait_within(self._added, due)
                if self._items:
                    await asyncio.sleep(self._batching)
                    await self._deliver_all()
                due = await self._upkeep()
                delays = _delays()
                continue
            except AsgardError as error:
                log.warning(f"{self._name}_waits", waiting=len(self), error=error.detail)
            except Exception:
                # The outer edge of a task that has to survive every error.
                log.exception(f"{self._name}_failed", waiting=len(self))
            due = 0.0
            await asyncio.sleep(next(delays))

    async def _deliver_all(self) -> None:
        while self._items:
            batch = dict(list(self._items.items())[:LARGEST_BATCH])
            await self._deliver(list(batch.values()))
            for item_id in batch:
                self._items.pop(item_id, None)
                self._added_at.pop(item_id, None)


def _delays() -> Iterator[float]:
    return backoff_delays(longest=LONGEST_PAUSE)
