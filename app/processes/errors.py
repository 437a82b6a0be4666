"""The ways in which a call of a worker fails, and what they mean outside of this package."""

import signal

from app.errors import (
    PROBLEMS,
    AsgardError,
    EngineFailed,
    EngineTimeout,
    MissingScope,
    Unauthorized,
)
from app.failure import FailureCause
from app.processes.worker_messages import Message
from app.shorten import LONGEST_DETAIL, shortened


class WorkerFailure(Exception):
    """A worker did not return a result."""

    def translated(self, process: str) -> AsgardError:
        """Return the error of the job. `process` is its subject, for example "The worker"."""
        raise NotImplementedError


class WorkerDied(WorkerFailure):
    """The process ended in the middle of a call. `log_tail` is what it last printed. If there is a
    `fault`, the gateway ended the process because it sent that."""

    def __init__(self, name: str, exit_code: int, log_tail: str, fault: str | None = None) -> None:
        self.exit_code = exit_code
        self.log_tail = log_tail
        self.fault = fault
        super().__init__(f"{name} {self.how}")

    @property
    def was_killed(self) -> bool:
        """Return whether another process or the kernel killed it."""
        return self.exit_code == -signal.SIGKILL and not self.fault

    @property
    def how(self) -> str:
        if self.fault:
            return f"was ended because it sent {self.fault}"
        return "was killed" if self.was_killed else f"ended with exit code {self.exit_code}"

    def translated(self, process: str) -> EngineFailed:
        return EngineFailed(
            f"{process} did not finish the job: it {self.how}.",
            cause=FailureCause.LOST,
            hint="The kernel's log shows whether memory ran out." if self.was_killed else None,
            retryable=True,
        )


class WorkerTimeout(WorkerFailure):
    """The call took longer than allowed, and the process was killed."""

    def translated(self, process: str) -> EngineTimeout:
        return EngineTimeout(f"{process} did not respond in time.")


class WorkerError(WorkerFailure):
    """The worker answered with an error: the JSON of an `AsgardError`, or `{type, message}`."""

    def __init__(self, error: Message) -> None:
        message = shortened(str(error.get("message")), LONGEST_DETAIL)
        super().__init__(f"{error.get('type') or error.get('problem')}: {message}")
        self.error = {**error, "message": message}

    def to_asgard(self) -> AsgardError | None:
        """Return the same error as an `AsgardError`, if the worker raised one."""
        problem = str(self.error.get("problem"))
        # Workers do not check a caller's rights.
        if problem not in PROBLEMS or problem in {Unauthorized.problem, MissingScope.problem}:
            return None
        return AsgardError.from_json(self.error)

    def translated(self, process: str) -> AsgardError:
        return self.to_asgard() or EngineFailed(f"{process} failed: {self.error['message']}")
