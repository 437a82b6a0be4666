"""`/spark` over HTTP, through the real application."""

import asyncio
import io
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api_calls import rows, succeed, transform
from tests.conftest import Lakehouse

MILLIONS = "(SELECT explode(sequence(1, 10000000)) AS n)"
ENDLESS = f"SELECT count(*) AS n FROM {MILLIONS} AS a CROSS JOIN {MILLIONS} AS b WHERE a.n < b.n"


async def refused(client: httpx.AsyncClient, sql: str, **body: Any) -> dict[str, Any]:
    answer = await client.post("/spark/transform", json={"sql": sql, **body})
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    return problem


async def state(client: httpx.AsyncClient, run_id: str) -> str:
    answer = await client.get(f"/spark/transform/{run_id}/status")
    result: str = answer.json()["state"]
    return result


async def until_state(client: httpx.AsyncClient, run_id: str, *expected: str) -> str:
    async with asyncio.timeout(30):
        while (now := await state(client, run_id)) not in expected:  # noqa: ASYNC110 — over HTTP
            await asyncio.sleep(0.02)
    return now


@pytest.fixture(scope="module")
async def shop(lakehouse: Lakehouse, client: httpx.AsyncClient) -> str:
    """Create orders as files in bronze, and customers as a silver table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    orders = {"id": [1, 2, 3], "customer": [7, 7, 8], "amount": ["10", "NA", "5"]}
    pq.write_table(pa.table(orders), file)
    await lakehouse.store.put("bronze/sa_shop/orders/1.parquet", file.getvalue())
    await lakehouse.store.put("bronze/sa_shop/notes/a.csv", b"id,note\n1,first\n")
    await succeed(
        client,
        "SELECT * FROM VALUES (7, 'Ann'), (8, 'Bob') AS t(id, name)",
        destination_table="sa_customers",
    )
    return "bronze/sa_shop"


async def test_the_documented_first_call_returns_at_once_and_completes(
    client: httpx.AsyncClient, lakehouse: Lakehouse
) -> None:
    answer = await client.post(
        "/spark/transform",
        json={"sql": "SELECT 1 as test_col, CURRENT_TIMESTAMP as created_at"},
    )
    assert answer.status_code == 200
    result = answer.json()
    run_id = result["run_id"]
    assert result["status"] == "submitted"
    assert result["spark_application"] == f"sql-exec-{run_id}"
    assert result["destination_table"] == f"silver.sql_exec_{run_id}"
    assert result["destination"] == f"iceberg.silver.sql_exec_{run_id}"
    assert result["source"] is None
    assert result["namespace"] == lakehouse.settings.spark_namespace
    assert await until_state(client, run_id, "COMPLETED", "FAILED") == "COMPLETED"
    [row] = await rows(lakehouse, result["destination_table"])
    assert row["test_col"] == 1


async def test_the_fields_of_a_completed_run_are_verified(
    client: httpx.AsyncClient, lakehouse: Lakehouse
) -> None:
    body = {"destination_table": "sa_told", "executor_instances": 2, "executor_memory": "1Gi"}
    run_id = (await succeed(client, "SELECT 1 AS id UNION ALL SELECT 2", **body))["run_id"]
    status = (await client.get(f"/spark/transform/{run_id}/status")).json()
    assert status["state"] == "COMPLETED"
    assert status["spark_version"].startswith("Sail ")
    for unknown in ("driver_pod", "executor_count", "image", "error_message", "failure"):
        assert status[unknown] is None
    metrics = (await client.get(f"/spark/transform/{run_id}/metrics")).json()
    table = await lakehouse.catalog.table("silver.sa_told")
    assert table is not None
    assert metrics["output"]["rows"] == 2
    assert metrics["output"]["snapshot_id"] == table.snapshot_id
    assert metrics["output"]["bytes"] == table.bytes
    assert metrics["timing"]["duration_seconds"] > 0
    assert metrics["resource_specs"]["executor"] == {"cores": 1, "memory": "1Gi", "instances": 2}
    logs = (await client.get(f"/spark/transform/{run_id}/logs")).json()
    assert "columns: id int" in logs["logs"]
    last = await client.get(f"/spark/transform/{run_id}/logs", params={"tail_lines": 1})
    assert last.json()["logs"].count("\n") == 1
    events = (await client.get(f"/spark/transform/{run_id}/events")).json()["events"]
    assert [e["reason"] for e in events][-1] == "Succeeded"
    assert {e["type"] for e in events} == {"Normal"}


async def test_views_ctes_paths_and_silver_tables_work_together(
    client: httpx.AsyncClient, lakehouse: Lakehouse, shop: str
) -> None:
    result = await succeed(
        client,
        """
        CREATE OR REPLACE TEMPORARY VIEW clean AS
            SELECT id, customer, CAST(NULLIF(amount, 'NA') AS INT) AS amount
            FROM parquet.`sa_shop/orders`;
        CREATE TEMPORARY VIEW noted AS
            SELECT clean.*, n.note FROM clean LEFT JOIN csv.`s3a://lake/bronze/sa_shop/notes` AS n
            ON clean.id = n.id;
        WITH best AS (
            SELECT *, row_number() OVER (PARTITION BY customer ORDER BY amount DESC NULLS LAST) AS r
            FROM noted
        )
        SELECT c.name, best.amount, best.note
        FROM best JOIN silver.sa_customers AS c ON c.id = best.customer WHERE r = 1
        """,
        destination_table="sa_best",
    )
    assert await rows(lakehouse, "silver.sa_best") == [
        {"name": "Ann", "amount": 10, "note": "first"},
        {"name": "Bob", "amount": 5, "note": None},
    ]
    run = (await client.get(f"/runs/{result['run_id']}")).json()
    assert sorted(i["table"] for i in run["inputs"]) == [
        "bronze/sa_shop/notes",
        "bronze/sa_shop/orders",
        "silver.sa_customers",
    ]
    [customers] = [i for i in run["inputs"] if i["table"] == "silver.sa_customers"]
    table = await lakehouse.catalog.table("silver.sa_customers")
    assert table is not None
    assert customers["snapshot_id"] == table.snapshot_id


@pytest.mark.parametrize("name", ["source_data", "source", "parquet.`source`"])
@pytest.mark.parametrize(
    "path", ["s3://lake/bronze/sa_shop/orders/", "bronze/sa_shop/orders", "sa_shop/orders"]
)
async def test_a_source_path_is_read_by_its_documented_names(
    client: httpx.AsyncClient, lakehouse: Lakehouse, shop: str, name: str, path: str
) -> None:
    result = await succeed(
        client,
        f"SELECT sum(customer) AS total FROM {name}",
        source_path=path,
        destination_table="sa_source",
    )
    assert result["source"] == "s3://lake/bronze/sa_shop/orders"
    assert await rows(lakehouse, "silver.sa_source") == [{"total": 22}]


@pytest.mark.parametrize(
    ("body", "status", "problem", "says"),
    [
        ({"source_path": "sa_shop"}, 400, "invalid-request", "csv, parquet"),
        ({"source_path": "sa_nothing"}, 400, "source-not-found", "bronze/sa_nothing"),
        ({"source_path": "s3://other/bronze/x"}, 400, "path-not-allowed", "another bucket"),
        ({"source_path": "bronze/../asgard"}, 400, "path-not-allowed", ".."),
        ({"destination_table": "gold.mine"}, 400, "invalid-request", "not in gold"),
        ({"write_mode": "append"}, 400, "invalid-request", "destination_table"),
        ({"write_mod": "append"}, 422, "invalid-body", ""),
        ({"executor_memory": "100m"}, 422, "invalid-body", "450m"),
    ],
)
async def test_an_invalid_request_is_refused_with_the_reason(
    client: httpx.AsyncClient,
    shop: str,
    body: dict[str, Any],
    status: int,
    problem: str,
    says: str,
) -> None:
    sql = "SELECT * FROM source_data" if "source_path" in body else "SELECT 1 AS id"
    result = await refused(client, sql, **body)
    assert (result["status"], result["type"]) == (status, f"/problems/{problem}")
    assert says in str(result)


async def test_an_unknown_table_is_refused_with_similar_names(
    client: httpx.AsyncClient, shop: str
) -> None:
    result = await refused(client, "SELECT * FROM silver.sa_custmers")
    assert (result["status"], result["type"]) == (400, "/problems/table-not-found")
    assert result["missing"] == "silver.sa_custmers"
    assert "silver.sa_customers" in result["suggested_tables"]


async def test_a_view_of_gold_is_refused(client: httpx.AsyncClient, shop: str) -> None:
    body = {
        "name": "sa_customer_view",
        "sql_query": "SELECT id FROM silver.sa_customers",
        "materialization": "view",
    }
    answer = await client.post("/dbt/transform", json=body)
    assert answer.json()["status"] == "completed", answer.text
    result = await refused(client, "SELECT * FROM gold.sa_customer_view")
    assert (result["status"], result["type"]) == (501, "/problems/not-supported")
    assert "gold.sa_customer_view is a view" in result["detail"]
    run_id = answer.json()["run_id"]
    for path in ("status", "logs", "events", "metrics"):
        other = await client.get(f"/spark/transform/{run_id}/{path}")
        assert other.status_code == 404


async def test_a_failed_run_is_a_200_that_says_so(client: httpx.AsyncClient) -> None:
    result = await transform(client, "SELECT nope FROM VALUES (1) AS t(id)")
    assert result["status"] == "failed"
    status = (await client.get(f"/spark/transform/{result['run_id']}/status")).json()
    run = (await client.get(f"/runs/{result['run_id']}")).json()
    assert (status["state"], run["engine_state"]) == ("FAILED", "FAILED")
    assert status["error_message"] == "There is no column nope."
    assert status["failure"]["cause"] == "sql_error"


async def test_the_same_key_returns_the_same_run(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"sql": "SELECT 1 AS id", "destination_table": "sa_keyed"}

    async def post(**change: str) -> httpx.Response:
        return await client.post("/spark/transform", headers=headers, json={**body, **change})

    first, *others = await asyncio.gather(*(post() for _ in range(4)))
    run_ids = {answer.json()["run_id"] for answer in (first, *others)}
    assert len(run_ids) == 1
    replays = [a.headers.get("Idempotency-Replayed") for a in (first, *others)]
    assert sorted(replays, key=str) == [None, "true", "true", "true"]
    await until_state(client, run_ids.pop(), "COMPLETED")
    other = await post(sql="SELECT 2 AS id")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_equal_work_joins_the_running_job_and_a_cancel_ends_it(
    client: httpx.AsyncClient, lakehouse: Lakehouse
) -> None:
    body = {"sql": ENDLESS, "destination_table": "sa_endless"}
    first = (await client.post("/spark/transform", json=body)).json()
    run_id = first["run_id"]
    assert (await client.post("/spark/transform", json=body)).json()["run_id"] == run_id
    waited = await client.post("/spark/transform", params={"wait_seconds": 0.1}, json=body)
    assert waited.status_code == 202
    assert waited.headers["Location"] == f"/api/v1/runs/{run_id}"
    await until_state(client, run_id, "RUNNING")
    jobs = (await client.get("/spark/transform/jobs?status_filter=running")).json()
    assert run_id in [job["run_id"] for job in jobs["jobs"]]
    cancelled = await client.post(f"/spark/transform/{run_id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["cancel_requested_at"] is not None
    assert await until_state(client, run_id, "FAILED") == "FAILED"
    status = (await client.get(f"/spark/transform/{run_id}/status")).json()
    assert status["failure"]["cause"] == "cancelled"
    run = (await client.get(f"/runs/{run_id}")).json()
    assert (run["state"], run["engine_state"]) == ("cancelled", "FAILED")
    assert await lakehouse.catalog.table("silver.sa_endless") is None
    staged = await lakehouse.catalog.list_tables("asgard_staging")
    assert not [name for name in staged if run_id in name]


async def test_jobs_are_listed_newest_first_and_filtered(client: httpx.AsyncClient) -> None:
    done = (await succeed(client, "SELECT 1 AS id", destination_table="sa_listed"))["run_id"]
    failed = (await transform(client, "SELECT nope", destination_table="sa_listed"))["run_id"]
    both = (await client.get("/spark/transform/jobs", params={"limit": 2})).json()
    assert [job["run_id"] for job in both["jobs"]] == [failed, done]
    assert both["jobs"][1]["destination_table"] == "silver.sa_listed"
    assert both["total_count"] >= 2
    assert both["filter_applied"] is None
    only = await client.get("/spark/transform/jobs?limit=1&status_filter=completed")
    assert [job["run_id"] for job in only.json()["jobs"]] == [done]
    assert only.json()["filter_applied"] == "completed"
    unknown = await client.get("/spark/transform/jobs?status_filter=asleep")
    assert (unknown.status_code, unknown.json()["type"]) == (400, "/problems/invalid-request")
    assert (await client.get("/spark/transform/jobs?limit=0")).status_code == 422


@pytest.mark.parametrize("run_id", ["0123456789abcdef", "no-run", "jobs"])
async def test_an_unknown_run_is_not_found(client: httpx.AsyncClient, run_id: str) -> None:
    for path in ("status", "logs", "events", "metrics"):
        answer = await client.get(f"/spark/transform/{run_id}/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert (await client.post(f"/spark/transform/{run_id}/cancel")).status_code == 404


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("respond-async", 202),
        ("return=minimal, Respond-Async; x=1, wait=10", 202),
        ("no-respond-async", 200),
    ],
)
async def test_only_the_exact_preference_returns_at_once(
    client: httpx.AsyncClient, prefer: str, status: int
) -> None:
    body = {"sql": f"SELECT '{prefer}' AS p", "destination_table": f"prefer_{status}"}
    answer = await client.post("/spark/transform", json=body, headers={"Prefer": prefer})
    assert answer.status_code == status
    run_id = answer.json()["run_id"]
    assert f" /api/v1/spark/transform/{run_id}/status." in answer.json()["message"]
    ended = await client.post(f"/runs/{run_id}/cancel")
    assert ended.status_code == 200
