"""Starting and cancelling runs, and the parts that runs are made of, put together."""

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
from app.runs.owned_run import OwnedRun, now
from app.runs.pages import position
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
    """`fingerprint`: equal work for the same target joins the last open run of that target,
    unless it has a key."""

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
        """`observers` are told of every run that ends in this process. `owners` find the creator of
        the record that a run belongs to, by its `subject_id`."""
        runs, bells = RunStore(store), RunNotifiers()
        history = RunHistory(catalog, namespace)
        archive = RunArchive(runs, history)
        replicas = Replicas(store)
        locks = TargetLocks(
            store, runs, replicas.id, lambda run, now: self._watcher.is_behind(run, now)
        )
        supervisor = Supervisor(
            runs=runs,
            locks=locks,
            archive=archive,
            bells=bells,
            owner=replicas.id,
            handlers=handlers,
            max_running={kind: settings.max_running(PART_OF[kind]) for kind in RunKind},
            run_timeout=settings.run_timeout,
            observers=observers,
            telemetry=telemetry,
        )
        watcher = Watcher(
            runs=runs, replicas=replicas, supervisor=supervisor, archive=archive, bells=bells
        )
        super().__init__(runs, history, archive, supervisor, watcher, bells)
        self._joins = RunDeduplicator(store, runs, self._is_last)
        self._callers = RunCallers(runs, supervisor, self.get, Cancellers(owners or {}))
        self._replicas = replicas
        self._telemetry = telemetry
        self._max_queued = settings.max_queued
        self._max_per_caller = settings.max_runs_per_caller
        self._starting: Counter[str] = Counter()

    async def open(self) -> None:
        """Needs S3, not the catalog. Runs whose owner is gone are taken over from here on."""
        await self._replicas.open()
        self._archive.open()
        self._watcher.open()

    def drain(self) -> None:
        """Takes no more runs, and answers those who wait for one with the run as it is."""
        self._stopping = True
        self._bells.notify_all()

    async def close(self, grace: float = 5.0) -> None:
        """Runs that do not end within `grace` seconds are left to the next replica."""
        self.drain()
        await self._watcher.close()
        await self._supervisor.close(grace)
        await self._archive.close(grace)
        await self._replicas.close()

    def counts(self) -> dict[tuple[RunKind, RunState], int]:
        """The runs that this process owns, for gauges."""
        counts = {
            (kind, state): 0 for kind in RunKind for state in RunState if not state.is_terminal
        }
        for active in self._supervisor.active.values():
            if not active.run.state.is_terminal:
                counts[active.run.kind, active.run.state] += 1
        return counts

    @property
    def endings_waiting(self) -> int:
        """Ended runs that are not in Iceberg yet."""
        return self._archive.waiting

    async def start(self, request: RunRequest) -> Started:
        """Records the run, then lets it go. Raises `TooManyRequests` beyond MAX_QUEUED,
        and when the caller has MAX_RUNS_PER_CALLER open ones."""
        if self._stopping:
            raise EngineUnreachable("This gateway is stopping; ask again.", retry_after=2)
        joins = request.fingerprint is not None and request.idempotency_key is None
        if joins and (equal := await self._equal_work(request)) is not None:
            return Started(await self._callers.join(equal.run, request.caller.subject), joined=True)
        if not self._supervisor.drives(request.kind):
            raise NotSupported(f"No engine is configured for {request.kind.value} runs.")
        self._require_room()
        with self._share_of(request.caller):
            return await self._start(request, joins)

    async def _start(self, request: RunRequest, joins: bool) -> Started:
        run_id = request.run_id or uuid4().hex
        if joins and request.fingerprint is not None:
            found = await self._joins.run_id_for(request.target, request.fingerprint, run_id)
            if isinstance(found, StoredRun):
                known = self._in_memory(found.run.run_id) or found.run
                return Started(await self._callers.join(known, request.caller.subject), joined=True)
            run_id = found
        return await self._create(self._new(request, run_id))

    async def cancel(self, run_id: str, caller: Caller) -> Run:
        """Record the request to cancel, or that the caller withdraws from a run that others want.
        An ended run is returned unchanged. If the engine finishes first, its outcome stands.
        Raises `MissingScope` for other callers' runs."""
        return await self._callers.cancel(run_id, caller)

    async def _equal_work(self, request: RunRequest) -> OwnedRun | None:
        for active in list(self._supervisor.active.values()):
            run = active.run
            same = (run.target, run.fingerprint) == (request.target, request.fingerprint)
            if same and is_joinable(run) and await self._is_last(run):
                return active
        return None

    async def _is_last(self, run: Run) -> bool:
        """Whether no later run is open that will write over what this one writes."""
        return not any(
            other.target == run.target
            and position(other) > position(run)
            and not other.state.is_terminal
            for other in (await self._watcher.list_open()).values()
        )

    def _require_room(self) -> None:
        foreign_runs = (stored.run for stored in self._watcher.foreign_runs.values())
        waiting = sum(not run.state.is_terminal for run in foreign_runs)
        if len(self._supervisor.active) + waiting >= self._max_queued:
            raise TooManyRequests(
                f"{self._max_queued} runs are open (MAX_QUEUED).",
                hint="Ask again when some of them have ended.",
                retry_after=FULL_RETRY_AFTER,
            )

    @contextmanager
    def _share_of(self, caller: Caller) -> Iterator[None]:
        """Counts a run of the caller's from before it is made until it is owned. What other
        replicas have just begun is seen a second later."""
        subject, most = identity_of(caller.subject), self._max_per_caller
        if most and subject != ANONYMOUS.subject:
            own = (active.run for active in self._supervisor.active.values())
            foreign_runs = (stored.run for stored in self._watcher.foreign_runs.values())
            begun = sum(
                identity_of(counts_for(run)) == subject and not run.state.is_terminal
                for run in (*own, *foreign_runs)
            )
            if begun + self._starting[subject] >= most:
                raise TooManyRequests(
                    f"You have {most} open runs (MAX_RUNS_PER_CALLER).",
                    hint="Ask again when some of them have ended, or cancel one.",
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
            # The same id was chosen for two requests: they are one.
            same = await self.get(run.run_id)
            return Started(await self._callers.join(same, run.created_by), joined=True)
        return Started(self._supervisor.adopt(stored).run, joined=False)
