"""The SQL guard in its workers, as the gateway calls it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from app.errors import (
    InvalidRequest,
    SqlFunctionRefused,
    SqlRefused,
    SqlTableRefused,
    SqlTooLarge,
)
from app.sql.client import SqlGuardClient
from app.sql.model import BoundScript, GuardedQuery, PathTable, SqlPolicy, TableName

POLICY = SqlPolicy()


@pytest.fixture(scope="module")
async def sql_guard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SqlGuardClient]:
    log: Path = tmp_path_factory.mktemp("guard") / "guard.log"
    sql_guard = SqlGuardClient(POLICY, log_path=log)
    await sql_guard.warm()
    yield sql_guard
    await sql_guard.close()


async def test_a_query_comes_back_guarded(sql_guard: SqlGuardClient) -> None:
    assert await sql_guard.check_query("SELECT a FROM silver.t") == GuardedQuery(
        'SELECT "a" FROM "silver"."t"', (TableName("silver", "t"),)
    )


async def test_a_refusal_keeps_its_class_its_hint_and_its_members(
    sql_guard: SqlGuardClient,
) -> None:
    with pytest.raises(SqlFunctionRefused) as refused:
        await sql_guard.check_query("SELECT date_dif(a) FROM silver.t")
    assert refused.value.members["function"] == "date_dif"
    assert refused.value.members["position"] == {"line": 1, "column": 8}
    with pytest.raises(SqlTableRefused) as unnamed:
        await sql_guard.check_query("SELECT * FROM t")
    assert unnamed.value.hint == "Write silver.t or gold.t."


async def test_queries_are_rewritten_and_scripts_are_bound(sql_guard: SqlGuardClient) -> None:
    views = {"gold.v": "SELECT 7 / 2 AS x"}
    assert await sql_guard.to_duckdb("SELECT x FROM gold.v", views=views) == (
        'WITH "asgard_cte_0" AS (SELECT 7 // 2 AS "x") SELECT "x" FROM "asgard_cte_0" AS "v"'
    )
    assert await sql_guard.to_dbt_model(
        "SELECT 1 FROM gold.a, silver.b", refs=frozenset({"a"})
    ) == ("SELECT 1 FROM {{ ref('a') }} AS \"a\", {{ source('silver', 'b') }} AS \"b\"")
    script = await sql_guard.bind_script("SELECT * FROM parquet.`x`, source", "s", "c")
    assert script == BoundScript(
        views=(),
        select="SELECT * FROM `asgard_path_1` CROSS JOIN `s` AS `source`",
        tables=(),
        paths=((PathTable("parquet", "bronze/x"), "asgard_path_1"),),
        reads_source=True,
    )
    with pytest.raises(SqlTableRefused, match="no source_path"):
        await sql_guard.bind_script("SELECT * FROM source", None, "c")


@pytest.mark.thorough
async def test_many_callers_are_served_at_once(sql_guard: SqlGuardClient) -> None:
    queries = [sql_guard.check_query(f"SELECT {number} AS n") for number in range(40)]
    answers = await asyncio.gather(*queries)
    assert [answer.sql for answer in answers] == [f'SELECT {n} AS "n"' for n in range(40)]


@pytest.mark.thorough
async def test_sql_that_takes_too_long_is_refused_and_the_next_caller_is_served(
    tmp_path: Path,
) -> None:
    sql_guard = SqlGuardClient(POLICY, log_path=tmp_path / "guard.log", deadline=0.05)
    try:
        await sql_guard.warm()
        with pytest.raises(SqlTooLarge):
            await sql_guard.check_query("SELECT " + ", ".join(["a.b + 1"] * 30_000))
    finally:
        await sql_guard.close()


@pytest.mark.thorough
async def test_the_kernel_ends_a_worker_that_exceeds_its_processor_time(tmp_path: Path) -> None:
    sql_guard = SqlGuardClient(
        POLICY, log_path=tmp_path / "guard.log", deadline=60, cpu_seconds=0.05
    )
    try:
        with pytest.raises(SqlTooLarge):
            await sql_guard.check_query("SELECT " + ", ".join(["a" + "[1]" * 60] * 1000))
        assert (await sql_guard.check_query("SELECT 1 AS one")).sql == 'SELECT 1 AS "one"'
    finally:
        await sql_guard.close()


async def test_a_long_query_is_refused_before_a_worker_is_asked(tmp_path: Path) -> None:
    sql_guard = SqlGuardClient(POLICY, log_path=tmp_path / "guard.log")
    with pytest.raises(SqlTooLarge):
        await sql_guard.check_query("x" * 300_000)
    await sql_guard.close()
    assert not (tmp_path / "guard.log").exists()


@pytest.mark.thorough
async def test_sql_is_not_blamed_for_a_worker_that_was_killed(tmp_path: Path) -> None:
    sql_guard = SqlGuardClient(POLICY, log_path=tmp_path / "guard.log", deadline=60)
    others = set(psutil.Process().children())
    await sql_guard.warm()
    workers = set(psutil.Process().children()) - others
    columns = ", ".join(f"coalesce(a, {n}) AS c{n}" for n in range(2000))
    checking = asyncio.create_task(sql_guard.check_query(f"SELECT {columns} FROM silver.t"))
    await asyncio.sleep(0.05)
    for worker in workers:
        worker.kill()
    assert (await checking).tables == (TableName("silver", "t"),)
    await sql_guard.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT U&'\\D800' AS a",
        "SELECT U&'\\+110000' AS a",
        "SELECT approx_distinct() IGNORE NULLS OVER (ORDER BY a) AS x FROM silver.t",
        "SELECT array_min(DISTINCT a, pi(1)) AS x FROM silver.t",
    ],
)
async def test_sql_that_the_parser_fails_on_is_refused(sql_guard: SqlGuardClient, sql: str) -> None:
    async def judged() -> str:
        return await sql_guard.to_duckdb((await sql_guard.check_query(sql)).sql)

    with pytest.raises((SqlRefused, InvalidRequest)):
        await judged()
