"""If a table gets other columns, the views over it are rebuilt, or the change is refused."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import (
    GeometryType,
    IcebergType,
    IntegerType,
    NestedField,
    StringType,
    UnknownType,
)
from pyiceberg.view.metadata import ViewVersion

from app.caller import ANONYMOUS
from app.data_transformation.engine import SparkWork, WriteMode
from app.data_transformation.resources import SparkResources
from app.data_transformation.run_handler import SparkRunHandler
from app.data_transformation.sail.engine import SparkConnectEngine
from app.data_transformation.source_files import SourceResolver
from app.errors import EngineFailed
from app.lakehouse.bronze.manifests import BronzeManifests
from app.lakehouse.catalog import RUN_ID_PROPERTY, Column
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission
from app.warehouse.engine import IncrementalStrategy, Materialization, ModelSpec
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import WarehouseHarness, unique

VIEW: dict[str, Any] = {"materialization": Materialization.VIEW}
APPEND: dict[str, Any] = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.APPEND,
}
MERGE: dict[str, Any] = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.MERGE,
    "unique_key": ("a",),
}


async def seen(
    harness: WarehouseHarness, name: str
) -> tuple[list[tuple[str, str]], list[list[Any]]]:
    """Return what a reader sees of the view. Catalog and engine report the same columns."""
    info = await harness.lakehouse.catalog.view(f"gold.{name}")
    assert info is not None
    preview = await harness.engine.preview(f"gold.{name}", 10)
    columns = [(column.name, column.type) for column in preview.columns]
    assert columns == [(column.name, column.type) for column in info.columns]
    return columns, preview.rows


def rebuilt(run: Run) -> list[str]:
    return [event.message.split()[0] for event in run.events if event.reason == "ViewRebuilt"]


def warnings(run: Run) -> list[str]:
    return [event.message for event in run.events if event.reason == "ViewsBroken"]


async def over(harness: WarehouseHarness, base: str) -> tuple[str, str, str]:
    """Create a view of all columns, one over it, and one that reads both and the table."""
    low, mid, top = unique("low"), unique("mid"), unique("top")
    await harness.built(low, f"SELECT * FROM gold.{base}", **VIEW)
    await harness.built(mid, f"SELECT a AS b FROM gold.{low}", **VIEW)
    await harness.built(
        top,
        f"SELECT m.b, x.a FROM gold.{mid} AS m JOIN gold.{low} AS l ON l.a = m.b "
        f"JOIN gold.{base} AS x ON x.a = m.b",
        **VIEW,
    )
    return low, mid, top


async def test_views_work_when_types_and_columns_of_their_table_change(
    harness: WarehouseHarness,
) -> None:
    base = unique("base")
    await harness.built(base, "SELECT 1 AS a")
    low, mid, top = await over(harness, base)
    made_by = (await harness.lakehouse.catalog.view(f"gold.{low}")).properties[RUN_ID_PROPERTY]  # type: ignore[union-attr]
    run = await harness.built(base, "SELECT 'x' AS a, true AS c")
    assert rebuilt(run) == [f"gold.{name}" for name in (low, mid, top)]
    text = "varchar"
    assert await seen(harness, low) == ([("a", text), ("c", "boolean")], [["x", True]])
    assert await seen(harness, mid) == ([("b", text)], [["x"]])
    assert await seen(harness, top) == ([("b", text), ("a", text)], [["x", "x"]])
    info = await harness.lakehouse.catalog.view(f"gold.{low}")
    assert info is not None
    assert info.properties[RUN_ID_PROPERTY] == made_by


async def test_a_view_whose_columns_stay_the_same_is_not_rebuilt(harness: WarehouseHarness) -> None:
    base, view = unique("base"), unique("view")
    await harness.built(base, "SELECT 1 AS a")
    await harness.built(view, f"SELECT a FROM gold.{base}", **VIEW)
    before = await harness.lakehouse.catalog.view(f"gold.{view}")
    run = await harness.built(base, "SELECT 2 AS a, 'more' AS b")
    assert rebuilt(run) == []
    after = await harness.lakehouse.catalog.view(f"gold.{view}")
    assert before is not None
    assert after is not None
    assert after.last_updated == before.last_updated
    assert await seen(harness, view) == ([("a", "integer")], [[2]])


@pytest.mark.parametrize("how", [{}, {**MERGE, "unique_key": ("z",), "full_refresh": True}])
async def test_a_change_that_would_break_a_view_is_refused_and_names_the_view(
    harness: WarehouseHarness, how: dict[str, Any]
) -> None:
    base = unique("base")
    await harness.built(base, "SELECT 1 AS a, 2 AS d")
    low, mid, top = await over(harness, base)
    snapshot = await harness.snapshot(base)
    run = await harness.build(
        base, "SELECT 2 AS other, 1 AS z", **({**how, "unique_key": ("z",)} if how else {})
    )
    assert run.failure is not None
    assert (run.state, run.failure.cause) == (RunState.FAILED, "sql_error")
    for name in (mid, top):
        assert f"gold.{name}: " in run.failure.message
    assert "Nothing was changed" in run.failure.message
    assert await harness.snapshot(base) == snapshot
    assert await seen(harness, mid) == ([("b", "integer")], [[1]])
    assert (await seen(harness, low))[1] == [[1, 2]]


@pytest.mark.parametrize("how", [APPEND, MERGE])
async def test_an_increment_that_adds_a_column_rebuilds_views_of_all(
    harness: WarehouseHarness, how: dict[str, Any]
) -> None:
    base, view = unique("base"), unique("view")
    await harness.built(base, "SELECT 1 AS a", **how)
    await harness.built(view, f"SELECT * FROM gold.{base} WHERE a > 1", **VIEW)
    run = await harness.built(base, "SELECT 2 AS a, 'x' AS b", **how)
    assert rebuilt(run) == [f"gold.{view}"]
    assert await seen(harness, view) == ([("a", "integer"), ("b", "varchar")], [[2, "x"]])


async def test_a_view_with_new_columns_rebuilds_the_views_over_it(
    harness: WarehouseHarness,
) -> None:
    low, high = unique("low"), unique("high")
    await harness.built(low, "SELECT 1 AS a", **VIEW)
    await harness.built(high, f"SELECT * FROM gold.{low}", **VIEW)
    await harness.built(low, "SELECT 'x' AS a", **VIEW)
    assert await seen(harness, high) == ([("a", "varchar")], [["x"]])
    run = await harness.build(low, "SELECT 'x' AS c", **VIEW)
    assert rebuilt(run) == [f"gold.{high}"]
    narrow = unique("narrow")
    await harness.built(narrow, f"SELECT c FROM gold.{high}", **VIEW)
    refused = await harness.build(low, "SELECT 1 AS d", **VIEW)
    assert refused.failure is not None
    assert f"gold.{narrow}: " in refused.failure.message
    assert (await seen(harness, low))[1] == [["x"]]


async def test_a_table_that_replaces_a_view_rebuilds_the_views_over_it(
    harness: WarehouseHarness,
) -> None:
    base, view = unique("base"), unique("view")
    await harness.built(base, "SELECT 1 AS a", **VIEW)
    await harness.built(view, f"SELECT * FROM gold.{base}", **VIEW)
    await harness.built(base, "SELECT 'x' AS a", replace=True)
    assert await seen(harness, view) == ([("a", "varchar")], [["x"]])
    await harness.built(base, "SELECT 1.5 AS a", replace=True, **VIEW)
    assert await seen(harness, view) == ([("a", "decimal(2,1)")], [["1.5"]])


async def test_a_view_that_was_already_invalid_stops_nothing(harness: WarehouseHarness) -> None:
    base, gone, view = unique("base"), unique("gone"), unique("view")
    await harness.built(base, "SELECT 1 AS a")
    await harness.built(gone, "SELECT 1 AS a")
    await harness.built(view, f"SELECT b.a FROM gold.{base} AS b, gold.{gone} AS g", **VIEW)
    await harness.lakehouse.catalog.drop_table(f"gold.{gone}")
    run = await harness.built(base, "SELECT 'x' AS a")
    assert await harness.rows(base) == [{"a": "x"}]
    assert await harness.engine.reconcile(ModelSpec.model_validate(run.spec), run) is not None


async def test_columns_of_every_type_stand_in_for_a_table(harness: WarehouseHarness) -> None:
    base, view = unique("base"), unique("view")
    await harness.built(base, "SELECT 1 AS only")
    await harness.built(view, f"SELECT * FROM gold.{base}", **VIEW)
    await harness.built(
        base,
        """SELECT CAST(1 AS bigint) AS big, CAST(1.25 AS decimal(10, 2)) AS price,
        CAST(1 AS real) AS r, CAST(1 AS double) AS d, CAST('x' AS varchar) AS word, true AS yes,
        CAST('x' AS varbinary) AS raw, TIMESTAMP '2013-01-01 10:00:00' AS at,
        DATE '2013-01-01' AS day, TIME '10:00:00' AS clock,
        TIMESTAMP '2013-01-01 10:00:00 UTC' AS zoned, ARRAY[1, 2] AS list,
        MAP(ARRAY['a'], ARRAY[1]) AS lookup,
        CAST(ROW(1, 'x') AS ROW(id integer, t varchar)) AS pair""",
    )
    columns, rows = await seen(harness, view)
    assert dict(columns) == await harness.types(base)
    assert len(rows) == 1


async def test_reconciling_a_run_that_was_cut_off_rebuilds_its_views(
    harness: WarehouseHarness,
) -> None:
    base, view = unique("base"), unique("view")
    await harness.built(base, "SELECT 1 AS a")
    await harness.built(view, f"SELECT * FROM gold.{base}", **VIEW)
    stale = await harness.lakehouse.catalog.view(f"gold.{view}")
    run = await harness.built(base, "SELECT 'x' AS a")
    assert stale is not None
    await harness.lakehouse.catalog.replace_view(
        stale.table, stale.sql, stale.columns, {RUN_ID_PROPERTY: "r"}
    )
    outcome = await harness.engine.reconcile(ModelSpec.model_validate(run.spec), run)
    assert outcome is not None
    assert await seen(harness, view) == ([("a", "varchar")], [["x"]])


@pytest.fixture(scope="module")
async def spark(
    lakehouse: Lakehouse, harness: WarehouseHarness, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[RunService, SparkRunHandler]]:
    home = tmp_path_factory.mktemp("spark")
    store, catalog = lakehouse.store, lakehouse.catalog
    engine = SparkConnectEngine(
        sail_lake=lakehouse.sail_lake,
        publisher_lake=lakehouse.silver_publisher_lake,
        store=store,
        catalog=catalog,
        home=home,
        workers=1,
    )
    sources = SourceResolver(store, BronzeManifests(store))
    driver = SparkRunHandler(engine, catalog, sources, harness.engine)
    runs = RunService(
        store=store,
        catalog=catalog,
        settings=lakehouse.settings,
        handlers={RunKind.SPARK: driver},
    )
    await runs.open()
    yield runs, driver
    await runs.close(grace=1)
    await engine.close()


async def overwrite(runs: RunService, table: str, select: str) -> Run:
    work = SparkWork(
        sql=select,
        source_path=None,
        destination=f"silver.{table}",
        write_mode=WriteMode.OVERWRITE,
        readings=(),
        views=(),
        select=select,
        tables=(),
        resources=SparkResources(),
    )
    request = RunRequest(
        kind=RunKind.SPARK,
        target=work.destination,
        spec=work.model_dump(mode="json"),
    )
    return await runs.wait((await runs.start(request, Submission(ANONYMOUS))).run.run_id, 60)


async def test_a_spark_overwrite_rebuilds_views_or_names_those_it_broke(
    harness: WarehouseHarness, spark: tuple[RunService, SparkRunHandler]
) -> None:
    runs, driver = spark
    table, view, narrow = f"sv_{uuid4().hex[:8]}", unique("view"), unique("narrow")
    assert (await overwrite(runs, table, "SELECT 1 AS a")).state is RunState.SUCCEEDED
    await harness.built(view, f"SELECT * FROM silver.{table}", **VIEW)
    run = await overwrite(runs, table, "SELECT 'x' AS a, 2 AS b")
    assert (run.state, rebuilt(run)) == (RunState.SUCCEEDED, [f"gold.{view}"])
    assert await seen(harness, view) == ([("a", "varchar"), ("b", "integer")], [["x", 2]])
    await harness.built(narrow, f"SELECT b FROM silver.{table}", **VIEW)
    broke = await overwrite(runs, table, "SELECT 1.5D AS a")
    assert broke.state is RunState.SUCCEEDED, broke.failure
    assert broke.output is not None
    [warning] = warnings(broke)
    assert f"silver.{table} was written" in warning
    assert f"gold.{narrow}: " in warning
    assert await seen(harness, view) == ([("a", "double")], [[1.5]])
    outcome = await driver.reconcile(broke)
    assert outcome is not None
    assert outcome.output is not None
    [warned] = outcome.warnings
    assert f"gold.{narrow}: " in warned.message
    with pytest.raises(EngineFailed, match=f"gold.{narrow}: "):
        await harness.engine.rebuild_views(f"silver.{table}", [Column("b", "integer")])


ODD = [UnknownType(), GeometryType()]
LONE_SURROGATE = r"U&'\D800'"


@asynccontextmanager
async def foreign_view(
    harness: WarehouseHarness, sql: str, columns: Mapping[str, IcebergType]
) -> AsyncIterator[str]:
    """A view of another writer, with any columns. It goes away, or it would concern later runs."""
    name = f"gold.{unique('foreign')}"
    fields = [
        NestedField(n, *column, required=False) for n, column in enumerate(columns.items(), 1)
    ]
    version = ViewVersion.model_validate(
        {
            "version-id": 1,
            "schema-id": 0,
            "timestamp-ms": 1,
            "summary": {},
            "representations": [{"type": "sql", "sql": sql, "dialect": "trino"}],
            "default-namespace": ["gold"],
        }
    )
    await harness.lakehouse.catalog.run(
        lambda rest: rest.create_view(name, Schema(*fields), version)
    )
    try:
        yield name
    finally:
        await harness.lakehouse.catalog.drop_view(name)


def broken_sql(column: str, table: str) -> str:
    """Return a query that the guard reads, and whose translation raises in its worker."""
    return f"SELECT {column}, {LONE_SURROGATE} AS odd FROM {table}"


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_a_foreign_view_of_a_type_that_asgard_does_not_have_stops_nothing(
    harness: WarehouseHarness, odd: IcebergType
) -> None:
    base = unique("base")
    await harness.built(base, "SELECT 1 AS a")
    sql = f"SELECT a, NULL AS odd FROM gold.{base}"
    async with foreign_view(harness, sql, {"a": IntegerType(), "odd": odd}) as view:
        run = await harness.built(base, "SELECT 2 AS a, 'more' AS b")
        assert warnings(run) == []
        refused = await harness.build(base, "SELECT 'x' AS a")
    assert refused.failure is not None
    assert f"{view}: Its columns would change" in refused.failure.message
    assert await harness.rows(base) == [{"a": 2, "b": "more"}]


async def test_a_foreign_view_that_cannot_be_translated_is_named(harness: WarehouseHarness) -> None:
    base = unique("base")
    await harness.built(base, "SELECT 1 AS a")
    sql = broken_sql("a", f"gold.{base}")
    async with foreign_view(harness, sql, {"a": IntegerType(), "odd": StringType()}) as view:
        await harness.built(base, "SELECT 2 AS a")
        refused = await harness.build(base, "SELECT 'x' AS a")
    assert refused.failure is not None
    assert refused.failure.cause == "sql_error"
    assert f"{view}: Its SQL cannot be read." in refused.failure.message
    assert await harness.rows(base) == [{"a": 2}]


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_a_table_of_a_version_that_cannot_be_written_is_refused(
    harness: WarehouseHarness, odd: IcebergType
) -> None:
    base = unique("base")

    def create(rest: RestCatalog) -> None:
        schema = Schema(NestedField(1, "odd", odd, required=False))
        rest.create_table(f"gold.{base}", schema, properties={"format-version": "3"})

    await harness.lakehouse.catalog.run(create)
    run = await harness.build(base, "SELECT 1 AS a")
    assert run.failure is not None
    assert f"gold.{base} uses Iceberg format version 3" in run.failure.message
    assert await harness.lakehouse.catalog.drop_table(f"gold.{base}")
    await harness.built(base, "SELECT 1 AS a")


async def test_a_foreign_view_does_not_take_the_output_of_a_spark_run(
    harness: WarehouseHarness, spark: tuple[RunService, SparkRunHandler]
) -> None:
    runs, _ = spark
    table = f"sv_{uuid4().hex[:8]}"
    assert (await overwrite(runs, table, "SELECT 1 AS a")).state is RunState.SUCCEEDED
    odd = foreign_view(harness, f"SELECT * FROM silver.{table}", {"a": UnknownType()})
    sql = broken_sql("a", f"silver.{table}")
    broken = foreign_view(harness, sql, {"a": IntegerType(), "odd": StringType()})
    async with odd as first, broken as second:
        run = await overwrite(runs, table, "SELECT 'x' AS a")
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    assert run.output.rows == 1
    [warning] = warnings(run)
    assert f"{first}: Its columns would change" in warning
    assert f"{second}: Its SQL cannot be read." in warning


async def test_no_error_after_the_commit_takes_the_output_of_a_run(
    harness: WarehouseHarness,
    spark: tuple[RunService, SparkRunHandler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(table: str, before: Sequence[Column]) -> list[str]:
        raise KeyError(table, before)

    runs, driver = spark
    table = f"sv_{uuid4().hex[:8]}"
    assert (await overwrite(runs, table, "SELECT 1 AS a")).state is RunState.SUCCEEDED
    monkeypatch.setattr(harness.engine, "rebuild_views", fail)
    run = await overwrite(runs, table, "SELECT 'x' AS a")
    assert run.state is RunState.SUCCEEDED, run.failure
    assert run.output is not None
    expected = (
        f"silver.{table} was written. The views over it could not be checked: "
        "internal error (KeyError)."
    )
    assert warnings(run) == [expected]
    outcome = await driver.reconcile(run)
    assert outcome is not None
    assert [warned.message for warned in outcome.warnings] == [expected]
