from datetime import UTC, datetime

import pytest

from app.errors import (
    AsgardError,
    EngineFailed,
    EngineTimeout,
    EngineUnreachable,
    SqlInvalid,
    TableNotFound,
)
from app.failure import FailureCause
from app.lakehouse.outputs import RunOutput
from app.runs.handler import RunResult
from app.runs.model import Run, RunInput, RunKind, RunState
from app.runs.outcomes import CANCELLED, LOST, failed, succeeded

NOW = datetime(2013, 1, 1, tzinfo=UTC)
RUN = Run(
    run_id="a" * 32,
    kind=RunKind.DBT,
    target="gold.t",
    created_at=NOW,
    created_by="me",
    inputs=(RunInput(table="silver.a"),),
    engine={"version": "1"},
)


@pytest.mark.parametrize(
    ("error", "cause", "retryable"),
    [
        (SqlInvalid("x"), FailureCause.SQL_ERROR, False),
        (TableNotFound("x"), FailureCause.TABLE_NOT_FOUND, False),
        (EngineUnreachable("x"), FailureCause.ENGINE_UNREACHABLE, True),
        (EngineTimeout("x"), FailureCause.TIMEOUT, True),
        (EngineFailed("x", cause=FailureCause.OUT_OF_MEMORY), FailureCause.OUT_OF_MEMORY, False),
        (AsgardError("x"), FailureCause.INTERNAL, False),
    ],
)
def test_an_error_becomes_a_failure_with_its_cause(error, cause, retryable):
    failure = failed(error).failure
    assert (failure.cause, failure.message, failure.retryable) == (cause, "x", retryable)


def test_an_outcome_adds_to_what_progress_recorded():
    outcome = RunResult(RunOutput(table="gold.t", rows=1), engine={"rows": 1}, engine_state="OK")
    ended = succeeded(outcome).apply(RUN, NOW)
    assert (ended.state, ended.finished_at, ended.engine_state) == (RunState.SUCCEEDED, NOW, "OK")
    assert ended.engine == {"version": "1", "rows": 1}
    assert ended.inputs == RUN.inputs
    assert ended.output.rows == 1
    assert succeeded(RunResult(None, inputs=())).apply(RUN, NOW).inputs == ()


def test_the_engine_state_of_a_failure_replaces_the_earlier_one():
    before = RUN.model_copy(update={"engine_state": "running"})
    assert failed(SqlInvalid("x"), "failed").apply(before, NOW).engine_state == "failed"
    assert failed(SqlInvalid("x")).apply(before, NOW).engine_state == "running"


def test_lost_and_cancelled_runs_name_their_cause():
    assert LOST.apply(RUN, NOW).failure.cause is FailureCause.LOST
    assert LOST.apply(RUN, NOW).state is RunState.FAILED
    assert CANCELLED.apply(RUN, NOW).state is RunState.CANCELLED
