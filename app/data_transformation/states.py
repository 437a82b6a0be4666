"""The Spark operator's names for states, which clients of `/spark` know."""

from enum import StrEnum
from typing import Self, assert_never

from app.runs.model import RunState
from app.runs.pages import AnyRun


class SparkState(StrEnum):
    """`status.applicationState.state` of a SparkApplication."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    SUCCEEDING = "SUCCEEDING"
    COMPLETED = "COMPLETED"
    FAILING = "FAILING"
    FAILED = "FAILED"
    SUBMISSION_FAILED = "SUBMISSION_FAILED"
    PENDING_RERUN = "PENDING_RERUN"
    INVALIDATING = "INVALIDATING"
    SUSPENDING = "SUSPENDING"
    SUSPENDED = "SUSPENDED"
    RESUMING = "RESUMING"
    UNKNOWN = "UNKNOWN"

    @property
    def is_terminal(self) -> bool:
        return self in {SparkState.COMPLETED, SparkState.FAILED, SparkState.SUBMISSION_FAILED}

    @classmethod
    def of(cls, run: AnyRun) -> Self:
        """Returns the state of a run. Its recorded outcome outranks the engine's last state.

        The operator has no state for cancelled applications. Its clients see them as failed, and
        the cause is `cancelled`.
        """
        reported = cls(run.engine_state) if run.engine_state in set(cls) else None
        match run.state:
            case RunState.QUEUED:
                return cls("SUBMITTED")
            case RunState.RUNNING:
                return reported if reported and not reported.is_terminal else cls("SUBMITTED")
            case RunState.SUCCEEDED:
                return cls("COMPLETED")
            case RunState.FAILED | RunState.CANCELLED:
                return reported if reported == "SUBMISSION_FAILED" else cls("FAILED")
            case unknown:
                assert_never(unknown)
