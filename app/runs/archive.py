"""Moves ended runs from their S3 objects into history, in batches, in the background."""

import time
from collections.abc import Mapping

from app.concurrency.outbox import Outbox
from app.runs.history import RunHistory
from app.runs.model import Run
from app.runs.store import RunStore, StoredRun

BATCHING = 1.0
"""Seconds that the first ended run waits for others, so that they share a batch."""
KEPT_ENDED = 20.0
"""Seconds for which the object of an ended run stays after history has it. A request that chose its
id before the run was created (idempotency, joining) must not create it again, and a list of both
must not miss it."""


class RunArchive:
    """Owns every ended run whose object still exists. A crash repeats work, but loses nothing."""

    def __init__(self, runs: RunStore, history: RunHistory) -> None:
        self._runs = runs
        self._history = history
        self._archived: dict[str, tuple[StoredRun, float]] = {}
        self._outbox = Outbox("archive", self._append, self._remove, batching=BATCHING)

    def open(self) -> None:
        self._outbox.open()

    async def close(self, grace: float) -> None:
        """Stop within `grace` seconds. Runs not archived by then stay in S3 for the next start."""
        await self._outbox.stop()
        await self._outbox.flush(grace)

    def add(self, stored: StoredRun) -> None:
        run_id = stored.run.run_id
        if run_id not in self._archived and run_id not in self._outbox.items:
            self._outbox.add(run_id, stored)

    @property
    def waiting(self) -> int:
        return len(self._outbox)

    @property
    def oldest_seconds(self) -> float:
        return self._outbox.oldest_seconds

    def get(self, run_id: str) -> Run | None:
        if run_id in self._archived:
            return self._archived[run_id][0].run
        waiting = self._outbox.items.get(run_id)
        return waiting.run if waiting else None

    def objects(self) -> Mapping[str, StoredRun]:
        archived = {run_id: stored for run_id, (stored, _) in self._archived.items()}
        return {**self._outbox.items, **archived}

    async def _append(self, batch: list[StoredRun]) -> None:
        await self._history.append([stored.run for stored in batch])
        for stored in batch:
            self._archived[stored.run.run_id] = (stored, time.monotonic() + KEPT_ENDED)

    async def _remove(self) -> float | None:
        """Remove the objects that are due, and return the seconds until the next one is."""
        due = [run_id for run_id, (_, at) in self._archived.items() if at <= time.monotonic()]
        if due:
            await self._runs.remove(due)
            for run_id in due:
                del self._archived[run_id]
        if not self._archived:
            return None
        return max(0.05, min(at for _, at in self._archived.values()) - time.monotonic())
