"""Bronze → silver on a Kubernetes API server and real Spark 3.5; see `operator` for its limits."""

import asyncio
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx

from tests.conftest import Lakehouse
from tests.integration.servers.kube import GATEWAY
from tests.integration.servers.operator import StandInOperator
from tests.integration.spark.cluster import Cluster
from tests.integration.spark.operator_runs import operator_runs

END_SECONDS = 150


async def submit(client: httpx.AsyncClient, sql: str, **body: Any) -> str:
    answer = await client.post("/spark/transform", json={"sql": sql, **body})
    assert answer.status_code == 200, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


async def get(client: httpx.AsyncClient, run_id: str, what: str) -> dict[str, Any]:
    answer = await client.get(f"/spark/transform/{run_id}/{what}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def until(client: httpx.AsyncClient, run_id: str, *wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(END_SECONDS):
        while True:
            status = await get(client, run_id, "status")
            if status["state"] in wanted:
                return status
            await asyncio.sleep(0.1)


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    return await until(client, run_id, "COMPLETED", "FAILED", "SUBMISSION_FAILED")


async def rows(lakehouse: Lakehouse, table: str) -> list[dict[str, Any]]:
    def scan(catalog: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = catalog.load_table(table).scan().to_arrow().to_pylist()
        return found

    found = await lakehouse.catalog.run(scan)
    return sorted(found, key=lambda row: [str(value) for value in row.values()])


async def summary(lakehouse: Lakehouse, table: str) -> dict[str, str]:
    def look(catalog: Any) -> dict[str, str]:
        snapshot = catalog.load_table(table).current_snapshot()
        return dict(snapshot.summary.additional_properties)

    return await lakehouse.catalog.run(look)


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
    said = await summary(lakehouse, "silver.sk_orders")
    assert said["asgard.run_id"] == run_id
    assert said["spark.app.id"] == application["status"]["sparkApplicationId"]
    assert said["engine-version"] == "3.5.9"
    assert said["app-id"] == said["spark.app.id"]
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
    assert (status["driver_pod"], status["spark_version"]) == (f"{name}-driver", "3.5.0")
    assert status["image"] == "registry.example/spark:1"
    metrics = await get(client, run_id, "metrics")
    assert metrics["spark_info"]["application_id"] == said["spark.app.id"]
    assert metrics["spark_info"]["execution_attempts"] == 1
    assert metrics["output"]["snapshot_id"] == run["output"]["snapshot_id"]
    logs = await get(client, run_id, "logs")
    assert "columns: id bigint, amount int" in logs["logs"]
    assert await lakehouse.store.list("asgard/jobs/") == []
    for secret in (lakehouse.lake.s3.secret_key, lakehouse.lake.catalog.credential or "-"):
        assert secret not in str(application)
        assert secret not in logs["logs"]


async def test_an_append_adds_rows_and_nulls_what_it_lacks(
    client: httpx.AsyncClient, lakehouse: Lakehouse, operator: StandInOperator
) -> None:
    body = {"destination_table": "sk_orders", "write_mode": "append"}
    run_id = await submit(client, "SELECT 4L AS id", **body)
    assert (await ended(client, run_id))["state"] == "COMPLETED"
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["output"]["rows"], run["output"]["rows_written"]) == (4, 1)
    assert {"id": 4, "amount": None} in await rows(lakehouse, "silver.sk_orders")


async def test_failing_sql_is_told_and_not_repeated(
    client: httpx.AsyncClient, lakehouse: Lakehouse, operator: StandInOperator, cluster: Cluster
) -> None:
    before = await rows(lakehouse, "silver.sk_orders")
    run_id = await submit(
        client, "SELECT nope FROM silver.sk_orders", destination_table="sk_orders"
    )
    status = await ended(client, run_id)
    assert status["state"] == "FAILED"
    assert status["failure"]["cause"] == "sql_error"
    assert status["error_message"] == "There is no column nope."
    assert operator.written[f"sql-exec-{run_id}"] == ["SUBMITTED", "RUNNING", "FAILING"]
    assert await rows(lakehouse, "silver.sk_orders") == before
    assert "asgard: failed" in (await get(client, run_id, "logs"))["logs"]
    assert f"sql-exec-{run_id}" not in cluster.names()


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
    again = ["PENDING_RERUN", "SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]
    assert operator.written[name] == ["SUBMITTED", "RUNNING", "FAILING", *again]
    metrics = await get(client, run_id, "metrics")
    assert metrics["spark_info"]["execution_attempts"] == 2
    assert await rows(lakehouse, "silver.sk_retried") == [{"id": 1}]


async def test_a_job_without_enough_memory_is_told_to_ask_for_more(
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


async def test_a_suspended_application_goes_on_when_it_is_resumed(
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


async def test_an_application_that_somebody_deletes_ends_its_run(
    client: httpx.AsyncClient, cluster: Cluster, lakehouse: Lakehouse
) -> None:
    run_id = await submit(client, "SELECT 1 AS id", destination_table="sk_deleted")
    await until(client, run_id, "RUNNING")
    cluster.delete(f"sql-exec-{run_id}")
    status = await ended(client, run_id)
    assert status["failure"]["cause"] == "lost"
    assert "was deleted" in status["error_message"]
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
    assert (await client.get(f"/runs/{run_id}")).json()["state"] == "cancelled"
    assert await lakehouse.catalog.table("silver.sk_cancelled") is None
    assert await lakehouse.store.list("asgard/jobs/") == []


async def test_a_driver_that_may_not_start_is_told_why(
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


async def test_a_gateway_that_stops_leaves_the_job_to_the_next_one(
    client: httpx.AsyncClient, cluster: Cluster, lakehouse: Lakehouse
) -> None:
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, cluster.namespace) as stopping:
        run = await stopping.start("sk_taken_over", "SELECT 7 AS id")
        await stopping.until(run, "SparkApplicationRunning")
    async with asyncio.timeout(END_SECONDS):
        while not (now := (await client.get(f"/runs/{run.run_id}")).json())["finished_at"]:  # noqa: ASYNC110 — over HTTP
            await asyncio.sleep(0.2)
    assert now["state"] == "succeeded", now
    assert now["output"]["rows"] == 1
    assert await rows(lakehouse, "silver.sk_taken_over") == [{"id": 7}]
    said = await summary(lakehouse, "silver.sk_taken_over")
    assert said["asgard.run_id"] == run.run_id


async def test_every_type_is_written_as_on_the_embedded_engine(
    client: httpx.AsyncClient, lakehouse: Lakehouse, operator: StandInOperator
) -> None:
    run_id = await submit(
        client,
        """
        CREATE TEMPORARY VIEW roh AS
            SELECT * FROM VALUES ('Öl', 1), ('Öl', 3), ('日本', 2) AS t(`straße`, wert);
        WITH r AS (
            SELECT `straße`, row_number() OVER (PARTITION BY `straße` ORDER BY wert DESC) AS platz
            FROM roh
        )
        SELECT `straße`, CAST(1 AS TINYINT) AS tiny, 2L AS big,
            CAST(1.5 AS DECIMAL(10, 2)) AS money,
            1.5D AS double, TRUE AS yes, DATE'2013-01-01' AS day,
            TIMESTAMP'2013-01-01 05:15:00' AS at, TIMESTAMP_NTZ'2013-01-01 05:15:00' AS local,
            CAST('x' AS BINARY) AS bytes, array(1, NULL) AS list, map('k', 1) AS map,
            named_struct('a', 1, 'b', array('c')) AS struct
        FROM r WHERE platz = 1 AND `straße` = 'Öl'
        """,
        destination_table="sk_types",
    )
    assert (await ended(client, run_id))["state"] == "COMPLETED"
    assert await rows(lakehouse, "silver.sk_types") == [
        {
            "straße": "Öl",
            "tiny": 1,
            "big": 2,
            "money": Decimal("1.50"),
            "double": 1.5,
            "yes": True,
            "day": date(2013, 1, 1),
            "at": datetime(2013, 1, 1, 5, 15, tzinfo=UTC),
            "local": datetime(2013, 1, 1, 5, 15),  # noqa: DTZ001 — it has no zone
            "bytes": b"x",
            "list": [1, None],
            "map": [("k", 1)],
            "struct": {"a": 1, "b": ["c"]},
        }
    ]
    table = await lakehouse.catalog.table("silver.sk_types")
    assert table is not None
    types = {column.name: column.type for column in table.columns}
    assert types["at"] == "timestamp(6) with time zone"
    assert types["local"] == "timestamp(6)"
    assert types["money"] == "decimal(10,2)"
