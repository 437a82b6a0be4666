"""Starts runs, or joins callers to an open run that does the same work."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from app.caller import ANONYMOUS, Caller, identity_of
from app.errors import EngineUnreachable, NotSupported, TooManyRequests
from app.runs.callers import RunCallers
from app.runs.cancellers import counts_for
from app.runs.deduplication import RunDeduplicator, is_joinable
from app.runs.model import Run
from app.runs.open_runs import OpenRuns
from app.runs.owned_run import OwnedRun, now
from app.runs.reader import RunReader
from app.runs.store import RunStore, StoredRun
from app.runs.submission import Prepare, RunRequest, Started, Submission, nothing
from app.runs.supervisor import Supervisor
from app.telemetry.calls import Telemetry

FULL_RETRY_AFTER = 5


class RunStarter:
    def __init__(
        self,
        *,
        runs: RunStore,
        open_runs: OpenRuns,
        reader: RunReader,
        callers: RunCallers,
        deduplicator: RunDeduplicator,
        supervisor: Supervisor,
        replica: str,
        max_queued: int,
        max_per_caller: int,
        telemetry: Telemetry,
    ) -> None:
        self._runs = runs
        self._open_runs = open_runs
        self._reader = reader
        self._callers = callers
        self._deduplicator = deduplicator
        self._supervisor = supervisor
        self._replica = replica
        self._max_queued = max_queued
        self._max_per_caller = max_per_caller
        self._telemetry = telemetry
        self._starting: Counter[str] = Counter()
        self._stopping = False

    def stop(self) -> None:
        """Refuse every further run."""
        self._stopping = True

    async def start(
        self,
        request: RunRequest,
        submission: Submission,
        run_id: str | None = None,
        prepare: Prepare = nothing,
    ) -> Started:
        if self._stopping:
            raise EngineUnreachable(
                "This gateway is stopping. Send the request again.", retry_after=2
            )
        may_join = request.fingerprint is not None and submission.key is None
        if may_join and (match := await self._equal_work(request)) is not None:
            await prepare()
            return await self._join(match.run, submission.caller.subject)
        if not self._supervisor.handles(request.kind):
            raise NotSupported(f"No engine is configured for {request.kind.value} runs.")
        self._require_room()
        with self._reserve_share(submission.caller):
            await prepare()
            return await self._start(request, submission, run_id or uuid4().hex, may_join)

    async def _start(
        self, request: RunRequest, submission: Submission, run_id: str, may_join: bool
    ) -> Started:
        if may_join and request.fingerprint is not None:
            match = await self._deduplicator.run_id_for(request.target, request.fingerprint, run_id)
            if isinstance(match, StoredRun):
                current = self._reader.in_memory(match.run.run_id) or match.run
                return await self._join(current, submission.caller.subject)
            run_id = match
        return await self._create(self._new(request, submission, run_id))

    async def _join(self, run: Run, subject: str) -> Started:
        return Started(await self._callers.join(run, subject), joined=True)

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

    def _new(self, request: RunRequest, submission: Submission, run_id: str) -> Run:
        return Run(
            run_id=run_id,
            kind=request.kind,
            target=request.target,
            subject_id=request.subject_id,
            created_at=now(),
            request_id=submission.request_id,
            traceparent=self._telemetry.traceparent(),
            idempotency_key=submission.key.key if submission.key else None,
            fingerprint=request.fingerprint,
            inputs=request.inputs,
            created_by=submission.caller.subject,
            owner=self._replica,
            spec=request.spec,
            engine=request.engine,
        )

    async def _create(self, run: Run) -> Started:
        from app.lakehouse.storage import PreconditionFailed

        try:
            stored = await self._runs.create(run)
        except PreconditionFailed:
            # Two requests have the same id, so they are the same request.
            return await self._join(await self._reader.get(run.run_id), run.created_by)
        return Started(self._supervisor.adopt(stored).run, joined=False)
