"""The end of each run is one line of the gateway's log, at a level that says who has to act."""

from typing import Any

import pytest
import structlog.testing

from app.errors import EngineFailed, EngineUnreachable, SqlInvalid, TableNotFound
from app.failure import FailureCause
from app.runs.handler import RunResult
from tests.harnesses.runs import Idle, RunsHarness, request, running, runs_harness
from tests.patience import until


@pytest.fixture(scope="module")
async def harness(lakehouse) -> RunsHarness:
    return await runs_harness(lakehouse.lake)


async def line_of(harness: RunsHarness, error: Exception | None) -> tuple[Any, dict[str, Any]]:
    """Return the run and the only line about its end."""

    class Raising(Idle):
        async def execute(self, _run, _control) -> RunResult:
            if error is not None:
                raise error
            return RunResult(None)

    with structlog.testing.capture_logs() as logged:
        async with running(harness.service(Raising())) as service:
            started = await service.start(*request("ended"))
            run = await service.wait(started.run.run_id, 30)
            await until(lambda: [line for line in logged if line["event"] == "run_ended"])
    [line] = [line for line in logged if line["event"] == "run_ended"]
    return run, line


@pytest.mark.parametrize(
    ("error", "level", "cause"),
    [
        (EngineFailed("no memory", cause=FailureCause.OUT_OF_MEMORY), "error", "out_of_memory"),
        (EngineUnreachable("Trino is gone"), "error", "engine_unreachable"),
        (RuntimeError("a bug"), "error", "internal"),
        (SqlInvalid("no such column"), "warning", "sql_error"),
        (TableNotFound("no such table"), "warning", "table_not_found"),
        (EngineFailed("1 / 0", cause=FailureCause.SQL_ERROR), "warning", "sql_error"),
    ],
)
async def test_a_failed_run_is_one_line_that_says_what_failed_and_why(
    harness: RunsHarness, error: Exception, level: str, cause: str
) -> None:
    run, line = await line_of(harness, error)
    assert line == {
        "event": "run_ended",
        "log_level": level,
        "run_id": run.run_id,
        "kind": "dbt",
        "target": "ended",
        "state": "failed",
        "cause": cause,
        "message": run.failure.message,
        "seconds": round((run.finished_at - run.started_at).total_seconds(), 3),
    }


async def test_a_run_that_succeeds_is_no_failure_in_the_log(harness: RunsHarness) -> None:
    run, line = await line_of(harness, None)
    assert (line["log_level"], line["state"], line["run_id"]) == ("info", "succeeded", run.run_id)
    assert "cause" not in line
