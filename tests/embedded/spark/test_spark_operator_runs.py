"""Runs on the Spark operator's adapter, with an operator that behaves as observed on a real one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.caller import ANONYMOUS
from app.data_transformation.engine import WriteMode
from app.data_transformation.kubernetes import engine as spark_operator
from app.failure import Failure, FailureCause
from app.lakehouse.publish.publish import append_table, replace_table
from app.runs.model import Run, RunState
from tests import patience
from tests.conftest import Lakehouse
from tests.integration.spark.operator_runs import Runs, operator_runs
from tests.kubernetes_standin import (
    NAMESPACE,
    KubernetesStandIn,
    kubernetes_standin,
    terminated,
)

ROWS = pa.table({"id": [1]})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubernetesStandIn]:
    with kubernetes_standin(tmp_path / "kubeconfig") as standin:
        yield standin


class Spark:
    def __init__(self, lakehouse: Lakehouse, kubeconfig: Path, cluster: KubernetesStandIn) -> None:
        self._lakehouse = lakehouse
        self._kubeconfig = kubeconfig
        self._cluster = cluster

    @asynccontextmanager
    async def gateway(self, **changes: Any) -> AsyncIterator[Runs]:
        lakehouse, kubeconfig = self._lakehouse, self._kubeconfig
        async with operator_runs(lakehouse, kubeconfig, NAMESPACE, **changes) as runs:
            yield runs

    async def started(self, runs: Runs, table: str, **options: Any) -> tuple[Run, str]:
        """Start a run. Return it with a running driver, and the name of its application."""
        run = await runs.start(table, **options)
        await runs.until(run, "SparkApplicationCreated")
        name = f"sql-exec-{run.run_id}"
        self._cluster.driver(name, state={"running": {}})
        self._cluster.state(name, "RUNNING", executionAttempts=1)
        await runs.until(run, "SparkApplicationRunning")
        return run, name

    async def restarted(self, runs: Runs, run: Run, name: str) -> None:
        """Start the second attempt, which is another application with the same name."""
        await runs.until(run, "SparkApplicationRepeated")
        await patience.until(lambda: len(self._cluster.created) == 2)
        self._cluster.driver(name, state={"running": {}})
        self._cluster.state(name, "RUNNING", executionAttempts=1)

    def failed(self, name: str, code: int = 1, reason: str = "Error") -> None:
        self._cluster.driver(name, "Failed", state=terminated(code, reason))
        message = f"driver container failed with ExitCode: {code}, Reason: {reason}"
        self._cluster.state(name, "FAILING", message)
        self._cluster.state(name, "FAILED", message)

    def completed(self, name: str) -> None:
        self._cluster.driver(name, "Succeeded", state=terminated(0, "Completed"))
        self._cluster.state(name, "SUCCEEDING")
        self._cluster.state(name, "COMPLETED")

    async def write(self, run: Run) -> None:
        """Write as the run's driver does, in one commit with the run's id."""
        await self._lakehouse.catalog.run(
            lambda catalog: replace_table(catalog, run.target, ROWS.to_reader(), run_id=run.run_id)
        )

    async def others_write(self, table: str) -> None:
        await self._lakehouse.catalog.run(
            lambda catalog: append_table(
                catalog, f"silver.{table}", ROWS.to_reader(), run_id="of-another-writer"
            )
        )


@pytest.fixture
def spark(own_lakehouse: Lakehouse, tmp_path: Path, cluster: KubernetesStandIn) -> Spark:
    return Spark(own_lakehouse, tmp_path / "kubeconfig", cluster)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_operator, "RETRY_PAUSE", 0.0)


def fault(run: Run) -> Failure:
    assert run.state is RunState.FAILED, run
    assert run.failure is not None
    return run.failure


@pytest.mark.parametrize("mode", list(WriteMode))
async def test_with_hidden_history_an_application_that_wrote_nothing_has_not_succeeded(
    spark: Spark, mode: WriteMode
) -> None:
    table = f"sx_nothing_{mode}"
    await spark.others_write(table)
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, table, write_mode=mode)
        spark.completed(name)
        ended = await runs.ended(run)
    failure = fault(ended)
    assert (failure.cause, failure.retryable) == (FailureCause.LOST, True)
    assert f"it wrote nothing: silver.{table} has no snapshot of the run" in failure.message
    assert ended.output is None


async def test_an_application_whose_snapshot_heads_the_table_has_succeeded(spark: Spark) -> None:
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, "sx_written")
        await spark.write(run)
        spark.completed(name)
        ended = await runs.ended(run)
    assert (ended.state, ended.engine_state) == (RunState.SUCCEEDED, "COMPLETED")
    assert ended.output is not None
    assert (ended.output.table, ended.output.rows) == ("silver.sx_written", 1)


async def test_a_newest_snapshot_of_another_writer_leaves_the_result_unknown(spark: Spark) -> None:
    """Where history is hidden, the run's snapshot may be below it: a retry might duplicate it."""
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, "sx_hidden")
        await spark.others_write("sx_hidden")
        spark.completed(name)
        failure = fault(await runs.ended(run))
    assert (failure.cause, failure.retryable) == (FailureCause.LOST, False)
    assert "another writer" in failure.message


async def test_a_take_over_does_not_call_a_table_with_hidden_history_unchanged(
    spark: Spark,
) -> None:
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, "sx_left")
    await spark.others_write("sx_left")
    spark.completed(name)
    async with spark.gateway(hides_history=True) as runs:
        failure = fault(await runs.ended(run))
    assert (failure.cause, failure.retryable) == (FailureCause.LOST, False), failure
    assert "another writer" in failure.message


async def test_the_pods_own_reason_takes_precedence_over_the_operators_summary(
    spark: Spark, cluster: KubernetesStandIn
) -> None:
    async with spark.gateway(retries=0) as runs:
        run, name = await spark.started(runs, "sx_evicted")
        cluster.driver(name, "Failed", reason="Evicted", message="The node was low on memory.")
        cluster.state(name, "FAILING", "driver container status missing")
        cluster.state(name, "FAILED", "driver container status missing")
        failure = fault(await runs.ended(run))
    assert failure.message == (
        "Kubernetes ended the driver's pod: Evicted: The node was low on memory."
    )
    assert (failure.cause, failure.retryable) == (FailureCause.INTERNAL, True)


SAID = (
    'asgard: failed {"kind": "AnalysisException", "condition": "UNRESOLVED_COLUMN", '
    '"message": "A column with name `nope` cannot be resolved."}\n'
)


@pytest.mark.parametrize(
    ("code", "reason", "message", "cause"),
    [
        (137, "OOMKilled", "", FailureCause.OUT_OF_MEMORY),
        (1, "Error", SAID, FailureCause.SQL_ERROR),
    ],
    ids=["memory", "sql"],
)
async def test_a_permanent_failure_is_not_repeated_and_its_application_stays(
    spark: Spark,
    cluster: KubernetesStandIn,
    code: int,
    reason: str,
    message: str,
    cause: FailureCause,
) -> None:
    async with spark.gateway(retries=3, hides_history=False) as runs:
        run, name = await spark.started(runs, f"sx_once_{cause}")
        cluster.say(name, message)
        spark.failed(name, code, reason)
        ended = await runs.ended(run)
    assert fault(ended).cause == cause
    assert [application["spec"]["restartPolicy"] for application in cluster.created] == [
        {"type": "Never"}
    ]
    assert (cluster.deleted, list(cluster.applications)) == ([], [name])
    assert ended.engine["execution_attempts"] == 1


async def test_a_killed_driver_is_started_again(spark: Spark, cluster: KubernetesStandIn) -> None:
    async with spark.gateway(hides_history=False) as runs:
        run, name = await spark.started(runs, "sx_again")
        spark.failed(name, 137)
        await spark.restarted(runs, run, name)
        await spark.write(run)
        spark.completed(name)
        ended = await runs.ended(run)
    assert ended.state is RunState.SUCCEEDED, ended.failure
    assert ended.engine["execution_attempts"] == 2
    assert (len(cluster.created), cluster.deleted) == (2, [name])


async def test_the_last_attempt_gives_the_cause_of_the_failure(
    spark: Spark, cluster: KubernetesStandIn
) -> None:
    async with spark.gateway(retries=1, hides_history=False) as runs:
        run, name = await spark.started(runs, "sx_twice")
        spark.failed(name, 137)
        await spark.restarted(runs, run, name)
        spark.failed(name, 137, "OOMKilled")
        failure = fault(await runs.ended(run))
    assert failure.cause is FailureCause.OUT_OF_MEMORY
    assert (len(cluster.created), cluster.deleted) == (2, [name])


async def test_with_hidden_history_an_append_is_not_repeated(
    spark: Spark, cluster: KubernetesStandIn
) -> None:
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, "sx_append_once", write_mode=WriteMode.APPEND)
        spark.failed(name, 137)
        failure = fault(await runs.ended(run))
    assert "was killed" in failure.message
    assert len(cluster.created) == 1


async def logged(runs: Runs, run: Run, words: str) -> None:
    async def there() -> bool:
        return words in await runs.service.logs(run.run_id)

    await patience.until(there)


async def test_a_drivers_log_outlives_a_cancel(spark: Spark, cluster: KubernetesStandIn) -> None:
    async with spark.gateway() as runs:
        run, name = await spark.started(runs, "sx_log_cancelled")
        cluster.say(name, "row 1 of 9\nrow 2")
        await logged(runs, run, "row 1 of 9\n")
        assert await runs.engine.live_log(await runs.service.get(run.run_id)) is None
        cluster.say(name, " of 9\n")
        await logged(runs, run, "row 2 of 9\n")
        await runs.service.cancel(run.run_id, ANONYMOUS)
        ended = await runs.ended(run)
        assert ended.state is RunState.CANCELLED
        assert name not in cluster.applications
        assert await runs.service.logs(run.run_id) == "row 1 of 9\nrow 2 of 9\n"


async def test_a_drivers_log_outlives_its_pod(spark: Spark, cluster: KubernetesStandIn) -> None:
    """The pod is deleted before the end of the application is reported."""
    async with spark.gateway() as runs:
        run, name = await spark.started(runs, "sx_log_gone")
        cluster.say(name, SAID)
        await logged(runs, run, "asgard: failed")
        del cluster.pods[f"{name}-driver"]
        cluster.state(name, "FAILING", "driver pod not found")
        cluster.state(name, "FAILED", "driver pod not found")
        failure = fault(await runs.ended(run))
        assert (failure.cause, failure.message) == ("sql_error", "There is no column nope.")
        assert SAID in await runs.service.logs(run.run_id)


async def test_a_line_of_any_length_reaches_the_log_shortened(
    spark: Spark, cluster: KubernetesStandIn
) -> None:
    async with spark.gateway() as runs:
        run, name = await spark.started(runs, "sx_log_long")
        cluster.say(name, "x" * 5_000_000 + "\nnext\n")
        await logged(runs, run, "next\n")
        await runs.service.cancel(run.run_id, ANONYMOUS)
        await runs.ended(run)
        line, following = (await runs.service.logs(run.run_id)).splitlines()
        assert following == "next"
        assert len(line) < 20_000


async def test_a_log_is_complete_and_not_repeated_if_its_driver_ended_unseen(
    spark: Spark, cluster: KubernetesStandIn
) -> None:
    async with spark.gateway(retries=0) as runs:
        run = await runs.start("sx_log_fast")
        await runs.until(run, "SparkApplicationCreated")
        name = f"sql-exec-{run.run_id}"
        cluster.say(name, "begin\nend without a newline")
        spark.failed(name)
        await runs.ended(run)
        assert await runs.service.logs(run.run_id) == "begin\nend without a newline\n"


async def test_a_failure_does_not_suggest_a_retry_if_another_writer_may_hide_the_result(
    spark: Spark,
) -> None:
    """The driver may have been killed after its commit."""
    async with spark.gateway(hides_history=True) as runs:
        run, name = await spark.started(runs, "sx_killed_late", write_mode=WriteMode.APPEND)
        await spark.others_write("sx_killed_late")
        spark.failed(name, 137)
        failure = fault(await runs.ended(run))
    assert (failure.cause, failure.retryable) == (FailureCause.LOST, False)
