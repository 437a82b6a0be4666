"""Starts and cancels runs, and builds the components that runs need."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from app.caller import ANONYMOUS, Caller, identity_of
from app.concurrency.notify import RunNotifiers
from app.config import Settings
from app.errors import EngineUnreachable, NotSupported, TooManyRequests
from app.runs.archive import RunArchive
from app.runs.callers import RunCallers
from app.runs.cancellers import Cancellers, FindOwner, counts_for
from app.runs.deduplication import RunDeduplicator, is_joinable
from app.runs.handler import RunHandler
from app.runs.history import RunHistory
from app.runs.locks import TargetLocks
from app.runs.model import Run, RunInput, RunKind, RunState
from app.runs.open_runs import OpenRuns
from app.runs.owned_run import OwnedRun, now
from app.runs.reader import RunReader
from app.runs.replicas import Replicas
from app.runs.store import RunStore, StoredRun
from app.runs.supervisor import Observer, Supervisor
from app.runs.watcher import Watcher
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

FULL_RETRY_AFTER = 5
PART_OF = {
    RunKind.INGESTION: "ingestion",
    RunKind.SPARK: "spark",
    RunKind.DBT: "sql",
    RunKind.DATA_PRODUCT: "sql",
}


@dataclass(frozen=True)
class RunRequest:
    """A request for a run. With an equal `fingerprint` it joins the last open run of the target,
    unless it has an idempotency key."""

    kind: RunKind
    target: str
    spec: dict[str, Any]
    caller: Caller
    request_id: str | None = None
    subject_id: str | None = None
    fingerprint: str | None = None
    run_id: str | None = None
    idempotency_key: str | None = None
    inputs: tuple[RunInput, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    run: Run
    joined: bool


class RunService(RunReader):
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
        archive = RunArchive(runs, history)
        replicas = Replicas(store)
        open_runs = OpenRuns(runs, archive, replicas.id)
        locks = TargetLocks(store, runs, replicas.id, open_runs.is_behind)
        supervisor = Supervisor(
            runs=runs,
            open_runs=open_runs,
            locks=locks,
            archive=archive,
            notifiers=notifiers,
            owner=replicas.id,
            handlers=handlers,
            max_running={kind: settings.max_running(PART_OF[kind]) for kind in RunKind},
            run_timeout=settings.run_timeout,
            observers=observers,
            telemetry=telemetry,
        )
        watcher = Watcher(
            replicas=replicas,
            open_runs=open_runs,
            supervisor=supervisor,
            archive=archive,
            notifiers=notifiers,
        )
        super().__init__(runs, history, archive, open_runs, notifiers)
        self._supervisor = supervisor
        self._watcher = watcher
        self._deduplicator = RunDeduplicator(store, runs, open_runs.is_last)
        self._callers = RunCallers(runs, open_runs, self.get, Cancellers(owners or {}))
        self._replicas = replicas
        self._telemetry = telemetry
        self._max_queued = settings.max_queued
        self._max_per_caller = settings.max_runs_per_caller
        self._starting: Counter[str] = Counter()

    async def open(self) -> None:
        """Start to take over runs whose owner is gone. Needs S3, not the catalog."""
        await self._replicas.open()
        self._archive.open()
        self._watcher.open()

    def drain(self) -> None:
        """Accept no more runs, and answer requests that wait for a run with its current state."""
        self._stopping = True
        self._notifiers.notify_all()

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

    async def start(self, request: RunRequest) -> Started:
        """Record the run, then start it. Raises `TooManyRequests` beyond MAX_QUEUED, and when the
        caller has MAX_RUNS_PER_CALLER open runs."""
        if self._stopping:
            raise EngineUnreachable(
                "This gateway is stopping. Send the request again.", retry_after=2
            )
        may_join = request.fingerprint is not None and request.idempotency_key is None
        if may_join and (match := await self._equal_work(request)) is not None:
            return Started(await self._callers.join(match.run, request.caller.subject), joined=True)
        if not self._supervisor.handles(request.kind):
            raise NotSupported(f"No engine is configured for {request.kind.value} runs.")
        self._require_room()
        with self._reserve_share(request.caller):
            return await self._start(request, may_join)

    async def _start(self, request: RunRequest, may_join: bool) -> Started:
        run_id = request.run_id or uuid4().hex
        if may_join and request.fingerprint is not None:
            match = await self._deduplicator.run_id_for(request.target, request.fingerprint, run_id)
            if isinstance(match, StoredRun):
                current = self._in_memory(match.run.run_id) or match.run
                return Started(
                    await self._callers.join(current, request.caller.subject), joined=True
                )
            run_id = match
        return await self._create(self._new(request, run_id))

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        """Record the request to cancel, or that the caller withdraws from a run that others want.
        An ended run is returned unchanged. If the engine finishes first, its outcome stands.
        Raises `MissingScope` for other callers' runs."""
        return await self._callers.cancel(run_id, caller)

    async def _equal_work(self, request: RunRequest) -> OwnedRun | None:
        for active in list(self._open_runs.owned.values()):
            run = active.run
            same = (run.target, run.fingerprint) == (request.target, request.fingerprint)
            if same and is_joinable(run) and await self._open_runs.is_last(run):
                return active
        return None

    def _require_room(self) -> None:
        foreign_runs = (stored.run for stored in self._open_runs.foreign.values())
        waiting = sum(not run.state.is_terminal for run in foreign_runs)
        if len(self._open_runs.owned) + waiting >= self._max_queued:
            raise TooManyRequests(
                f"{self._max_queued} runs are open (MAX_QUEUED).",
                hint="Try again when some of them have ended.",
                retry_after=FULL_RETRY_AFTER,
            )

    @contextmanager
    def _reserve_share(self, caller: Caller) -> Iterator[None]:
        """Count a run of the caller from before it is created until it is owned. Runs that other
        replicas have just started count a second later."""
        subject, limit = identity_of(caller.subject), self._max_per_caller
        if limit and subject != ANONYMOUS.subject:
            own = (active.run for active in self._open_runs.owned.values())
            foreign_runs = (stored.run for stored in self._open_runs.foreign.values())
            open_runs = sum(
                identity_of(counts_for(run)) == subject and not run.state.is_terminal
                for run in (*own, *foreign_runs)
            )
            if open_runs + self._starting[subject] >= limit:
                raise TooManyRequests(
                    f"You have {limit} open runs (MAX_RUNS_PER_CALLER).",
                    hint="Try again when some of them have ended, or cancel one.",
                    retry_after=FULL_RETRY_AFTER,
                )
        self._starting[subject] += 1
        try:
            yield
        finally:
            self._starting[subject] -= 1
            if not self._starting[subject]:
                del self._starting[subject]

    def _new(self, request: RunRequest, run_id: str) -> Run:
        return Run(
            run_id=run_id,
            kind=request.kind,
            target=request.target,
            subject_id=request.subject_id,
            created_at=now(),
            request_id=request.request_id,
            traceparent=self._telemetry.traceparent(),
            idempotency_key=request.idempotency_key,
            fingerprint=request.fingerprint,
            inputs=request.inputs,
            created_by=request.caller.subject,
            owner=self._replicas.id,
            spec=request.spec,
            engine=request.engine,
        )

    async def _create(self, run: Run) -> Started:
        from app.lakehouse.storage import PreconditionFailed

        try:
            stored = await self._runs.create(run)
        except PreconditionFailed:
            # Two requests have the same id, so they are the same request.
            existing = await self.get(run.run_id)
            return Started(await self._callers.join(existing, run.created_by), joined=True)
        return Started(self._supervisor.adopt(stored).run, joined=False)
