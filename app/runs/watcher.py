"""The one poller of a process. It finds cancel requests, runs without a living owner, and changes
of other replicas' runs."""

import asyncio
import random

import structlog

from app.concurrency.notify import RunNotifiers
from app.errors import AsgardError
from app.runs.archive import RunArchive
from app.runs.handler import Superseded
from app.runs.model import Run, RunState
from app.runs.owned_run import OwnedRun, Stop
from app.runs.pages import position
from app.runs.replicas import Replicas
from app.runs.store import RunStore, StoredRun
from app.runs.supervisor import Supervisor

BUSY_PAUSE = 0.8
IDLE_PAUSE = 2.0
"""Seconds between two polls."""
PAUSE_PER_RUN = 0.006
"""A poll lists the object of every open run, which takes some 40 µs of work each. The pause keeps
that below 1 % of a core for any number of runs, up to the longest pause."""
LONGEST_PAUSE = 10.0
log = structlog.get_logger()


class Watcher:
    def __init__(
        self,
        *,
        runs: RunStore,
        replicas: Replicas,
        supervisor: Supervisor,
        archive: RunArchive,
        notifiers: RunNotifiers,
    ) -> None:
        self.foreign_runs: dict[str, StoredRun] = {}
        """Runs that this process does not own, as of the last poll."""
        self._runs = runs
        self._replicas = replicas
        self._supervisor = supervisor
        self._archive = archive
        self._notifiers = notifiers
        self._task: asyncio.Task[None] | None = None
        self._unclaimed: set[str] = set()

    def open(self) -> None:
        self._task = asyncio.create_task(self._poll_forever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def list_open(self) -> dict[str, Run]:
        """Return every run whose object is in S3 now. This process's own runs come from memory."""
        return {run_id: stored.run for run_id, stored in (await self._list()).items()}

    async def _list(self) -> dict[str, StoredRun]:
        stored_runs = await self._runs.list(self._own())
        # Own runs come last: they may have been created or changed since the listing.
        return {**stored_runs, **self._own()}

    def _own(self) -> dict[str, StoredRun]:
        active = {run_id: active.stored for run_id, active in self._supervisor.active.items()}
        return {**self._archive.objects(), **active}

    async def _poll_forever(self) -> None:
        while True:
            try:
                await self.poll()
            except AsgardError as error:
                log.warning("runs_not_seen", error=error.detail)
            except Exception:
                # The outer edge of a task that has to survive every error.
                log.exception("watcher_failed")
            pause = self._pause()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    def _pause(self) -> float:
        runs = len(self._supervisor.active) + len(self.foreign_runs)
        if not (runs or len(self._notifiers)):
            return IDLE_PAUSE
        return min(max(BUSY_PAUSE, runs * PAUSE_PER_RUN), LONGEST_PAUSE)

    async def poll(self) -> None:
        stored_runs = await self._runs.list(self._own())
        foreign_runs: dict[str, StoredRun] = {}
        for run_id, stored in stored_runs.items():
            active = self._supervisor.active.get(run_id)
            if active is not None:
                await self._absorb(active, stored)
            elif self._archive.get(run_id) is None:
                foreign_runs[run_id] = stored
        self._replace_foreign_runs(foreign_runs)
        await self._adopt_orphans(foreign_runs)
        for active in list(self._supervisor.active.values()):
            await active.archive_log()

    async def is_behind(self, run: Run, fresh: bool) -> bool:
        """Return whether another replica has an earlier run waiting for the same target. With
        `fresh`, list the runs now. Otherwise use the last poll, and read only the runs to wait for
        again."""
        candidates = await self._runs.list(self._own()) if fresh else self.foreign_runs
        earlier = [
            run_id
            for run_id, other in candidates.items()
            if other.run.target == run.target
            and position(other.run) < position(run)
            and self._waits_elsewhere(other.run)
        ]
        if fresh:
            return bool(earlier)
        for run_id in earlier:
            stored = await self._runs.load(run_id)
            if stored is not None and self._waits_elsewhere(stored.run):
                return True
            self.foreign_runs.pop(run_id, None)
        return False

    def _waits_elsewhere(self, run: Run) -> bool:
        waits = run.state is RunState.QUEUED and run.cancel_requested_at is None
        return waits and run.owner != self._replicas.id

    async def _absorb(self, active: OwnedRun, stored: StoredRun) -> None:
        try:
            await active.absorb(stored)
        except Superseded:
            active.stop(Stop.SUPERSEDED)
            return
        if active.run.cancel_requested_at is not None and active.stopped is None:
            active.stop(Stop.CANCEL)

    def _replace_foreign_runs(self, foreign_runs: dict[str, StoredRun]) -> None:
        previous, self.foreign_runs = self.foreign_runs, foreign_runs
        for run_id in previous.keys() | foreign_runs.keys():
            if previous.get(run_id) != foreign_runs.get(run_id):
                self._notifiers.notify(run_id)

    async def _adopt_orphans(self, foreign_runs: dict[str, StoredRun]) -> None:
        dead: dict[str | None, bool] = {}
        unclaimed: set[str] = set()
        for run_id, stored in foreign_runs.items():
            owner = stored.run.owner
            if owner == self._replicas.id:
                # It is ours but not active. It may just be in creation, so it has to be seen twice.
                unclaimed.add(run_id)
                orphaned = run_id in self._unclaimed
            else:
                if owner not in dead:
                    dead[owner] = await self._replicas.is_dead(owner)
                orphaned = dead[owner]
            if not orphaned:
                continue
            if stored.run.state.is_terminal:
                self._archive.add(stored)
            elif self._supervisor.handles(stored.run.kind):
                await self._supervisor.take_over(stored)
        self._unclaimed = unclaimed
