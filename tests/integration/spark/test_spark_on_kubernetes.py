"""Bronze → silver on a Kubernetes API server and real Spark 3.5; see `operator` for its limits."""

import asyncio
import base64
import io
import json
import os
import pickle
from collections import Counter
from pathlib import Path

import httpx

from app.data_transformation.engine import WriteMode
from tests import patience
from tests.conftest import Lakehouse
from tests.integration.servers.kube import GATEWAY
from tests.integration.servers.operator import StandInOperator
from tests.integration.spark.cluster import Cluster
from tests.integration.spark.jobs import END_SECONDS, ended, get, rows, submit, summary, until
from tests.integration.spark.operator_runs import operator_runs
from tests.otlp_collector import Collector, Span
from tests.scrapes import counted


async def test_bronze_files_become_a_silver_table(
    client: httpx.AsyncClient, lakehouse: Lakehouse, cluster: Cluster, operator: StandInOperator
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3], "amount": ["10", "NA", "5"]}), file)
    await lakehouse.store.put("bronze/sk_orders/1.parquet", file.getvalue())
    run_id = await submit(
        client,
        "SELECT id, CAST(NULLIF(amount, 'NA') AS INT) AS amount FROM source_data",
        source_path="bronze/sk_orders",
        destination_table="sk_orders",
    )
    name = f"sql-exec-{run_id}"
    assert (await get(client, run_id, "status"))["state"] == "SUBMITTED"
    status = await ended(client, run_id)
    assert status["state"] == "COMPLETED", (await get(client, run_id, "logs"))["logs"][-5000:]
    assert operator.written[name] == ["SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]
    assert await rows(lakehouse, "silver.sk_orders") == [
        {"id": 1, "amount": 10},
        {"id": 2, "amount": None},
        {"id": 3, "amount": 5},
    ]
    application = cluster.application(name)
    properties = await summary(lakehouse, "silver.sk_orders")
    assert properties["asgard.run_id"] == run_id
    assert properties["spark.app.id"] == application["status"]["sparkApplicationId"]
    assert properties["engine-version"] == "3.5.9"
    assert properties["app-id"] == properties["spark.app.id"]
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["output"]["rows"], run["output"]["table"]) == (3, "silver.sk_orders")
    assert run["engine_state"] == "COMPLETED"
    events = (await get(client, run_id, "events"))["events"]
    assert [event["reason"] for event in events] == [
        "Started",
        "SparkApplicationCreated",
        "SparkApplicationSubmitted",
        "SparkApplicationRunning",
        "SparkApplicationSucceeding",
        "SparkApplicationCompleted",
        "Succeeded",
    ]
    assert (status["driver_pod"], status["spark_version"]) == (f"{name}-driver", "3.5.9")
    assert status["image"] == "registry.example/spark:1"
    metrics = await get(client, run_id, "metrics")
    assert metrics["spark_info"]["application_id"] == properties["spark.app.id"]
    assert metrics["spark_info"]["execution_attempts"] == 1
    assert metrics["output"]["snapshot_id"] == run["output"]["snapshot_id"]
    logs = await get(client, run_id, "logs")
    assert "columns: id bigint, amount int" in logs["logs"]
    assert await lakehouse.store.list("asgard/jobs/") == []
    for secret in (lakehouse.lake.s3.secret_key, lakehouse.lake.catalog.credential or "-"):
        assert secret not in str(application)
        assert secret not in logs["logs"]


OF_A_FAILED_RUN = {
    ("create sparkapplications", "ok"): 1,
    ("get pods", "ok"): 1,
}


async def calls(client: httpx.AsyncClient) -> Counter[tuple[str, ...]]:
    """Return the calls of Kubernetes that the gateway counted."""
    text = (await client.get("http://asgard/metrics")).text
    samples = counted(text, "asgard_engine_calls_total", "engine", "operation", "outcome")
    return Counter({call[1:]: int(n) for call, n in samples.items() if call[0] == "kubernetes"})


async def test_failing_sql_is_reported_and_not_repeated(
    client: httpx.AsyncClient,
    lakehouse: Lakehouse,
    operator: StandInOperator,
    cluster: Cluster,
    traces: Collector,
) -> None:
    before, calls_before = await rows(lakehouse, "silver.sk_orders"), await calls(client)
    run_id = await submit(
        client, "SELECT nope FROM silver.sk_orders", destination_table="sk_orders"
    )
    status = await ended(client, run_id)
    assert status["state"] == "FAILED"
    assert status["failure"]["cause"] == "sql_error"
    assert status["error_message"] == "There is no column nope."
    assert operator.written[f"sql-exec-{run_id}"] == [
        "SUBMITTED",
        "RUNNING",
        "FAILING",
        "FAILED",
    ]
    assert await rows(lakehouse, "silver.sk_orders") == before
    assert "asgard: failed" in (await get(client, run_id, "logs"))["logs"]
    assert f"sql-exec-{run_id}" in cluster.names()  # for SPARK_TTL_SECONDS
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["state"], run["engine_state"]) == ("failed", "FAILED")
    more = await calls(client) - calls_before
    assert {call: n for call, n in more.items() if call in OF_A_FAILED_RUN} == OF_A_FAILED_RUN
    assert more["get pods/log", "ok"] >= 1
    assert (await calls(client))["list sparkapplications", "ok"] >= 1
    assert (await calls(client))["watch sparkapplications", "ok"] >= 1

    def of_run() -> list[Span]:
        return [s for s in traces.spans if s.attributes.get("asgard.run.id") == run_id]

    [span] = await patience.until(of_run)
    assert (span.name, span.failed) == ("run spark", True)
    spans = [s for s in traces.of(span.trace) if s.attributes.get("asgard.engine") == "kubernetes"]
    assert {s.parent for s in spans} == {span.id}
    assert {
        (s.attributes["asgard.operation"], s.attributes["asgard.outcome"]) for s in spans
    } >= OF_A_FAILED_RUN.keys()
    assert not [s.name for s in spans if s.failed]


async def test_a_driver_that_dies_is_run_again(
    client: httpx.AsyncClient, lakehouse: Lakehouse, operator: StandInOperator
) -> None:
    run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_retried")
    name = f"sql-exec-{run_id}"
    await until(client, run_id, "RUNNING")
    live = await get(client, run_id, "logs")
    assert live["driver_pod"] == f"{name}-driver"
    operator.processes[name].terminate()
    status = await ended(client, run_id)
    assert status["state"] == "COMPLETED"
    again = ["SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]
    assert operator.written[name] == ["SUBMITTED", "RUNNING", "FAILING", "FAILED", *again]
    metrics = await get(client, run_id, "metrics")
    assert metrics["spark_info"]["execution_attempts"] == 2
    assert await rows(lakehouse, "silver.sk_retried") == [{"id": 1}]


async def test_a_job_without_enough_memory_fails_with_a_hint_to_request_more(
    client: httpx.AsyncClient, operator: StandInOperator
) -> None:
    run_id = await submit(
        client,
        "SELECT collect_list(repeat(CAST(id AS STRING), 100)) AS everything "
        "FROM (SELECT explode(sequence(1, 20000000)) AS id)",
        destination_table="sk_memory",
    )
    status = await ended(client, run_id)
    assert status["failure"]["cause"] == "out_of_memory"
    assert "executor_memory" in status["failure"]["hint"]
    once = ["SUBMITTED", "RUNNING", "FAILING", "FAILED"]
    log = (await client.get(f"/runs/{run_id}/logs")).text
    assert operator.written[f"sql-exec-{run_id}"] == once, log[-5000:]


async def test_a_suspended_application_continues_when_it_is_resumed(
    client: httpx.AsyncClient, cluster: Cluster, operator: StandInOperator
) -> None:
    run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_suspended")
    name = f"sql-exec-{run_id}"
    await until(client, run_id, "RUNNING")
    cluster.patch(name, {"spec": {"suspend": True}})
    assert (await until(client, run_id, "SUSPENDED", "FAILED"))["state"] == "SUSPENDED"
    cluster.patch(name, {"spec": {"suspend": False}})
    assert (await ended(client, run_id))["state"] == "COMPLETED"
    stopped = ["SUBMITTED", "RUNNING", "SUSPENDING", "SUSPENDED", "RESUMING"]
    assert operator.written[name] == [*stopped, "SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]


async def test_an_application_that_another_client_deletes_ends_its_run(
    client: httpx.AsyncClient, cluster: Cluster, lakehouse: Lakehouse
) -> None:
    run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_deleted")
    await until(client, run_id, "RUNNING")
    cluster.delete(f"sql-exec-{run_id}")
    status = await ended(client, run_id)
    assert status["failure"]["cause"] == "lost"
    assert "was deleted" in status["error_message"]
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["state"], run["engine_state"]) == ("failed", "FAILED")
    assert await lakehouse.catalog.table("silver.sk_deleted") is None


async def test_a_cancel_deletes_the_application(
    client: httpx.AsyncClient, cluster: Cluster, operator: StandInOperator, lakehouse: Lakehouse
) -> None:
    run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_cancelled")
    name = f"sql-exec-{run_id}"
    await until(client, run_id, "RUNNING")
    answer = await client.post(f"/spark/transform/{run_id}/cancel")
    assert answer.status_code == 200
    status = await ended(client, run_id)
    assert (status["state"], status["failure"]["cause"]) == ("FAILED", "cancelled")
    assert name not in cluster.names()
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["state"], run["engine_state"]) == ("cancelled", "FAILED")
    assert await lakehouse.catalog.table("silver.sk_cancelled") is None
    assert await lakehouse.store.list("asgard/jobs/") == []


async def test_a_driver_that_may_not_start_fails_with_the_reason(
    client: httpx.AsyncClient, cluster: Cluster, operator: StandInOperator
) -> None:
    cluster.core.delete_namespaced_service_account("spark-sa", cluster.namespace)
    try:
        run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_forbidden")
        status = await ended(client, run_id)
    finally:
        account = {"metadata": {"name": "spark-sa"}}
        cluster.core.create_namespaced_service_account(cluster.namespace, account)
    assert status["state"] == "FAILED"
    assert operator.written[f"sql-exec-{run_id}"] == ["SUBMISSION_FAILED", "FAILED"]
    assert status["failure"]["cause"] == "permission_denied"
    assert 'serviceaccount "spark-sa" not found' in status["error_message"]
    assert "SPARK_SERVICE_ACCOUNT" in status["failure"]["hint"]


async def test_a_gateway_that_stops_leaves_its_append_to_the_next_one(
    client: httpx.AsyncClient, cluster: Cluster, lakehouse: Lakehouse
) -> None:
    """It adds its rows once, and null for the column that it lacks."""
    before = await rows(lakehouse, "silver.sk_orders")
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, cluster.namespace) as stopping:
        run = await stopping.start("sk_orders", "SELECT 4L AS id", WriteMode.APPEND)
        await stopping.until(run, "SparkApplicationRunning")
    async with asyncio.timeout(END_SECONDS):
        while not (now := (await client.get(f"/runs/{run.run_id}")).json())["finished_at"]:  # noqa: ASYNC110 — over HTTP
            await asyncio.sleep(0.2)
    assert now["state"] == "succeeded", now
    assert (now["output"]["rows"], now["output"]["rows_written"]) == (4, 1)
    assert await rows(lakehouse, "silver.sk_orders") == [*before, {"id": 4, "amount": None}]
    properties = await summary(lakehouse, "silver.sk_orders")
    assert (properties["operation"], properties["asgard.run_id"]) == ("append", run.run_id)


async def test_the_footer_of_a_file_does_not_become_code(
    client: httpx.AsyncClient, lakehouse: Lakehouse, tmp_path: Path
) -> None:
    """Spark takes the types of columns from the footer. PySpark imports the module of such a type,
    and earlier versions unpickle what the footer holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reached = tmp_path / "reached"
    udt = {
        "type": "udt",
        "pyClass": "antigravity.Type",
        "serializedClass": base64.b64encode(pickle.dumps(Reached(str(reached)))).decode(),
        "sqlType": "string",
    }
    columns = [{"name": "a", "type": udt, "nullable": True, "metadata": {}}]
    schema = json.dumps({"type": "struct", "fields": columns})
    table = pa.table({"a": ["x"]}).replace_schema_metadata(
        {"org.apache.spark.sql.parquet.row.metadata": schema}
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    await lakehouse.store.put("bronze/sk_footer/1.parquet", file.getvalue())
    run_id = await submit(
        client,
        "SELECT * FROM source_data",
        source_path="bronze/sk_footer",
        destination_table="sk_footer",
    )
    status = await ended(client, run_id)
    assert status["state"] == "FAILED"
    assert "declares a column of a user-defined type" in status["failure"]["message"]
    assert not reached.exists()
    assert "antigravity" not in (await get(client, run_id, "logs"))["logs"]


class Reached:
    """Creates a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self._path,)
