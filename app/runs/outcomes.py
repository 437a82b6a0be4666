"""The outcomes of runs, and the fields that they set."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.errors import AsgardError
from app.failure import Failure, FailureCause
from app.redaction import clean_start
from app.runs.handler import RunResult
from app.runs.model import Run, RunState
from app.shorten import LONGEST_DETAIL, LONGEST_HINT


@dataclass(frozen=True)
class RunOutcome:
    state: RunState
    message: str
    result: RunResult | None = None
    failure: Failure | None = None
    engine_state: str | None = None
    """The engine's state of a run that failed while no gateway followed it."""

    def apply(self, run: Run, finished_at: datetime) -> Run:
        changes: dict[str, Any] = {
            "state": self.state,
            "finished_at": finished_at,
            "failure": self.failure,
            "engine_state": self.engine_state or run.engine_state,
        }
        if (result := self.result) is not None:
            changes["output"] = result.output if result.output is not None else run.output
            changes["engine"] = {**run.engine, **(result.engine or {})}
            if result.inputs is not None:
                changes["inputs"] = result.inputs
            if result.engine_state is not None:
                changes["engine_state"] = result.engine_state
        return run.model_copy(update=changes)


CANCELLED = RunOutcome(
    RunState.CANCELLED,
    "The run was cancelled and changed nothing.",
    failure=Failure(cause=FailureCause.CANCELLED, message="The run was cancelled."),
)
LOST = RunOutcome(
    RunState.FAILED,
    "The process that executed the run is gone, and the target was not changed.",
    failure=Failure(
        cause=FailureCause.LOST,
        message="The process that executed the run is gone, and the target was not changed.",
        hint="Start the run again.",
        retryable=True,
    ),
)


def succeeded(result: RunResult) -> RunOutcome:
    return RunOutcome(RunState.SUCCEEDED, "The run succeeded.", result)


def timed_out(seconds: float) -> RunOutcome:
    message = f"The run took longer than {seconds:g} s (RUN_TIMEOUT) and was stopped."
    failure = Failure(cause=FailureCause.TIMEOUT, message=message, retryable=True)
    return RunOutcome(RunState.FAILED, message, failure=failure)


def failed(error: AsgardError, engine_state: str | None = None) -> RunOutcome:
    # Shared work may have raised it, and that does not know this run's secrets.
    message = clean_start(error.detail, LONGEST_DETAIL)
    failure = Failure(
        cause=error.cause,
        message=message,
        hint=clean_start(error.hint, LONGEST_HINT) if error.hint else None,
        retryable=error.retryable,
    )
    return RunOutcome(RunState.FAILED, message, failure=failure, engine_state=engine_state)


def internal_error(error: Exception) -> RunOutcome:
    """Return the outcome of a bug. The error's text may contain secrets, so only the log has it."""
    message = f"An internal error ended the run ({type(error).__name__}). See Asgard's log."
    failure = Failure(cause=FailureCause.INTERNAL, message=message, retryable=False)
    return RunOutcome(RunState.FAILED, message, failure=failure)
