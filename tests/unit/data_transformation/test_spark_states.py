from datetime import UTC, datetime

import pytest

from app.data_transformation.states import SparkState
from app.runs.model import Run, RunKind, RunState


def a_run(state: RunState, engine_state: str | None) -> Run:
    return Run(
        run_id="ab" * 16,
        kind=RunKind.SPARK,
        target="silver.t",
        state=state,
        engine_state=engine_state,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        created_by="anonymous",
    )


@pytest.mark.parametrize(
    ("state", "engine_state", "expected"),
    [
        (RunState.QUEUED, None, "SUBMITTED"),
        (RunState.RUNNING, None, "SUBMITTED"),
        (RunState.RUNNING, "RUNNING", "RUNNING"),
        (RunState.RUNNING, "PENDING_RERUN", "PENDING_RERUN"),
        (RunState.RUNNING, "COMPLETED", "SUBMITTED"),
        (RunState.RUNNING, "a word of no operator", "SUBMITTED"),
        (RunState.SUCCEEDED, "RUNNING", "COMPLETED"),
        (RunState.SUCCEEDED, "COMPLETED", "COMPLETED"),
        (RunState.FAILED, "RUNNING", "FAILED"),
        (RunState.FAILED, "SUBMISSION_FAILED", "SUBMISSION_FAILED"),
        (RunState.CANCELLED, "RUNNING", "FAILED"),
    ],
)
def test_a_run_has_the_operators_state(
    state: RunState, engine_state: str | None, expected: str
) -> None:
    assert SparkState.of(a_run(state, engine_state)) == expected


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("engine_state", [None, *SparkState])
def test_a_run_ends_with_its_reported_state(state: RunState, engine_state: str | None) -> None:
    reported = SparkState.of(a_run(state, engine_state))
    assert reported.is_terminal == state.is_terminal
