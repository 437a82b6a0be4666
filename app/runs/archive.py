"""Moves ended runs from their S3 objects into history, in batches, in the background."""

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from app.concurrency.backoff import backoff_delays
from app.concurrency.notify import wait_within
from app.errors import AsgardError
from app.runs.history import RunHistory
from app.runs.model import Run
from app.runs.store import RunStore, StoredRun

if TYPE_CHECKING:
    from collections.abc import Mapping

BATCHING = 1.0
"""Seconds that the first ended run waits for others, so that they share a batch."""
LARGEST_BATCH = 500
KEPT_ENDED = 20.0
"""Seconds for which the object of an ended run stays after history has it. A request that chose its
id before the run was created (idempotency, joining) must not create it again, and a list of both
must not miss it."""
log = structlog.get_logger()


class RunArchive:
    """Owns every ended run whose object still exists. A crash repeats work, but loses nothing."""

    def __init__(self, runs: RunStore, history: RunHistory) -> None:
        self._runs = runs
        self._history = history
        self._waiting: dict[str, StoredRun] = {}
        self._archived: dict[str, tuple[StoredRun, float]] = {}
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._archive_forever())

    async def close(self, grace: float) -> None:
        """Stop within `grace` seconds. Runs not archived by then stay in S3 for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(grace):
                await self._append()
        except (AsgardError, TimeoutError) as error:
            log.warning("runs_left_to_archive", runs=len(self._waiting), error=repr(error))

    def add(self, stored: StoredRun) -> None:
        if stored.run.run_id not in self._archived:
            self._waiting.setdefault(stored.run.run_id, stored)
            self._work.set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def get(self, run_id: str) -> Run | None:
        stored = self.objects().get(run_id)
        return stored.run if stored else None

    def objects(self) -> "Mapping[str, StoredRun]":
        archived = {run_id: stored for run_id, (stored, _) in self._archived.items()}
        return {**self._waiting, **archived}

    async def _archive_forever(self) -> None:
        delays = backoff_delays(longest=30.0)
        while True:
            if not self._waiting:
                await wait_within(self._work, self._next_removal())
            try:
                if self._waiting:
                    await asyncio.sleep(BATCHING)
                    await self._append()
                await self._remove()
                delays = backoff_delays(longest=30.0)
            except AsgardError as error:
                log.warning("archive_waits", runs=len(self._waiting), error=error.detail)
                await asyncio.sleep(next(delays))
            except Exception:
                # The outer edge of a task that has to survive every error.
                log.exception("archive_failed", runs=len(self._waiting))
                await asyncio.sleep(next(delays))

    async def _append(self) -> None:
        while self._waiting:
            self._work.clear()
            batch = list(self._waiting.values())[:LARGEST_BATCH]
            await self._history.append([stored.run for stored in batch])
            for stored in batch:
                del self._waiting[stored.run.run_id]
                self._archived[stored.run.run_id] = (stored, time.monotonic() + KEPT_ENDED)

    def _next_removal(self) -> float | None:
        if not self._archived:
            return None
        return max(0.05, min(due for _, due in self._archived.values()) - time.monotonic())

    async def _remove(self) -> None:
        due = [run_id for run_id, (_, at) in self._archived.items() if at <= time.monotonic()]
        if due:
            await self._runs.remove(due)
            for run_id in due:
                del self._archived[run_id]
