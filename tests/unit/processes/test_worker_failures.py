"""What the failure of a worker means for the job that it worked on."""

import pytest

from app.errors import AsgardError, EngineFailed, EngineTimeout, SqlInvalid
from app.failure import FailureCause
from app.processes import WorkerDied, WorkerError, WorkerFailure, WorkerTimeout


@pytest.mark.parametrize(
    ("exit_code", "fault", "how", "hint"),
    [
        (-9, None, "was killed", "The kernel's log shows whether memory ran out."),
        (-11, None, "ended with exit code -11", None),
        (0, None, "ended with exit code 0", None),
        (-9, "a line that is not valid JSON", "was ended because it sent a line", None),
    ],
)
def test_a_dead_worker_did_not_finish_the_job_and_another_one_may(
    exit_code: int, fault: str | None, how: str, hint: str | None
) -> None:
    error = WorkerDied("worker 3", exit_code, "last words", fault).translated("The worker")
    assert error.detail.startswith(f"The worker did not finish the job: it {how}")
    assert (error.cause, error.retryable, error.hint) == (FailureCause.LOST, True, hint)


@pytest.mark.parametrize(
    ("failure", "kind", "detail"),
    [
        (WorkerTimeout("late"), EngineTimeout, "The worker did not respond in time."),
        (WorkerError(SqlInvalid("no column a").to_json()), SqlInvalid, "no column a"),
        (
            WorkerError({"type": "KeyError", "message": "'a'"}),
            EngineFailed,
            "The worker failed: 'a'",
        ),
        (
            WorkerError({"problem": "unauthorized", "message": "no key"}),
            EngineFailed,
            "The worker failed: no key",
        ),
    ],
)
def test_another_failure_is_what_the_worker_reported(
    failure: WorkerFailure, kind: type[AsgardError], detail: str
) -> None:
    error = failure.translated("The worker")
    assert (type(error), error.detail) == (kind, detail)
