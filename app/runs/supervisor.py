"""Owns the runs of this process: gives each its turn, follows it, finds out how it ended."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from app.concurrency.backoff import backoff_delays, retry_while_unreachable
from app.concurrency.notify import RunNotifiers
from app.errors import AsgardError, EngineTimeout, EngineUnreachable
from app.redaction import Scope, within
from app.runs.archive import RunArchive
from app.runs.handler import CancelRequested, ReconciledAsFailed, RunHandler, RunResult, Superseded
from app.runs.locks import TargetLocks
from app.runs.model import Run, RunKind, RunState
from app.runs.outcomes import (
    CANCELLED,
    LOST,
    RunOutcome,
    failed,
    internal_error,
    succeeded,
    timed_out,
)
from app.runs.owned_run import OwnedRun, Stop, now
from app.runs.store import RunStore, StoredRun
from app.telemetry.calls import SILENT, Telemetry, Work, in_log

RECONCILE_ATTEMPTS = 5
"""How often `reconcile` may fail for another reason than an outage before the run is given up."""
STRAGGLERS = 1.0
"""Seconds in which what a dead owner had sent off, a commit above all, still arrives."""
UNKNOWN_ENDS = (EngineUnreachable, EngineTimeout)
"""After these an engine may have done its work all the same."""
log = structlog.get_logger()
Observer = Callable[[Run], None]


class Supervisor:
    def __init__(
        self,
        *,
        runs: RunStore,
        locks: TargetLocks,
        archive: RunArchive,
        bells: RunNotifiers,
        owner: str,
        handlers: Mapping[RunKind, RunHandler],
        max_running: Mapping[RunKind, int],
        run_timeout: float,
        observers: Sequence[Observer] = (),
        telemetry: Telemetry = SILENT,
    ) -> None:
        self.active: dict[str, OwnedRun] = {}
        self._runs = runs
        self._locks = locks
        self._archive = archive
        self._bells = bells
        self._owner = owner
        self._handlers = handlers
        self._slots = {kind: asyncio.Semaphore(max_running[kind]) for kind in RunKind}
        self._run_timeout = run_timeout
        self._observers = observers
        self._telemetry = telemetry

    def drives(self, kind: RunKind) -> bool:
        return kind in self._handlers

    def adopt(self, stored: StoredRun) -> OwnedRun:
        """A run just made by this process."""
        return self._begin(stored, taken_over=False)

    async def take_over(self, stored: StoredRun) -> bool:
        """Raises the run's epoch; from then on its former owner can write nothing more of it."""
        from app.lakehouse.storage import PreconditionFailed

        run = stored.run
        if run.run_id in self.active:
            return False
        changed = run.model_copy(
            update={"owner": self._owner, "epoch": run.epoch + 1, "version": run.version + 1}
        )
        try:
            taken = await self._runs.replace(changed, stored.etag)
        except PreconditionFailed:
            return False
        log.info("run_taken_over", run_id=run.run_id, state=run.state, former=run.owner)
        self._begin(taken, taken_over=True)
        return True

    async def close(self, grace: float) -> None:
        """Gives the runs a few seconds; those that go on are left in S3, free to be taken over."""
        owned = list(self.active.values())
        for active in owned:
            if active.run.state is RunState.QUEUED:
                active.stop(Stop.RELEASE)
        tasks = [active.task for active in owned if active.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for active in list(self.active.values()):
            active.stop(Stop.RELEASE)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._release(active) for active in owned))

    def _begin(self, stored: StoredRun, *, taken_over: bool) -> OwnedRun:
        active = OwnedRun(stored, self._runs, self._bells)
        self.active[stored.run.run_id] = active
        active.task = asyncio.create_task(
            self._run_lifecycle(active, taken_over), name=f"run {stored.run.run_id}"
        )
        return active

    async def _run_lifecycle(self, active: OwnedRun, taken_over: bool) -> None:
        run, run_id = active.run, active.run.run_id
        known = {"asgard.run.id": run_id, "asgard.run.kind": run.kind, "asgard.target": run.target}
        with (
            within(Scope()),
            self._telemetry.work(f"run {run.kind}", "internal", run.traceparent, known) as work,
            structlog.contextvars.bound_contextvars(run_id=run_id, **in_log(work)),
        ):
            try:
                ending = await self._acquire_and_execute(active, taken_over)
                await self._end(active, ending)
            except Superseded:
                log.warning("run_superseded")
            except asyncio.CancelledError:
                if active.stopped is None:
                    raise
                log.info("run_left", why=active.stopped.value)
            except Exception:
                # The outer edge: the run stays open in S3, and whoever owns it next reconciles it.
                log.exception("run_abandoned")
            finally:
                _record_span(work, active.run)
                self._locks.forget(active.run)
                self.active.pop(run_id, None)
                self._bells.notify(run_id)

    async def _acquire_and_execute(self, active: OwnedRun, taken_over: bool) -> RunOutcome:
        try:
            if taken_over:
                ending = await self._recover(active)
                if ending is not None:
                    return ending
            await self._locks.acquire(active.run)
            async with self._slots[active.run.kind]:
                return await self._execute(active)
        except asyncio.CancelledError:
            if active.stopped is not Stop.CANCEL:
                raise
        except CancelRequested:
            active.stopped = Stop.CANCEL
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        if active.run.started_at is None:
            return CANCELLED
        return await self._reconciled(active, CANCELLED)

    async def _recover(self, active: OwnedRun) -> RunOutcome | None:
        """What became of a run whose owner is gone. None: it was queued, and may still run."""
        await retry_while_unreachable(lambda: self._locks.adopt(active.run), "adopt lock")
        await active.continue_log()
        if active.run.state is RunState.RUNNING:
            await asyncio.sleep(STRAGGLERS)
        wished = active.run.cancel_requested_at is not None
        ending = await self._reconciled(active, CANCELLED if wished else LOST)
        queued = active.run.state is RunState.QUEUED
        return None if ending is LOST and queued else ending

    async def _execute(self, active: OwnedRun) -> RunOutcome:
        started = now()
        await active.change(
            lambda run: run.model_copy(update={"state": RunState.RUNNING, "started_at": started}),
            reason="Started",
            message="The run started.",
        )
        handler = self._handlers[active.run.kind]
        try:
            async with asyncio.timeout(self._run_timeout) as deadline:
                return succeeded(await handler.execute(active.run, active))
        except (Superseded, CancelRequested):
            raise
        except AsgardError as error:
            late = deadline.expired()
            ending = timed_out(self._run_timeout) if late else failed(error)
            known = not late and not isinstance(error, UNKNOWN_ENDS)
        except Exception as error:
            if deadline.expired():
                ending = timed_out(self._run_timeout)
            else:
                log.exception("driver_broke")
                ending = internal_error(error)
            known = False
        if active.stopped is Stop.CANCEL:
            ending, known = CANCELLED, False
        return ending if known else await self._reconciled(active, ending)

    async def _reconciled(self, active: OwnedRun, otherwise: RunOutcome) -> RunOutcome:
        """Asks the handler what the run did, until it knows. A wish to cancel changes nothing."""
        tries = 0
        for pause in backoff_delays():
            try:
                outcome: RunResult | None = await self._handlers[active.run.kind].reconcile(
                    active.run
                )
                return otherwise if outcome is None else succeeded(outcome)
            except ReconciledAsFailed as found:
                return failed(found.error, found.engine_state)
            except UNKNOWN_ENDS as error:
                log.warning("run_not_reconciled", error=error.detail)
            except Exception as error:
                tries += 1
                log.exception("reconcile_failed", tries=tries)
                if tries >= RECONCILE_ATTEMPTS:
                    return (
                        failed(error) if isinstance(error, AsgardError) else internal_error(error)
                    )
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _end(self, active: OwnedRun, ending: RunOutcome) -> None:
        active.ending = True
        finished_at = now()
        await asyncio.gather(
            retry_while_unreachable(active.archive_log, "archive log"),
            retry_while_unreachable(lambda: self._locks.release(active.run), "release lock"),
        )
        handler = self._handlers[active.run.kind]

        def end(run: Run) -> Run:
            ended = ending.apply(run, finished_at)
            return ended.model_copy(update={"engine_state": handler.final_engine_state(ended)})

        run = await active.change(
            end,
            reason=ending.state.value.capitalize(),
            message=ending.message,
            warning=ending.failure is not None,
        )
        self._archive.add(active.stored)
        with within(None):  # operators need these words, even if callers send them as secrets
            log.info("run_ended", state=run.state, cause=run.failure.cause if run.failure else None)
        for observer in self._observers:
            observer(run)

    async def _release(self, active: OwnedRun) -> None:
        """Without an owner the next replica takes it over at once."""
        if active.run.state.is_terminal:
            return
        try:
            await active.archive_log()
            await active.change(
                lambda run: run.model_copy(update={"owner": None}),
                reason="Released",
                message="The gateway that ran it stopped.",
                patient=False,
            )
        except (AsgardError, Superseded) as error:
            log.warning("run_not_released", run_id=active.run.run_id, error=str(error))


def _record_span(work: Work, run: Run) -> None:
    work.attributes = {"asgard.run.state": run.state}
    if run.failure:
        work.attributes["asgard.run.cause"] = run.failure.cause
        work.error = run.failure.cause if run.state is RunState.FAILED else None
