"""The embedded engine builds models: materializations, types, failures and interruptions."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psutil
import pytest

from app.caller import ANONYMOUS
from app.errors import EngineFailed, NotFound, SqlInvalid, TableNotFound
from app.failure import FailureCause
from app.runs.model import Run, RunState
from app.sql.model import GuardedQuery, TableName
from app.warehouse.engine import ExtraColumn, IncrementalStrategy, Materialization
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import (
    ENDLESS,
    NUMBERS,
    WarehouseHarness,
    builders,
    computing,
    unique,
)
from tests.patience import until

VIEW = {"materialization": Materialization.VIEW}
MERGE = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.MERGE,
    "unique_key": ("k",),
}
DELETE_INSERT = {**MERGE, "incremental_strategy": IncrementalStrategy.DELETE_INSERT}
APPEND = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.APPEND,
}
FIRST = "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t (k, v)"
SECOND = "SELECT * FROM (VALUES (2, 'B'), (3, 'C')) AS t (k, v)"


async def publishing(harness: WarehouseHarness, run: Run) -> bool:
    """Return whether the engine is about to publish: it records its name just before that."""
    run = await harness.runs.get(run.run_id)
    return bool(run.engine) or run.state.is_terminal


async def test_a_table_holds_the_rows_of_its_query_and_records_its_inputs(
    harness: WarehouseHarness,
) -> None:
    name = unique("tab")
    run = await harness.built(name, "SELECT count(*) AS n, sum(n) AS total FROM silver.wh_numbers")
    assert await harness.rows(name) == [{"n": NUMBERS, "total": NUMBERS * (NUMBERS - 1) // 2}]
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written, run.output.files) == (1, 1, 1)
    assert run.output.snapshot_id == await harness.snapshot(name)
    numbers = await harness.lakehouse.catalog.table("silver.wh_numbers")
    assert numbers is not None
    assert [(i.table, i.snapshot_id) for i in run.inputs] == [
        ("silver.wh_numbers", numbers.snapshot_id)
    ]


async def test_a_run_archives_the_reports_of_dbt(harness: WarehouseHarness) -> None:
    name = unique("tab")
    what = {"tags": ("x",), "owner": "somebody", "description": "One number"}
    run = await harness.built(name, "SELECT 1 AS a", **what)
    prefix = f"asgard/runs/artifacts/{run.run_id}"
    stored = {
        file: await harness.lakehouse.store.get(f"{prefix}/{file}")
        for file in ("manifest.json", "run_results.json")
    }
    manifest = json.loads(stored["manifest.json"].body)  # type: ignore[union-attr]
    (node,) = manifest["nodes"].values()
    assert (node["name"], node["tags"], node["config"]["materialized"]) == (name, ["x"], "table")
    assert (node["alias"], node["description"]) == (name, "One number")
    assert node["meta"]["owner"] == node["config"]["meta"]["owner"] == "somebody"
    assert node["raw_code"] == node["compiled_code"]
    assert "1 AS" in node["raw_code"]
    results = json.loads(stored["run_results.json"].body)  # type: ignore[union-attr]
    assert [r["status"] for r in results["results"]] == ["success"]
    assert str(harness.lakehouse.home) not in json.dumps(results)


async def test_a_rebuild_can_change_the_columns(harness: WarehouseHarness) -> None:
    name = unique("tab")
    await harness.built(name, "SELECT 1 AS a, 'x' AS b")
    await harness.built(name, "SELECT 'y' AS b, DATE '2013-01-01' AS c")
    assert await harness.types(name) == {"b": "varchar", "c": "date"}
    assert [row["b"] for row in await harness.rows(name)] == ["y"]


async def test_types_are_those_of_trino(harness: WarehouseHarness) -> None:
    name = unique("types")
    await harness.built(
        name,
        """SELECT CAST(1 AS tinyint) AS small, CAST(1 AS bigint) AS big, sum(n) AS total,
        CAST(1.25 AS decimal(10, 2)) AS price, CAST('x' AS varchar) AS word, true AS yes,
        TIMESTAMP '2013-01-01 10:00:00' AS at, DATE '2013-01-01' AS day,
        TIMESTAMP '2013-01-01 10:00:00 UTC' AS zoned, ARRAY[1, 2] AS list,
        MAP(ARRAY['a'], ARRAY[1]) AS lookup,
        CAST(ROW(1, 'x') AS ROW(id integer, t varchar)) AS pair,
        CAST(NULL AS double) AS nothing
        FROM silver.wh_numbers""",
    )
    assert await harness.types(name) == {
        "small": "integer",
        "big": "bigint",
        "total": "bigint",
        "price": "decimal(10,2)",
        "word": "varchar",
        "yes": "boolean",
        "at": "timestamp(6)",
        "day": "date",
        "zoned": "timestamp(6) with time zone",
        "list": "array(integer)",
        "lookup": "map(varchar, integer)",
        "pair": 'row("id" integer, "t" varchar)',
        "nothing": "double",
    }
    (row,) = await harness.rows(name)
    assert row["price"] == Decimal("1.25")
    assert row["zoned"] == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert row["at"] == datetime(2013, 1, 1, 10)  # noqa: DTZ001 — it has no zone
    assert row["lookup"] == [("a", 1)]
    assert row["pair"] == {"id": 1, "t": "x"}
    preview = await harness.engine.preview(f"gold.{name}", 5)
    values = dict(zip([c.name for c in preview.columns], preview.rows[0], strict=True))
    assert (values["price"], values["zoned"]) == ("1.25", "2013-01-01T10:00:00Z")
    assert values["lookup"] == {"a": 1}


async def test_a_sum_that_exceeds_bigint_fails_and_leaves_the_table_unchanged(
    harness: WarehouseHarness,
) -> None:
    name = unique("huge")
    await harness.built(name, "SELECT CAST(1 AS bigint) AS a")
    before = await harness.snapshot(name)
    run = await harness.build(
        name, "SELECT sum(x) AS a FROM (VALUES 9223372036854775807, 1) AS t (x)"
    )
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure.cause is FailureCause.SQL_ERROR
    assert "INT64" in run.failure.message or "bigint" in run.failure.message
    assert await harness.snapshot(name) == before


async def test_an_empty_result_is_an_empty_table(harness: WarehouseHarness) -> None:
    name = unique("empty")
    run = await harness.built(name, "SELECT n FROM silver.wh_numbers WHERE n < 0")
    assert run.output is not None
    assert run.output.rows == 0
    assert await harness.rows(name) == []
    assert await harness.types(name) == {"n": "bigint"}


async def test_added_columns_hold_their_value_or_the_time(harness: WarehouseHarness) -> None:
    name = unique("extra")
    extra = (ExtraColumn(name="owner", value="it's now"), ExtraColumn(name="at", value=None))
    started = datetime.now(UTC)
    await harness.built(name, "SELECT 1 AS a -- so", extra_columns=extra)
    (row,) = await harness.rows(name)
    assert (row["a"], row["owner"]) == (1, "it's now")
    assert started <= row["at"] <= datetime.now(UTC)


async def test_an_added_column_that_the_query_has_is_refused(harness: WarehouseHarness) -> None:
    extra = (ExtraColumn(name="a", value="x"),)
    run = await harness.build(unique("extra"), "SELECT 1 AS A", extra_columns=extra)
    assert run.failure is not None
    assert run.failure.cause is FailureCause.SQL_ERROR


async def test_appends_add_rows_and_new_columns(harness: WarehouseHarness) -> None:
    name = unique("app")
    await harness.built(name, FIRST, **APPEND)
    run = await harness.built(name, "SELECT 2 AS k, 1.5 AS extra", **APPEND)
    assert run.output is not None
    assert (run.output.rows, run.output.rows_written) == (3, 1)
    assert await harness.rows(name) == [
        {"k": 1, "v": "a", "extra": None},
        {"k": 2, "v": "b", "extra": None},
        {"k": 2, "v": None, "extra": Decimal("1.5")},
    ]


async def test_a_merge_changes_rows_and_duplicates_none(harness: WarehouseHarness) -> None:
    name = unique("merge")
    await harness.built(name, FIRST, **MERGE)
    for _ in range(2):
        run = await harness.built(name, SECOND, **MERGE)
        assert run.output is not None
        assert run.output.rows == 3
        assert await harness.rows(name) == [
            {"k": 1, "v": "a"},
            {"k": 2, "v": "B"},
            {"k": 3, "v": "C"},
        ]


async def test_a_merge_keeps_values_of_missing_columns_and_adds_new_columns(
    harness: WarehouseHarness,
) -> None:
    name = unique("merge")
    await harness.built(name, FIRST, **MERGE)
    await harness.built(name, "SELECT * FROM (VALUES (2, true), (3, false)) AS t (k, w)", **MERGE)
    assert await harness.rows(name) == [
        {"k": 1, "v": "a", "w": None},
        {"k": 2, "v": "b", "w": True},
        {"k": 3, "v": None, "w": False},
    ]


TWICE = "VALUES (4, 'x'), (4, 'y')"
NULL = "VALUES (CAST(NULL AS integer), 'x'), (5, 'y')"


@pytest.mark.parametrize("when", ["first run", "later run", "full refresh", "instead of a view"])
@pytest.mark.parametrize(
    ("delta", "strategy"), [(TWICE, MERGE), (NULL, MERGE), (NULL, DELETE_INSERT)]
)
async def test_null_and_duplicate_keys_are_refused_by_every_run(
    harness: WarehouseHarness, delta: str, strategy: dict[str, Any], when: str
) -> None:
    name = unique("keyed")
    if when == "instead of a view":
        await harness.built(name, "SELECT 1 AS k", **VIEW)
    elif when != "first run":
        await harness.built(name, FIRST, **strategy)
    before = await harness.snapshot(name)
    how = {"full_refresh": when == "full refresh", "replace": when == "instead of a view"}
    run = await harness.build(name, f"SELECT * FROM ({delta}) AS t (k, v)", **strategy, **how)
    assert run.failure is not None, when
    assert run.failure.cause is FailureCause.SQL_ERROR
    reason = "more than one row with k = 4" if delta is TWICE else "1 rows have no value in their"
    assert reason in run.failure.message
    assert await harness.snapshot(name) == before
    if when == "instead of a view":
        assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[1]]


async def test_delete_insert_replaces_the_rows_of_its_keys(harness: WarehouseHarness) -> None:
    name = unique("di")
    await harness.built(name, FIRST, **DELETE_INSERT)
    two = "SELECT * FROM (VALUES (2, 'x'), (2, 'y')) AS t (k, v)"
    for _ in range(2):
        await harness.built(name, two, **DELETE_INSERT)
    assert await harness.rows(name) == [
        {"k": 1, "v": "a"},
        {"k": 2, "v": "x"},
        {"k": 2, "v": "y"},
    ]


@pytest.mark.parametrize("strategy", [MERGE, DELETE_INSERT, APPEND])
@pytest.mark.parametrize("struct", ["t", "d", "o", "old_rows", "new_rows", "asgard_gone", "rows"])
async def test_no_name_of_a_column_changes_how_rows_are_matched(
    harness: WarehouseHarness, struct: str, strategy: dict[str, Any]
) -> None:
    name = unique("matched")

    def rows(*given: tuple[int, str]) -> str:
        values = ", ".join(f"({k}, '{v}')" for k, v in given)
        row = f"CAST(ROW(99) AS ROW(k integer)) AS {struct}"
        return f"SELECT k, v, {row} FROM (VALUES {values}) AS x (k, v)"

    await harness.built(name, rows((1, "a"), (2, "b")), **strategy)
    await harness.built(name, rows((2, "B"), (3, "C")), **strategy)
    second = [(2, "b")] if strategy is APPEND else []
    found = [(row["k"], row["v"]) for row in await harness.rows(name)]
    assert sorted(found) == sorted([(1, "a"), *second, (2, "B"), (3, "C")])


async def test_merges_leave_one_file_and_no_delete_files(harness: WarehouseHarness) -> None:
    name = unique("merge")
    for number in range(4):
        run = await harness.built(name, f"SELECT {number} AS k, 'x' AS v", **MERGE)
    assert run.output is not None
    assert (run.output.rows, run.output.files) == (4, 1)


async def test_a_full_refresh_rebuilds_an_incremental_table(harness: WarehouseHarness) -> None:
    name = unique("merge")
    await harness.built(name, FIRST, **MERGE)
    await harness.built(name, SECOND, full_refresh=True, **MERGE)
    assert await harness.rows(name) == [{"k": 2, "v": "B"}, {"k": 3, "v": "C"}]


async def test_views_show_the_current_state_of_the_tables_and_views_they_read(
    harness: WarehouseHarness,
) -> None:
    base, lower, upper, top = (unique(n) for n in ("base", "lower", "upper", "top"))
    await harness.built(base, "SELECT 1 AS a")
    run = await harness.built(lower, f"SELECT a + 1 AS b FROM gold.{base}", **VIEW)
    assert run.output is not None
    assert run.output.rows is None
    await harness.built(upper, f"SELECT b * 10 AS c FROM gold.{lower}", **VIEW)
    await harness.built(top, f"SELECT c, x.a FROM gold.{upper}, gold.{base} AS x")
    assert await harness.rows(top) == [{"c": 20, "a": 1}]
    await harness.built(base, "SELECT 5 AS a")
    assert (await harness.engine.preview(f"gold.{upper}", 10)).rows == [[60]]
    info = await harness.lakehouse.catalog.view(f"gold.{upper}")
    assert info is not None
    assert [(c.name, c.type) for c in info.columns] == [("c", "integer")]
    assert base not in info.sql
    assert lower in info.sql


async def test_a_view_gets_a_new_version(harness: WarehouseHarness) -> None:
    name = unique("view")
    await harness.built(name, "SELECT 1 AS a", **VIEW)
    await harness.built(name, "SELECT 'x' AS b", **VIEW)
    preview = await harness.engine.preview(f"gold.{name}", 10)
    assert ([c.name for c in preview.columns], preview.rows) == (["b"], [["x"]])


async def test_views_that_read_one_another_in_a_circle_are_refused(
    harness: WarehouseHarness,
) -> None:
    one, two = unique("one"), unique("two")
    await harness.built(one, "SELECT 1 AS a", **VIEW)
    await harness.built(two, f"SELECT a FROM gold.{one}", **VIEW)
    run = await harness.build(one, f"SELECT a FROM gold.{two}", **VIEW)
    assert run.failure is not None
    assert "read itself" in run.failure.message
    assert (await harness.engine.preview(f"gold.{two}", 1)).rows == [[1]]
    query = GuardedQuery(f"SELECT a FROM gold.{two}", (TableName("gold", two),))
    with pytest.raises(SqlInvalid, match="read itself"):
        await harness.engine.validate(query, target=f"gold.{one}")


async def test_a_table_becomes_a_view_and_back_only_on_request(harness: WarehouseHarness) -> None:
    name = unique("both")
    await harness.built(name, "SELECT 1 AS a")
    refused = await harness.build(name, "SELECT 2 AS a", **VIEW)
    assert refused.state is RunState.FAILED
    assert await harness.rows(name) == [{"a": 1}]
    await harness.built(name, "SELECT 2 AS a", replace=True, **VIEW)
    assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[2]]
    assert await harness.lakehouse.catalog.table(f"gold.{name}") is None
    await harness.built(name, "SELECT 3 AS a", replace=True)
    assert await harness.rows(name) == [{"a": 3}]
    assert await harness.lakehouse.catalog.view(f"gold.{name}") is None


@pytest.mark.parametrize(
    ("sql", "cause"),
    [
        ("SELECT CAST(x AS integer) AS a FROM (VALUES 'no number') AS t (x)", "sql_error"),
        ("SELECT nowhere AS a FROM silver.wh_numbers", "sql_error"),
        ("SELECT a FROM silver.wh_nowhere", "table_not_found"),
        ("SELECT (SELECT n FROM silver.wh_numbers) AS a", "sql_error"),
        ("SELECT array_agg(CAST(a.n AS varchar) || CAST(b.n AS varchar)) AS a "
         "FROM silver.wh_numbers a CROSS JOIN (SELECT n FROM silver.wh_numbers LIMIT 1000) b",
         "out_of_memory"),
    ],
)  # fmt: skip
async def test_a_failed_build_reports_its_cause_and_leaves_the_table_unchanged(
    harness: WarehouseHarness, sql: str, cause: str
) -> None:
    name = unique("bad")
    await harness.built(name, "SELECT 1 AS a")
    before = await harness.snapshot(name)
    run = await harness.build(name, sql)
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert run.failure.cause == cause
    assert str(harness.lakehouse.home) not in run.failure.message
    assert await harness.snapshot(name) == before
    assert await harness.rows(name) == [{"a": 1}]


async def test_an_unknown_table_names_its_near_matches(harness: WarehouseHarness) -> None:
    query = GuardedQuery("SELECT 1 AS a FROM silver.wh_nubers", (TableName("silver", "wh_nubers"),))
    with pytest.raises(TableNotFound) as refused:
        await harness.engine.validate(query)
    assert refused.value.members["missing"] == ["silver.wh_nubers"]
    assert "silver.wh_numbers" in refused.value.members["suggested_tables"]


async def test_validation_returns_the_columns_and_runs_nothing(harness: WarehouseHarness) -> None:
    query = GuardedQuery(
        "SELECT n, half, sum(n) OVER () AS s FROM silver.wh_numbers",
        (TableName("silver", "wh_numbers"),),
    )
    columns = await harness.engine.validate(query)
    assert [(c.name, c.type) for c in columns] == [
        ("n", "bigint"),
        ("half", "double"),
        ("s", "bigint"),
    ]
    endless = GuardedQuery(ENDLESS, query.tables)
    assert [c.name for c in await harness.engine.validate(endless)] == ["n"]


async def test_two_columns_of_one_name_are_refused(harness: WarehouseHarness) -> None:
    with pytest.raises(SqlInvalid, match="two columns"):
        await harness.engine.validate(GuardedQuery("SELECT 1 AS a, 2 AS A", ()))


async def test_a_missing_table_has_no_preview(harness: WarehouseHarness) -> None:
    with pytest.raises(NotFound):
        await harness.engine.preview("gold.wh_nowhere", 1)


async def test_a_session_reaches_nothing_but_the_lake(lakehouse: Lakehouse, tmp_path: Any) -> None:
    """The guard refuses such SQL, and the engine would too."""
    import duckdb

    from app.warehouse.duckdb.session import open_session

    def refused() -> list[str]:
        connection = open_session(lakehouse.lake, tmp_path / "scratch", "64MB")
        passed = []
        for sql in (
            "SELECT * FROM read_text('/etc/passwd')",
            "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
            "SELECT * FROM read_parquet('s3://another/x.parquet')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/x.duckdb' AS x",
            "SET enable_external_access = true",
            "SET lock_configuration = false",
            "INSTALL spatial",
            "CREATE TABLE iceberg.gold.wh_intruder AS SELECT 1 AS a",
        ):
            try:
                connection.execute(sql)
                passed.append(sql)
            except duckdb.Error:
                pass
        return passed

    assert await asyncio.to_thread(refused) == []


async def test_a_cancelled_build_stops_at_once_and_changes_nothing(
    harness: WarehouseHarness,
) -> None:
    name = unique("long")
    await harness.built(name, "SELECT 1 AS n")
    before = await harness.snapshot(name)
    workers = builders(harness)
    run = await harness.start(name, ENDLESS)
    await until(lambda: computing(harness, run))
    await harness.runs.cancel(run.run_id, ANONYMOUS)
    ended = await harness.runs.wait(run.run_id, 20)
    assert ended.state is RunState.CANCELLED
    assert await harness.snapshot(name) == before
    gone, _ = await asyncio.to_thread(psutil.wait_procs, workers, 10)
    assert len(gone) == 1
    await harness.built(name, "SELECT 2 AS n")


async def test_a_worker_that_is_killed_while_it_builds_fails_the_run(
    harness: WarehouseHarness,
) -> None:
    name = unique("killed")
    await harness.built(name, "SELECT 1 AS n")
    before = await harness.snapshot(name)
    run = await harness.start(name, ENDLESS)
    await until(lambda: computing(harness, run))
    for process in builders(harness):
        process.kill()
    ended = await harness.runs.wait(run.run_id, 20)
    assert ended.failure is not None
    assert (ended.failure.cause, ended.failure.retryable) == ("lost", True)
    assert await harness.snapshot(name) == before


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.07])
async def test_a_kill_at_any_point_of_a_publication_ends_the_run_with_its_true_outcome(
    harness: WarehouseHarness, delay: float
) -> None:
    name = unique("killed")
    await harness.built(name, "SELECT 0 AS n")
    run = await harness.start(name, "SELECT n FROM silver.wh_numbers")
    await until(lambda: publishing(harness, run))
    await asyncio.sleep(delay)
    for process in builders(harness):
        process.kill()
    ended = await harness.runs.wait(run.run_id, 30)
    assert ended.state.is_terminal
    took_effect = len(await harness.rows(name)) == NUMBERS
    assert (ended.state is RunState.SUCCEEDED) == took_effect, ended
    assert took_effect or await harness.rows(name) == [{"n": 0}]
    if harness.target.dialect == "duckdb":  # Trino names its files after its queries
        await harness.built(name, "SELECT 2 AS n")  # deletes what a dead run left
        left = await harness.lakehouse.catalog.run(lambda c: data_files(c, f"gold.{name}"))
        assert (run.run_id in {file[:32] for file in left}) == took_effect


def data_files(catalog: Any, name: str) -> list[str]:
    from pyarrow.fs import FileSelector

    table = catalog.load_table(name)
    scheme, netloc, path = table.io.parse_location(table.location())
    filesystem = table.io.fs_by_scheme(scheme, netloc)
    infos = filesystem.get_file_info(FileSelector(path, recursive=True))
    return [info.base_name for info in infos if info.base_name.endswith(".parquet")]


async def test_a_run_has_succeeded_even_if_s3_refuses_its_artifacts(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = harness.lakehouse.store
    put = store.put

    async def refuse(key: str, *rest: Any, **more: Any) -> Any:
        if "/artifacts/" in key:
            raise EngineFailed("S3 refused a request", cause=FailureCause.PERMISSION_DENIED)
        return await put(key, *rest, **more)

    name = unique("unarchived")
    monkeypatch.setattr(store, "put", refuse)
    run = await harness.build(name, "SELECT 1 AS a")
    assert (run.state, run.output.rows) == (RunState.SUCCEEDED, 1)


@pytest.mark.parametrize(
    ("held", "given"),
    [
        ("1", "1.5e0"),
        ("DATE '2024-01-01'", "TIMESTAMP '2024-01-02 10:00:00'"),
        ("CAST(1 AS decimal(10,2))", "CAST(2.9999 AS decimal(10,4))"),
        ("true", "'yes'"),
        ("1", "'7'"),
        ("1.5e0", "'1.5'"),
    ],
)
@pytest.mark.parametrize("strategy", ["append", "merge", "delete_insert"])
async def test_a_value_that_the_table_cannot_hold_unchanged_is_refused(
    harness: WarehouseHarness, strategy: str, held: str, given: str
) -> None:
    name = unique("held")
    model: dict[str, Any] = {"materialization": "incremental", "incremental_strategy": strategy}
    if strategy != "append":
        model["unique_key"] = ("k",)
    await harness.built(name, f"SELECT {held} AS k", **model)
    before = await harness.rows(name)
    run = await harness.build(name, f"SELECT {given} AS k", **model)
    assert run.failure is not None
    assert run.failure.cause is FailureCause.SQL_ERROR
    assert "cannot hold all values of the query" in run.failure.message
    assert await harness.rows(name) == before


async def test_a_value_that_the_table_can_hold_keeps_the_tables_type(
    harness: WarehouseHarness,
) -> None:
    name = unique("fits")
    model = {"materialization": "incremental", "incremental_strategy": "append"}
    first = "SELECT CAST(1 AS bigint) AS a, 'x' AS b, X'61' AS c, true AS d"
    await harness.built(name, first, **model)
    run = await harness.built(name, "SELECT 2.0e0 AS a, 3 AS b, NULL AS c, NULL AS d", **model)
    assert run.output.rows == 2
    rows = sorted((row["a"], row["b"], row["d"]) for row in await harness.rows(name))
    assert rows == [(1, "x", True), (2, "3", None)]
