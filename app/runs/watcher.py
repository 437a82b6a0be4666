"""The one poller of a process. It finds cancel requests, runs without a living owner, and changes
of other replicas' runs."""

import asyncio
import random

import structlog

from app.concurrency.notify import RunNotifiers
from app.errors import AsgardError
from app.runs.archive import RunArchive
from app.runs.handler import Superseded
from app.runs.open_runs import OpenRuns
from app.runs.owned_run import OwnedRun, Stop
from app.runs.replicas import Replicas
from app.runs.store import StoredRun
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
        replicas: Replicas,
        open_runs: OpenRuns,
        supervisor: Supervisor,
        archive: RunArchive,
        notifiers: RunNotifiers,
    ) -> None:
        self._replicas = replicas
        self._open_runs = open_runs
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
        runs = len(self._open_runs.owned) + len(self._open_runs.foreign)
        if not (runs or len(self._notifiers)):
            return IDLE_PAUSE
        return min(max(BUSY_PAUSE, runs * PAUSE_PER_RUN), LONGEST_PAUSE)

    async def poll(self) -> None:
        stored_runs = await self._open_runs.stored()
        foreign_runs: dict[str, StoredRun] = {}
        for run_id, stored in stored_runs.items():
            active = self._open_runs.owned.get(run_id)
            if active is not None:
                await self._absorb(active, stored)
            elif self._archive.get(run_id) is None:
                foreign_runs[run_id] = stored
        self._replace_foreign_runs(foreign_runs)
        await self._adopt_orphans(foreign_runs)
        for active in list(self._open_runs.owned.values()):
            await active.archive_log()

    async def _absorb(self, active: OwnedRun, stored: StoredRun) -> None:
        try:
            await active.absorb(stored)
        except Superseded:
            active.stop(Stop.SUPERSEDED)
            return
        if active.run.cancel_requested_at is not None and active.stopped is None:
            active.stop(Stop.CANCEL)

    def _replace_foreign_runs(self, foreign_runs: dict[str, StoredRun]) -> None:
        previous, self._open_runs.foreign = self._open_runs.foreign, foreign_runs
        for run_id in previous.keys() | foreign_runs.keys():
            if previous.get(run_id) != foreign_runs.get(run_id):
                self._notifiers.notify(run_id)

    async def _adopt_orphans(self, foreign_runs: dict[str, StoredRun]) -> None:
        dead: dict[str | None, bool] = {}
        unclaimed: set[str] = set()
        for run_id, stored in foreign_runs.items():
            owner = stored.run.owner
            if owner == self._replicas.id:
                # It is ours but not active. It may still be in the process of creation, so it has
                # to be seen twice.
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
