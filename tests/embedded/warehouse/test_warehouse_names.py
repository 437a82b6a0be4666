"""A name without a column is a missing column, even if DuckDB has a function with that name."""

import asyncio

import duckdb
import pytest

from app.errors import AsgardError, SqlFunctionRefused, SqlInvalid
from app.sql.duckdb.virtual_columns import VIRTUAL_COLUMNS
from app.warehouse.duckdb.column_names import FALLBACKS
from app.warehouse.duckdb.session import EXTENSIONS, extension_file
from tests.harnesses.warehouse import WarehouseHarness, unique

OTHERS = {"current_path", "localtime", "localtimestamp", "snapshot_id", "ctid", "oid"}
NAMES = sorted({*FALLBACKS, *VIRTUAL_COLUMNS})
PLACES = (
    "SELECT {0} AS a FROM silver.wh_numbers",
    "SELECT n FROM silver.wh_numbers WHERE {0} IS NOT NULL",
    "SELECT n FROM silver.wh_numbers ORDER BY {0}",
    "SELECT count(*) AS c FROM silver.wh_numbers GROUP BY {0}",
    "SELECT count(*) AS c FROM silver.wh_numbers HAVING max({0}) IS NULL",
    "SELECT a.n FROM silver.wh_numbers a JOIN silver.wh_numbers b ON a.n = b.n AND {0} IS NULL",
    "SELECT a.n FROM silver.wh_numbers a JOIN silver.wh_numbers b USING ({0})",
    "WITH w AS (SELECT {0} AS a FROM silver.wh_numbers) SELECT a FROM w",
    "SELECT (SELECT max({0}) FROM silver.wh_numbers) AS a",
    "SELECT row_number() OVER (ORDER BY {0}) AS a FROM silver.wh_numbers",
)


def read_as_functions() -> set[str]:
    """Return every name that this version of DuckDB reads as a call, of all names that it has."""
    connection = duckdb.connect()
    for name in EXTENSIONS:
        connection.load_extension(str(extension_file(name)))
    query = "SELECT keyword_name FROM duckdb_keywords()"
    query += " UNION SELECT function_name FROM duckdb_functions()"
    names = {name for (name,) in connection.execute(query).fetchall()} | set(FALLBACKS) | OTHERS
    return {name for name in names if _binds(connection, f'SELECT "{name}"')}


def _binds(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        connection.execute(sql.replace('""', '"'))
    except duckdb.Error:
        return False
    return True


async def refusal(harness: WarehouseHarness, sql: str) -> AsgardError | None:
    try:
        await harness.engine.validate(await harness.sql_guard.check_query(sql))
    except AsgardError as error:
        return error
    return None


async def test_every_name_that_duckdb_reads_as_a_function_is_a_missing_column(
    harness: WarehouseHarness,
) -> None:
    names = await asyncio.to_thread(read_as_functions)
    assert {"current_user", "user", "current_date", "localtime"} <= names
    for name in sorted(names | set(FALLBACKS)):
        for sql in (f'SELECT "{name}" AS a', f'SELECT "{name.upper()}" AS a'):
            refused = await refusal(harness, sql)
            assert isinstance(refused, SqlInvalid), (sql, refused)
            assert refused.detail == f'There is no column "{name}".'


@pytest.mark.parametrize("place", PLACES)
async def test_such_a_name_is_a_missing_column_in_any_place(
    harness: WarehouseHarness, place: str
) -> None:
    for name in NAMES:
        refused = await refusal(harness, place.format(f'"{name}"'))
        assert isinstance(refused, SqlInvalid), (name, refused)
        assert name in refused.detail


async def test_columns_that_duckdb_adds_are_missing_even_with_the_table_name(
    harness: WarehouseHarness,
) -> None:
    for name in NAMES:
        for sql in (
            f'SELECT wh_numbers."{name}" AS a FROM silver.wh_numbers',
            f'SELECT silver.wh_numbers."{name}" AS a FROM silver.wh_numbers',
            f'SELECT x."{name}" AS a FROM silver.wh_numbers AS x',
        ):
            assert isinstance(await refusal(harness, sql), SqlInvalid), sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT wh_numbers AS a FROM silver.wh_numbers",
        "SELECT t AS a, t.n FROM silver.wh_numbers AS t",
        "SELECT count(t) AS a FROM silver.wh_numbers AS t",
        "WITH w AS (SELECT 1 AS n) SELECT w AS a, w.n FROM w",
        "SELECT s AS a FROM (SELECT 1 AS n) AS s",
        "SELECT v AS a FROM (VALUES (1, 2)) AS v (n, m)",
        "SELECT a.n FROM silver.wh_numbers a JOIN silver.wh_numbers b ON a.n = b.n ORDER BY b",
        "SELECT (SELECT max(i.n) FROM silver.wh_numbers i WHERE o IS NULL) AS a "
        "FROM silver.wh_numbers o",
    ],
)
async def test_a_table_name_is_not_a_column(harness: WarehouseHarness, sql: str) -> None:
    assert isinstance(await refusal(harness, sql), SqlInvalid)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT n AS a FROM (SELECT 1 AS n) AS n WHERE n.n = 1", 1),
        ("WITH n AS (SELECT 2 AS n) SELECT n.n AS a FROM n WHERE n > 1 ORDER BY n", 2),
        (
            "SELECT t.n AS a FROM (SELECT 3 AS n) t WHERE transform(ARRAY[t.n], t -> t + 1)[1] = 4",
            3,
        ),
        ("SELECT (SELECT max(o.o) FROM (VALUES 1) AS i (x)) AS a FROM (SELECT 5 AS o) o", 5),
        ("SELECT u AS a FROM UNNEST(ARRAY[6]) AS u (u)", 6),
    ],
)
async def test_a_column_may_be_named_as_its_table(
    harness: WarehouseHarness, sql: str, value: int
) -> None:
    name = unique("same")
    await harness.built(name, sql)
    assert [row["a"] for row in await harness.rows(name)] == [value]


async def test_user_without_quotes_is_a_column_as_well(harness: WarehouseHarness) -> None:
    for name in ("user", "USER", "filename", "rowid"):
        assert isinstance(await refusal(harness, f"SELECT {name} AS a"), SqlInvalid)
    for name in ("current_user", "current_role", "current_catalog", "current_schema"):
        assert isinstance(await refusal(harness, f"SELECT {name} AS a"), SqlFunctionRefused)


@pytest.fixture(scope="module")
async def table(harness: WarehouseHarness) -> str:
    """Create a table with a column for each of the names, whose value is the name."""
    name = unique("names")
    columns = ", ".join(f"'{column}' AS \"{column}\"" for column in NAMES)
    await harness.built(name, f"SELECT {columns}")
    return name


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT "{0}" AS a FROM gold.{1}',
        'SELECT t."{0}" AS a FROM gold.{1} AS t',
        'SELECT {1}."{0}" AS a FROM gold.{1}',
        'SELECT gold.{1}."{0}" AS a FROM gold.{1}',
        'SELECT "{0}" AS a FROM (SELECT "{0}" FROM gold.{1})',
        'WITH w AS (SELECT * FROM gold.{1}) SELECT "{0}" AS a FROM w',
        'WITH w ("{0}") AS (VALUES \'{0}\') SELECT "{0}" AS a FROM w',
        'SELECT x."{0}" AS a FROM gold.{1} x JOIN gold.{1} y ON x."{0}" = y."{0}"',
        'SELECT "{0}" AS a FROM gold.{1} x JOIN gold.{1} y USING ("{0}")',
        'SELECT "{0}" AS a FROM gold.{1} GROUP BY "{0}" ORDER BY "{0}"',
        'SELECT max("{0}") AS a FROM gold.{1} HAVING max("{0}") = \'{0}\'',
        'SELECT (SELECT max(o."{0}") FROM silver.wh_numbers WHERE n = 1) AS a FROM gold.{1} o',
        'SELECT a FROM (SELECT "{0}" AS a, \'x\' AS "{0}" FROM gold.{1}) ORDER BY "{0}"',
        'SELECT "{0}" AS a FROM UNNEST(ARRAY[\'{0}\']) AS u ("{0}")',
        'SELECT transform(ARRAY[\'{0}\'], "{0}" -> "{0}")[1] AS a',
    ],
)
async def test_a_real_column_of_such_a_name_works(
    harness: WarehouseHarness, table: str, sql: str
) -> None:
    """Put all names in one model: one statement for each would take a minute."""
    every = " UNION ALL ".join(f"({sql.format(name, table)})" for name in NAMES)
    name = unique("read")
    await harness.built(name, every)
    assert [row["a"] for row in await harness.rows(name)] == NAMES


async def test_a_column_of_an_outer_query_with_such_a_name_needs_its_table(
    harness: WarehouseHarness, table: str
) -> None:
    sql = f"SELECT (SELECT {{}} FROM silver.wh_numbers WHERE n = 1) AS a FROM gold.{table} o"
    refused = await refusal(harness, sql.format('"current_user"'))
    assert isinstance(refused, SqlInvalid)
    assert refused.hint == "If an outer query has this column, write it with the name of its table."
    assert await refusal(harness, sql.format('o."current_user"')) is None


async def test_a_function_without_parentheses_is_a_function_where_a_column_has_its_name(
    harness: WarehouseHarness, table: str
) -> None:
    name = unique("called")
    sql = "SELECT current_date AS d, current_timestamp AS t, localtimestamp AS l, localtime AS c"
    await harness.built(name, f"{sql} FROM gold.{table}")
    assert await harness.types(name) == {
        "d": "date",
        "t": "timestamp(6) with time zone",
        "l": "timestamp(6)",
        "c": "time(6)",
    }
