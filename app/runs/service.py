"""Builds the components that runs need, and offers what other packages use of them."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from app.caller import Caller
from app.concurrency.notify import RunNotifiers
from app.config import Settings
from app.idempotency import Claim, IdempotencyStore
from app.runs.archive import RunArchive
from app.runs.callers import RunCallers
from app.runs.cancellers import Cancellers, FindOwner
from app.runs.deduplication import RunDeduplicator
from app.runs.handler import RunHandler
from app.runs.history import RunHistory
from app.runs.locks import TargetLocks
from app.runs.model import Run, RunEvent, RunKind, RunState
from app.runs.open_runs import OpenRuns
from app.runs.pages import AnyRun, RunFilter, RunPage
from app.runs.reader import RunEnd, RunReader
from app.runs.replicas import Replicas
from app.runs.starter import RunStarter
from app.runs.store import RunStore
from app.runs.submission import (
    ClaimedSubmission,
    Prepare,
    RunRequest,
    Started,
    Submission,
    nothing,
)
from app.runs.supervisor import Observer, Supervisor
from app.runs.watcher import Watcher
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

PART_OF = {
    RunKind.INGESTION: "ingestion",
    RunKind.SPARK: "spark",
    RunKind.DBT: "sql",
    RunKind.DATA_PRODUCT: "sql",
}


class RunService:
    """The methods that read are described in `RunReader`."""

    def __init__(
        self,
        *,
        store: "ObjectStore",
        catalog: "Catalog",
        settings: Settings,
        handlers: Mapping[RunKind, RunHandler],
        namespace: str = "asgard",
        observers: Sequence[Observer] = (),
        owners: Mapping[RunKind, FindOwner] | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """`observers` are called with every run that ends in this process. `owners` find the
        creator of the record that a run belongs to, by its `subject_id`."""
        runs, notifiers = RunStore(store), RunNotifiers()
        history = RunHistory(catalog, namespace)
        self._archive = RunArchive(runs, history)
        self._replicas = Replicas(store)
        self._open_runs = OpenRuns(runs, self._archive, self._replicas.id)
        self._supervisor = Supervisor(
            runs=runs,
            open_runs=self._open_runs,
            locks=TargetLocks(store, runs, self._replicas.id, self._open_runs.is_behind),
            archive=self._archive,
            notifiers=notifiers,
            owner=self._replicas.id,
            handlers=handlers,
            max_running={kind: settings.max_running(PART_OF[kind]) for kind in RunKind},
            run_timeout=settings.run_timeout,
            observers=observers,
            telemetry=telemetry,
        )
        self._watcher = Watcher(
            replicas=self._replicas,
            open_runs=self._open_runs,
            supervisor=self._supervisor,
            archive=self._archive,
            notifiers=notifiers,
        )
        self._idempotency = IdempotencyStore(store)
        self._reader = RunReader(runs, history, self._archive, self._open_runs, notifiers)
        self._callers = RunCallers(runs, self._open_runs, self._reader, Cancellers(owners or {}))
        self._starter = RunStarter(
            runs=runs,
            open_runs=self._open_runs,
            reader=self._reader,
            callers=self._callers,
            deduplicator=RunDeduplicator(store, runs, self._open_runs.is_last),
            supervisor=self._supervisor,
            replica=self._replicas.id,
            max_queued=settings.max_queued,
            max_per_caller=settings.max_runs_per_caller,
            telemetry=telemetry,
        )

    async def open(self) -> None:
        """Start to take over runs whose owner is gone. Needs S3, not the catalog."""
        await self._replicas.open()
        self._archive.open()
        self._watcher.open()

    def drain(self) -> None:
        """Accept no more runs, and answer requests that wait for a run with its current state."""
        self._starter.stop()
        self._reader.stop_waiting()

    async def close(self, grace: float = 5.0) -> None:
        """Stop. Runs that do not end within `grace` seconds are left to the next replica."""
        self.drain()
        await self._watcher.close()
        await self._supervisor.close(grace)
        await self._archive.close(grace)
        await self._replicas.close()

    def counts(self) -> dict[tuple[RunKind, RunState], int]:
        """Return the number of runs that this process owns, for gauges."""
        return self._open_runs.counts()

    @property
    def endings_waiting(self) -> int:
        """Return the number of ended runs that are not in Iceberg yet."""
        return self._archive.waiting

    @property
    def oldest_ending_seconds(self) -> float:
        """Return how long the oldest of them has waited, or 0 if none waits."""
        return self._archive.oldest_seconds

    async def submit(self, request: RunRequest, submission: Submission) -> tuple[Run, Claim]:
        """Start or join a run, and wait for it. If an earlier request with the same idempotency
        key has started a run, wait for that one. Raises `IdempotencyMismatch` if the key was used
        with another body, and what `start` raises."""
        claimed = await self.claim(submission)
        return await self.submit_claimed(request, claimed), claimed.claim

    async def claim(self, submission: Submission) -> ClaimedSubmission:
        """Do the first half of `submit`, for work that depends on the id of its run, or that is
        prepared only for a request without an earlier run."""
        claim = await self._idempotency.claim(submission.key, uuid4().hex)
        # A first request that died between its claim and its run has left none.
        earlier = await self.find(claim.id) if claim.replayed else None
        return ClaimedSubmission(submission, claim, earlier)

    async def submit_claimed(
        self, request: RunRequest, claimed: ClaimedSubmission, prepare: Prepare = nothing
    ) -> Run:
        """Do the second half of `submit`. `prepare` is called unless there is an earlier run."""
        run = claimed.earlier
        if run is None:
            started = await self.start(request, claimed.submission, claimed.claim.id, prepare)
            run = started.run
        return await self.wait(run.run_id, claimed.submission.wait_seconds)

    async def start(
        self,
        request: RunRequest,
        submission: Submission,
        run_id: str | None = None,
        prepare: Prepare = nothing,
    ) -> Started:
        """Record the run, then start it. `run_id` is its id if it joins no other run. `prepare` is
        called before, when the run can no longer be refused. Raises `TooManyRequests` beyond
        MAX_QUEUED, and when the caller has MAX_RUNS_PER_CALLER open runs."""
        return await self._starter.start(request, submission, run_id, prepare)

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        """Record the request to cancel, or that the caller withdraws from a run that others want.
        An ended run is returned unchanged. If the engine finishes first, its outcome stands.
        Raises `MissingScope` for other callers' runs."""
        return await self._callers.cancel(run_id, caller)

    async def get(self, run_id: str) -> Run:
        return await self._reader.get(run_id)

    async def find(self, run_id: str) -> Run | None:
        return await self._reader.find(run_id)

    async def wait(self, run_id: str, seconds: float) -> Run:
        return await self._reader.wait(run_id, seconds)

    async def newest(self, subject_ids: Collection[str]) -> dict[str, AnyRun]:
        return await self._reader.newest(subject_ids)

    async def newest_success(self, targets: Collection[str]) -> dict[str, AnyRun]:
        return await self._reader.newest_success(targets)

    async def parsed(self, runs: Mapping[str, AnyRun]) -> dict[str, Run]:
        return await self._reader.parsed(runs)

    async def latest(self, subject_ids: Collection[str]) -> dict[str, Run]:
        return await self._reader.latest(subject_ids)

    async def latest_success(self, targets: Collection[str] | None = None) -> dict[str, Run]:
        return await self._reader.latest_success(targets)

    async def using(self, subject_id: str) -> Run | None:
        return await self._reader.using(subject_id)

    async def logs(self, run_id: str, tail_lines: int | None = None) -> str:
        return await self._reader.logs(run_id, tail_lines)

    def events(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent | RunEnd]:
        return self._reader.events(run_id, after)

    async def list(
        self,
        *,
        kind: RunKind | None = None,
        state: RunState | None = None,
        target: str | None = None,
        subject_id: str | None = None,
        condition: Callable[[AnyRun], bool] | None = None,
        cursor: str | None = None,
        limit: int = 20,
        page: int = 1,
    ) -> RunPage:
        run_filter = RunFilter(kind, state, target, subject_id, condition)
        return await self._reader.list(run_filter, cursor, limit, page)
