"""SQL that must be refused, on every route that takes SQL: a clear problem, nothing changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.contract.problems import assert_problem

Post = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


async def transform(client: httpx.AsyncClient, sql: str) -> httpx.Response:
    return await client.post("/dbt/transform", json={"name": "refused", "sql_query": sql})


async def product(client: httpx.AsyncClient, sql: str) -> httpx.Response:
    return await client.post(
        "/data-products/",
        json={
            "name": "Refused",
            "description": "never made",
            "data_product_type": "CUSTOM",
            "owner": "nobody",
            "update_frequency": "daily",
            "sql_query": sql,
        },
    )


async def spark(client: httpx.AsyncClient, sql: str) -> httpx.Response:
    return await client.post("/spark/transform", json={"sql": sql})


TRINO_ROUTES: list[Post] = [transform, product]
ROUTES: list[Post] = [*TRINO_ROUTES, spark]

NESTED = "(" * 500 + "1" + ")" * 500
PADDING = "x" * (300 * 1024)

REFUSED_EVERYWHERE = [
    ("SELECT FROM WHERE", "sql-not-parsed"),
    ("SELECT 'unclosed", "sql-not-parsed"),
    ("DROP TABLE gold.t", "sql-not-select"),
    ("INSERT INTO silver.t SELECT 1", "sql-not-select"),
    ("DELETE FROM silver.t", "sql-not-select"),
    ("UPDATE silver.t SET a = 1", "sql-not-select"),
    ("CREATE TABLE silver.t AS SELECT 1 AS a", "sql-not-select"),
    ("SELECT 1 AS a; DROP TABLE silver.t", "sql-not-select"),
    ("CALL system.runtime.kill_query('x')", "sql-not-select"),
    ("SET SESSION x = 1", "sql-not-select"),
    ("", "sql-not-select"),
    ("-- nothing but a comment", "sql-not-select"),
    (f"SELECT {NESTED} AS a", "sql-too-large"),
    (f"SELECT '{PADDING}' AS a", "sql-too-large"),
    ("SELECT * FROM asgard.runs", "sql-table-not-allowed"),
    ("SELECT * FROM asgard_staging.t", "sql-table-not-allowed"),
    ("SELECT * FROM information_schema.tables", "sql-table-not-allowed"),
    ("SELECT * FROM othercatalog.silver.t", "sql-table-not-allowed"),
    ("SELECT duckdb_secrets() AS a", "sql-function-not-allowed"),
    ("SELECT getenv('AWS_SECRET_ACCESS_KEY') AS a", "sql-function-not-allowed"),
    ("SELECT java_method('java.lang.System', 'exit', 1) AS a", "sql-function-not-allowed"),
]

REFUSED_IN_TRINO = [
    ("WITH w AS (DELETE FROM silver.t) SELECT 1 AS a", None),
    ("SELECT * FROM '/etc/passwd'", None),
    ('SELECT * FROM "/etc/passwd"', "sql-table-not-allowed"),
    ('SELECT * FROM "http://example.com/x.csv"', "sql-table-not-allowed"),
    ('SELECT * FROM "s3://another/bronze/x.parquet"', "sql-table-not-allowed"),
    ("SELECT * FROM read_csv('/etc/passwd')", None),
    ("SELECT * FROM duckdb_secrets()", None),
    ('SELECT * FROM silver."t$files"', "sql-table-not-allowed"),
    ("SELECT * FROM system.runtime.queries", "sql-table-not-allowed"),
    ("SELECT {{ env_var('AWS_SECRET_ACCESS_KEY') }} AS a", "sql-jinja"),
    ("SELECT 1 AS a {% if true %} {% endif %}", "sql-jinja"),
    ("SELECT 1 AS a {# hidden #}", "sql-jinja"),
    ("SELECT '{{ env_var(''AWS_SECRET_ACCESS_KEY'') }}' AS a", "sql-jinja"),
]

REFUSED_IN_SPARK = [
    ("SELECT * FROM csv.`/etc/passwd`", "sql-table-not-allowed"),
    ("SELECT * FROM csv.`file:///etc/passwd`", "sql-table-not-allowed"),
    ("SELECT * FROM csv.`http://example.com/x.csv`", "sql-table-not-allowed"),
    ("SELECT * FROM parquet.`s3://another/bronze/x`", "sql-table-not-allowed"),
    ("SELECT * FROM parquet.`s3a://lake/asgard/runs`", "sql-table-not-allowed"),
    ("SELECT * FROM parquet.`../asgard/runs`", "sql-table-not-allowed"),
    ("SELECT * FROM parquet.`%2e%2e/asgard/runs`", "sql-table-not-allowed"),
    ("SELECT * FROM text.`bronze/x`", None),
    ("SELECT reflect('java.lang.System', 'getenv') AS a", "sql-function-not-allowed"),
    ("CREATE TEMPORARY VIEW v AS SELECT 1 AS a; DROP VIEW v", "sql-not-select"),
    ("CREATE VIEW v AS SELECT 1 AS a; SELECT * FROM v", "sql-not-select"),
]


@pytest.mark.parametrize("post", ROUTES)
@pytest.mark.parametrize(("sql", "problem"), REFUSED_EVERYWHERE)
async def test_bad_sql_is_refused_on_every_route(
    client: httpx.AsyncClient, nothing_changes: None, post: Post, sql: str, problem: str
) -> None:
    await assert_refused(await quickly(post(client, sql)), problem)


@pytest.mark.parametrize("post", TRINO_ROUTES)
@pytest.mark.parametrize(("sql", "problem"), REFUSED_IN_TRINO)
async def test_bad_sql_is_refused_on_routes_of_trino(
    client: httpx.AsyncClient, nothing_changes: None, post: Post, sql: str, problem: str | None
) -> None:
    await assert_refused(await quickly(post(client, sql)), problem)


@pytest.mark.parametrize(("sql", "problem"), REFUSED_IN_SPARK)
async def test_bad_sql_is_refused_on_routes_of_spark(
    client: httpx.AsyncClient, nothing_changes: None, sql: str, problem: str | None
) -> None:
    await assert_refused(await quickly(spark(client, sql)), problem)


@pytest.mark.parametrize(("sql", "problem"), [*REFUSED_EVERYWHERE[:-1], *REFUSED_IN_TRINO])
async def test_validation_answers_invalid_sql_with_200(
    client: httpx.AsyncClient, sql: str, problem: str | None
) -> None:
    answer = await client.post("/dbt/validate-sql", json={"sql_query": sql})
    if answer.status_code == 422:
        assert sql == ""
        return
    assert answer.status_code == 200
    document = answer.json()
    assert document["is_valid"] is False
    assert document["message"]


async def test_a_parse_error_names_its_position(client: httpx.AsyncClient) -> None:
    answer = await transform(client, "SELECT 1 AS a\nFROM silver.t WHERE WHERE")
    document = assert_problem(answer, 400, "sql-not-parsed")
    assert isinstance(document["position"], dict)
    assert document["position"]["line"] == 2


@pytest.mark.parametrize("post", ROUTES)
async def test_an_unknown_table_is_named_with_similar_ones(
    client: httpx.AsyncClient, small_silver_table: str, nothing_changes: None, post: Post
) -> None:
    near = f"silver.{small_silver_table}s"
    document = assert_problem(
        await quickly(post(client, f"SELECT * FROM {near}")), 400, "table-not-found"
    )
    assert near in str(document["missing"])
    assert f"silver.{small_silver_table}" in str(document["suggested_tables"])


@pytest.mark.parametrize("post", TRINO_ROUTES)
async def test_an_unknown_column_is_named(
    client: httpx.AsyncClient, small_silver_table: str, nothing_changes: None, post: Post
) -> None:
    sql = f"SELECT no_such_column FROM silver.{small_silver_table}"
    document = assert_problem(await quickly(post(client, sql)), 400, "sql-invalid")
    assert "no_such_column" in str(document["detail"])


async def update(client: httpx.AsyncClient, sql: str) -> httpx.Response:
    """Check the same when a data product gets another query."""
    body = {
        "name": "Right",
        "data_product_type": "CUSTOM",
        "owner": "o",
        "sql_query": "SELECT 1 AS a",
    }
    created = (await client.post("/data-products", json=body)).json()["id"]
    try:
        return await client.put(f"/data-products/{created}", json={"sql_query": sql})
    finally:
        await client.delete(f"/data-products/{created}")


UNPLANNED = [
    ("SELECT id,\n  -- a comment\n  No_Such, 'é' AS e FROM silver.{t}", {"line": 3, "column": 3}),
    ("SELECT a.id\nFROM silver.{t} AS a\nWHERE a.id > 0 AND a.gone = 1", {"line": 3, "column": 20}),
    ("SELECT regexp_like(w, '(') AS a FROM (VALUES 'x') AS t (w)", None),
]


@pytest.mark.parametrize("post", [*TRINO_ROUTES, update])
@pytest.mark.parametrize(("sql", "position"), UNPLANNED)
async def test_sql_that_the_engine_cannot_plan_is_refused_with_the_position(
    client: httpx.AsyncClient,
    small_silver_table: str,
    post: Post,
    sql: str,
    position: dict[str, int] | None,
) -> None:
    document = assert_problem(
        await post(client, sql.format(t=small_silver_table)), 400, "sql-invalid"
    )
    assert position in (None, document.get("position"))
    assert "LINE" not in str(document["detail"])


async def test_validation_names_the_position(
    client: httpx.AsyncClient, small_silver_table: str
) -> None:
    sql = f"SELECT id,\n  no_such FROM silver.{small_silver_table}"
    answer = await client.post("/dbt/validate-sql", json={"sql_query": sql})
    document = answer.json()
    assert (document["is_valid"], document["position"]) == (False, {"line": 2, "column": 3})


async def quickly(answer: Awaitable[httpx.Response]) -> httpx.Response:
    started = time.perf_counter()
    async with asyncio.timeout(20):
        found = await answer
    found.extensions["seconds"] = time.perf_counter() - started
    return found


async def assert_refused(answer: httpx.Response, problem: str | None) -> None:
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if problem is not None and answer.status_code == 400:
        assert_problem(answer, 400, problem)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/dbt/transform", "/data-products"])
async def test_a_model_names_all_its_columns(
    client: httpx.AsyncClient, nothing_changes: None, path: str
) -> None:
    sql = "SELECT 1 AS a, date '2020-01-01' + interval '1' day"
    body = {"name": "unnamed", "sql_query": sql, "data_product_type": "CUSTOM", "owner": "o"}
    if path == "/dbt/transform":
        del body["data_product_type"]
    document = assert_problem(await client.post(path, json=body), 422, "sql-column-unnamed")
    assert document["column"] == 2
    assert document["position"] == {"line": 1, "column": 21}
