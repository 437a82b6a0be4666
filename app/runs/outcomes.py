"""How runs end, and what is then written."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.errors import AsgardError, EngineFailed
from app.failure import Failure, FailureCause
from app.redaction import clean_start
from app.runs.handler import RunResult
from app.runs.model import Run, RunState
from app.shorten import LONGEST_DETAIL, LONGEST_HINT


@dataclass(frozen=True)
class RunOutcome:
    state: RunState
    message: str
    outcome: RunResult | None = None
    failure: Failure | None = None
    engine_state: str | None = None
    """What the engine said of a run that failed while nobody followed it."""

    def apply(self, run: Run, finished_at: datetime) -> Run:
        news: dict[str, Any] = {
            "state": self.state,
            "finished_at": finished_at,
            "failure": self.failure,
            "engine_state": self.engine_state or run.engine_state,
        }
        if (outcome := self.outcome) is not None:
            news["output"] = outcome.output if outcome.output is not None else run.output
            news["engine"] = {**run.engine, **(outcome.engine or {})}
            if outcome.inputs is not None:
                news["inputs"] = outcome.inputs
            if outcome.engine_state is not None:
                news["engine_state"] = outcome.engine_state
        return run.model_copy(update=news)


CANCELLED = RunOutcome(
    RunState.CANCELLED,
    "The run was cancelled and changed nothing.",
    failure=Failure(cause=FailureCause.CANCELLED, message="The run was cancelled."),
)
LOST = RunOutcome(
    RunState.FAILED,
    "The process that ran it is gone, and the target was not changed.",
    failure=Failure(
        cause=FailureCause.LOST,
        message="The process that ran it is gone, and the target was not changed.",
        hint="Start it again.",
        retryable=True,
    ),
)


def succeeded(outcome: RunResult) -> RunOutcome:
    return RunOutcome(RunState.SUCCEEDED, "The run succeeded.", outcome)


def timed_out(seconds: float) -> RunOutcome:
    message = f"The run took longer than {seconds:g} s (RUN_TIMEOUT) and was stopped."
    failure = Failure(cause=FailureCause.TIMEOUT, message=message, retryable=True)
    return RunOutcome(RunState.FAILED, message, failure=failure)


def failed(error: AsgardError, engine_state: str | None = None) -> RunOutcome:
    # Work that several runs share may have raised it, without knowing this run's secrets.
    message = clean_start(error.detail, LONGEST_DETAIL)
    failure = Failure(
        cause=error.failure_cause if isinstance(error, EngineFailed) else error.cause,
        message=message,
        hint=clean_start(error.hint, LONGEST_HINT) if error.hint else None,
        retryable=error.can_retry if isinstance(error, EngineFailed) else error.retryable,
    )
    return RunOutcome(RunState.FAILED, message, failure=failure, engine_state=engine_state)


def internal_error(error: Exception) -> RunOutcome:
    """A fault of ours. Its text may hold anything, a secret too: it goes to the log alone."""
    message = f"An internal error ended the run ({type(error).__name__}); the log of Asgard has it."
    failure = Failure(cause=FailureCause.INTERNAL, message=message, retryable=False)
    return RunOutcome(RunState.FAILED, message, failure=failure)
