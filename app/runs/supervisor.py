"""Owns the runs of this process: starts each in its turn, follows it and records its outcome."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from app.concurrency.backoff import backoff_delays, retry_while_unreachable
from app.concurrency.notify import RunNotifiers
from app.errors import AsgardError, EngineTimeout, EngineUnreachable
from app.redaction import Scope, within
from app.runs.archive import RunArchive
from app.runs.ending_line import log_ended_run
from app.runs.handler import CancelRequested, ReconciledAsFailed, RunHandler, RunResult, Superseded
from app.runs.locks import TargetLocks
from app.runs.model import Run, RunKind, RunState
from app.runs.open_runs import OpenRuns
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
"""How often `reconcile` may fail for a reason other than an outage before the run fails."""
IN_FLIGHT_SECONDS = 1.0
"""Seconds within which requests that were sent before still arrive, above all a commit: those of a
dead owner, and those of a process that was killed with its run."""
UNKNOWN_OUTCOME = (EngineUnreachable, EngineTimeout)
"""Errors after which an engine may still have done its work."""
log = structlog.get_logger()
Observer = Callable[[Run], None]


class Supervisor:
    def __init__(
        self,
        *,
        runs: RunStore,
        open_runs: OpenRuns,
        locks: TargetLocks,
        archive: RunArchive,
        notifiers: RunNotifiers,
        owner: str,
        handlers: Mapping[RunKind, RunHandler],
        max_running: Mapping[RunKind, int],
        run_timeout: float,
        observers: Sequence[Observer] = (),
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._runs = runs
        self._owned = open_runs.owned
        self._locks = locks
        self._archive = archive
        self._notifiers = notifiers
        self._owner = owner
        self._handlers = handlers
        self._slots = {kind: asyncio.Semaphore(max_running[kind]) for kind in RunKind}
        self._run_timeout = run_timeout
        self._observers = observers
        self._telemetry = telemetry

    def handles(self, kind: RunKind) -> bool:
        return kind in self._handlers

    def adopt(self, stored: StoredRun) -> OwnedRun:
        """Start a run that this process has just created."""
        return self._begin(stored, taken_over=False)

    async def take_over(self, stored: StoredRun) -> bool:
        """Take over a run by raising its epoch, after which its previous owner can no longer write
        it. Return False if another replica was faster."""
        from app.lakehouse.storage import PreconditionFailed

        run = stored.run
        if run.run_id in self._owned:
            return False
        changed = run.model_copy(
            update={"owner": self._owner, "epoch": run.epoch + 1, "version": run.version + 1}
        )
        try:
            taken = await self._runs.replace(changed, stored.etag)
        except PreconditionFailed:
            return False
        log.info("run_taken_over", run_id=run.run_id, state=run.state, previous_owner=run.owner)
        self._begin(taken, taken_over=True)
        return True

    async def close(self, grace: float) -> None:
        """Wait for the runs for `grace` seconds. Runs still open stay in S3, free to be taken
        over."""
        owned = list(self._owned.values())
        for active in owned:
            if active.run.state.is_waiting:
                active.stop(Stop.RELEASE)
        tasks = [active.task for active in owned if active.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        for active in list(self._owned.values()):
            active.stop(Stop.RELEASE)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(self._release(active) for active in owned))

    def _begin(self, stored: StoredRun, *, taken_over: bool) -> OwnedRun:
        active = OwnedRun(stored, self._runs, self._notifiers)
        self._owned[stored.run.run_id] = active
        active.task = asyncio.create_task(
            self._run_lifecycle(active, taken_over), name=f"run {stored.run.run_id}"
        )
        return active

    async def _run_lifecycle(self, active: OwnedRun, taken_over: bool) -> None:
        run, run_id = active.run, active.run.run_id
        attributes = {
            "asgard.run.id": run_id,
            "asgard.run.kind": run.kind,
            "asgard.target": run.target,
        }
        with (
            within(Scope()),
            self._telemetry.work(
                f"run {run.kind}", "internal", run.traceparent, attributes
            ) as work,
            structlog.contextvars.bound_contextvars(run_id=run_id, **in_log(work)),
        ):
            try:
                outcome = await self._acquire_and_execute(active, taken_over)
                await self._end(active, outcome)
            except Superseded:
                log.warning("run_superseded")
            except asyncio.CancelledError:
                if active.stopped is None:
                    raise
                log.info("run_released", reason=active.stopped.value)
            except Exception:
                # The outer edge: the run stays open in S3, and its next owner reconciles it.
                log.exception("run_abandoned")
            finally:
                _record_span(work, active.run)
                self._locks.forget(active.run)
                self._owned.pop(run_id, None)
                self._notifiers.notify(run_id)

    async def _acquire_and_execute(self, active: OwnedRun, taken_over: bool) -> RunOutcome:
        try:
            if taken_over:
                outcome = await self._recover(active)
                if outcome is not None:
                    return outcome
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
        await asyncio.sleep(IN_FLIGHT_SECONDS)
        return await self._reconcile(active, CANCELLED)

    async def _recover(self, active: OwnedRun) -> RunOutcome | None:
        """Return the outcome of a run whose owner is gone, or None if it was queued and may run."""
        await retry_while_unreachable(lambda: self._locks.adopt(active.run), "adopt lock")
        await active.continue_log()
        if active.run.state.is_executing:
            await asyncio.sleep(IN_FLIGHT_SECONDS)
        cancelled = active.run.cancel_requested_at is not None
        outcome = await self._reconcile(active, CANCELLED if cancelled else LOST)
        return None if outcome is LOST and active.run.state.is_waiting else outcome

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
            expired = deadline.expired()
            outcome = timed_out(self._run_timeout) if expired else failed(error)
            certain = not expired and not isinstance(error, UNKNOWN_OUTCOME)
        except Exception as error:
            if deadline.expired():
                outcome = timed_out(self._run_timeout)
            else:
                log.exception("handler_failed")
                outcome = internal_error(error)
            certain = False
        if active.stopped is Stop.CANCEL:
            outcome, certain = CANCELLED, False
        if certain:
            return outcome
        await asyncio.sleep(IN_FLIGHT_SECONDS)
        return await self._reconcile(active, outcome)

    async def _reconcile(self, active: OwnedRun, otherwise: RunOutcome) -> RunOutcome:
        """Ask the handler what the run did until it knows, even if a caller requests to cancel."""
        attempts = 0
        for pause in backoff_delays():
            try:
                result: RunResult | None = await self._handlers[active.run.kind].reconcile(
                    active.run
                )
            except ReconciledAsFailed as failure:
                return failed(failure.error, failure.engine_state)
            except UNKNOWN_OUTCOME as error:
                log.warning("run_not_reconciled", error=error.detail)
            except Exception as error:
                attempts += 1
                log.exception("reconcile_failed", attempts=attempts)
                if attempts >= RECONCILE_ATTEMPTS:
                    return (
                        failed(error) if isinstance(error, AsgardError) else internal_error(error)
                    )
            else:
                return otherwise if result is None else await _with_warnings(active, result)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _end(self, active: OwnedRun, outcome: RunOutcome) -> None:
        active.ending = True
        finished_at = now()
        await asyncio.gather(
            retry_while_unreachable(active.archive_log, "archive log"),
            retry_while_unreachable(lambda: self._locks.release(active.run), "release lock"),
        )
        handler = self._handlers[active.run.kind]

        def end(run: Run) -> Run:
            ended = outcome.apply(run, finished_at)
            return ended.model_copy(update={"engine_state": handler.final_engine_state(ended)})

        run = await active.change(
            end,
            reason=outcome.state.value.capitalize(),
            message=outcome.message,
            warning=outcome.failure is not None,
        )
        self._archive.add(active.stored)
        with within(None):  # operators need these values, even if callers send them as secrets
            log_ended_run(run)
        for observer in self._observers:
            observer(run)

    async def _release(self, active: OwnedRun) -> None:
        """Remove the owner, so that the next replica takes the run over at once."""
        if active.run.state.is_terminal:
            return
        try:
            await active.archive_log()
            await active.change(
                lambda run: run.model_copy(update={"owner": None}),
                reason="Released",
                message="The gateway that executed the run stopped.",
                wait_for_storage=False,
            )
        except (AsgardError, Superseded) as error:
            log.warning("run_not_released", run_id=active.run.run_id, error=str(error))


async def _with_warnings(active: OwnedRun, result: RunResult) -> RunOutcome:
    for warned in result.warnings:
        await active.progress(reason=warned.reason, message=warned.message, warning=True)
    return succeeded(result)


def _record_span(work: Work, run: Run) -> None:
    work.attributes = {"asgard.run.state": run.state}
    if run.failure:
        work.attributes["asgard.run.cause"] = run.failure.cause
        work.error = run.failure.cause if run.state is RunState.FAILED else None
