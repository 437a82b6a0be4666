"""The engine state of ended runs, for every kind of engine."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from app.airbyte.run_handler import IngestionRunHandler
from app.data_transformation.run_handler import SparkRunHandler
from app.failure import Failure, FailureCause
from app.runs.handler import RunHandler
from app.runs.model import Run, RunKind, RunState
from app.warehouse.run_handler import ModelRunHandler

NOW = datetime(2013, 1, 1, tzinfo=UTC)
NOTHING: Any = SimpleNamespace()
DRIVERS: dict[RunKind, RunHandler] = {
    RunKind.INGESTION: IngestionRunHandler(NOTHING),
    RunKind.SPARK: SparkRunHandler(NOTHING, NOTHING, NOTHING, NOTHING),
    RunKind.DBT: ModelRunHandler(NOTHING, NOTHING, NOTHING),
    RunKind.DATA_PRODUCT: ModelRunHandler(NOTHING, NOTHING, NOTHING),
}
SUCCEEDED, FAILED, CANCELLED = RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED
LOST, STOPPED, LATE = FailureCause.LOST, FailureCause.CANCELLED, FailureCause.TIMEOUT


@pytest.mark.parametrize(
    ("kind", "said", "state", "cause", "word"),
    [
        (RunKind.SPARK, "RUNNING", FAILED, LOST, "FAILED"),
        (RunKind.SPARK, "RUNNING", FAILED, LATE, "FAILED"),
        (RunKind.SPARK, "PENDING_RERUN", CANCELLED, STOPPED, "FAILED"),
        (RunKind.SPARK, "SUBMISSION_FAILED", FAILED, LOST, "SUBMISSION_FAILED"),
        (RunKind.SPARK, None, FAILED, LOST, "FAILED"),
        (RunKind.SPARK, "RUNNING", SUCCEEDED, None, "COMPLETED"),
        (RunKind.INGESTION, "reading", FAILED, LOST, "failed"),
        (RunKind.INGESTION, "running", FAILED, LATE, "cancelled"),
        (RunKind.INGESTION, "running", CANCELLED, STOPPED, "cancelled"),
        (RunKind.INGESTION, "cancelled", FAILED, STOPPED, "cancelled"),
        (RunKind.INGESTION, "failed", FAILED, LATE, "failed"),
        (RunKind.INGESTION, None, FAILED, LOST, None),
        (RunKind.INGESTION, "installing", SUCCEEDED, None, "succeeded"),
        (RunKind.DBT, None, FAILED, LOST, None),
        (RunKind.DATA_PRODUCT, None, SUCCEEDED, None, None),
    ],
)
def test_an_ended_run_has_the_engines_final_state(
    kind: RunKind, said: str | None, state: RunState, cause: FailureCause | None, word: str | None
) -> None:
    failure = Failure(cause=cause, message="x") if cause else None
    ended = a_run(kind, said, state).model_copy(update={"failure": failure, "started_at": NOW})
    assert DRIVERS[kind].final_engine_state(ended) == word


@pytest.mark.parametrize("kind", list(RunKind))
def test_a_run_that_never_started_has_no_engine_state(kind: RunKind) -> None:
    assert DRIVERS[kind].final_engine_state(a_run(kind, None, CANCELLED)) is None


def a_run(kind: RunKind, said: str | None, state: RunState) -> Run:
    return Run(
        run_id="ab" * 16,
        kind=kind,
        target="t",
        state=state,
        engine_state=said,
        created_at=NOW,
        created_by="anonymous",
    )
