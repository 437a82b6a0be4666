"""The runs whose objects are in S3: this process's own, and those of other replicas."""

from typing import TYPE_CHECKING

from app.runs.archive import RunArchive
from app.runs.ended_runs import position
from app.runs.model import Run, RunKind, RunState
from app.runs.owned_run import OwnedRun
from app.runs.store import RunStore, StoredRun

if TYPE_CHECKING:
    from collections.abc import Mapping


class OpenRuns:
    """Holds the runs that this process follows (`owned`), and those that it does not own as of the
    last poll (`foreign`)."""

    def __init__(self, runs: RunStore, archive: RunArchive, replica: str) -> None:
        self.owned: dict[str, OwnedRun] = {}
        self.foreign: dict[str, StoredRun] = {}
        self._runs = runs
        self._archive = archive
        self._replica = replica

    async def all(self) -> dict[str, Run]:
        """Return every run whose object is in S3 now. This process's own runs come from memory."""
        stored_runs = await self.stored()
        # Own runs come last: they may have been created or changed since the listing.
        newest = {**stored_runs, **self._in_memory()}
        return {run_id: stored.run for run_id, stored in newest.items()}

    async def stored(self) -> dict[str, StoredRun]:
        """Return every run as S3 has it now."""
        return await self._runs.list(self._in_memory())

    async def is_last(self, run: Run) -> bool:
        """Return whether no later open run will overwrite what this one writes."""
        return not any(
            other.target == run.target
            and position(other) > position(run)
            and not other.state.is_terminal
            for other in (await self.all()).values()
        )

    async def is_behind(self, run: Run) -> bool:
        """Return whether another replica has an earlier run waiting for the same target, as S3 has
        it now: the last poll may be older than a run that its caller already knows to be
        accepted."""
        return any(
            other.run.target == run.target
            and position(other.run) < position(run)
            and self._waits_elsewhere(other.run)
            for other in (await self.stored()).values()
        )

    def counts(self) -> dict[tuple[RunKind, RunState], int]:
        """Return the number of runs that this process owns, for gauges."""
        counts = {
            (kind, state): 0 for kind in RunKind for state in RunState if not state.is_terminal
        }
        for active in self.owned.values():
            if not active.run.state.is_terminal:
                counts[active.run.kind, active.run.state] += 1
        return counts

    def _in_memory(self) -> "Mapping[str, StoredRun]":
        owned = {run_id: active.stored for run_id, active in self.owned.items()}
        return {**self._archive.objects(), **owned}

    def _waits_elsewhere(self, run: Run) -> bool:
        waits = run.state.is_waiting and run.cancel_requested_at is None
        return waits and run.owner != self._replica
