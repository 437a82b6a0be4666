"""The one poller of a process: wishes to cancel, runs without a living owner, others' news."""

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
"""Seconds between two looks."""
PAUSE_PER_RUN = 0.006
"""A look lists the object of every open run, some 40 µs of work for each: less than 1 % of a core,
however many there are, up to the longest pause."""
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
        bells: RunNotifiers,
    ) -> None:
        self.foreign_runs: dict[str, StoredRun] = {}
        """Runs that this process does not own, as the last look showed them."""
        self._runs = runs
        self._replicas = replicas
        self._supervisor = supervisor
        self._archive = archive
        self._bells = bells
        self._task: asyncio.Task[None] | None = None
        self._unclaimed: set[str] = set()

    def open(self) -> None:
        self._task = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def list_open(self) -> dict[str, Run]:
        """Every run whose object is in S3, now; this process's own as it knows them."""
        return {run_id: stored.run for run_id, stored in (await self._list()).items()}

    async def _list(self) -> dict[str, StoredRun]:
        found = await self._runs.list(self._own())
        # Own runs last: they may have changed, or come to be, since the listing.
        return {**found, **self._own()}

    def _own(self) -> dict[str, StoredRun]:
        active = {run_id: active.stored for run_id, active in self._supervisor.active.items()}
        return {**self._archive.objects(), **active}

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.poll()
            except AsgardError as error:
                log.warning("runs_not_seen", error=error.detail)
            except Exception:
                # The outer edge of a task that has to outlive every fault.
                log.exception("watcher_failed")
            pause = self._pause()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311

    def _pause(self) -> float:
        runs = len(self._supervisor.active) + len(self.foreign_runs)
        if not (runs or len(self._bells)):
            return IDLE_PAUSE
        return min(max(BUSY_PAUSE, runs * PAUSE_PER_RUN), LONGEST_PAUSE)

    async def poll(self) -> None:
        found = await self._runs.list(self._own())
        foreign_runs: dict[str, StoredRun] = {}
        for run_id, stored in found.items():
            active = self._supervisor.active.get(run_id)
            if active is not None:
                await self._notice(active, stored)
            elif self._archive.get(run_id) is None:
                foreign_runs[run_id] = stored
        self._tell(foreign_runs)
        await self._adopt_orphans(foreign_runs)
        for active in list(self._supervisor.active.values()):
            await active.archive_log()

    async def is_behind(self, run: Run, now: bool) -> bool:
        """Whether another replica has an earlier run waiting for the same target. `now`: by a
        listing; else by the last look, of which only what would be waited for is read again."""
        seen = await self._runs.list(self._own()) if now else self.foreign_runs
        earlier = [
            run_id
            for run_id, other in seen.items()
            if other.run.target == run.target
            and position(other.run) < position(run)
            and self._waits_elsewhere(other.run)
        ]
        if now:
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

    async def _notice(self, active: OwnedRun, stored: StoredRun) -> None:
        try:
            await active.absorb(stored)
        except Superseded:
            active.stop(Stop.SUPERSEDED)
            return
        if active.run.cancel_requested_at is not None and active.stopped is None:
            active.stop(Stop.CANCEL)

    def _tell(self, foreign_runs: dict[str, StoredRun]) -> None:
        former, self.foreign_runs = self.foreign_runs, foreign_runs
        for run_id in former.keys() | foreign_runs.keys():
            if former.get(run_id) != foreign_runs.get(run_id):
                self._bells.notify(run_id)

    async def _adopt_orphans(self, foreign_runs: dict[str, StoredRun]) -> None:
        dead: dict[str | None, bool] = {}
        strays: set[str] = set()
        for run_id, stored in foreign_runs.items():
            owner = stored.run.owner
            if owner == self._replicas.id:
                # Ours, yet nobody works on it. Seen twice, or it is only just being made.
                strays.add(run_id)
                dead_or_stray = run_id in self._unclaimed
            else:
                if owner not in dead:
                    dead[owner] = await self._replicas.is_dead(owner)
                dead_or_stray = dead[owner]
            if not dead_or_stray:
                continue
            if stored.run.state.is_terminal:
                self._archive.add(stored)
            elif self._supervisor.drives(stored.run.kind):
                await self._supervisor.take_over(stored)
        self._unclaimed = strays
