"""A table holds only rows with named fields. Others are refused with the same text as on Trino."""

import pytest

from app.errors import SqlInvalid
from app.warehouse.trino import columns
from tests.harnesses.warehouse import WarehouseHarness, unique

HINT = "Name the fields of rows, for example: CAST(ROW(1) AS ROW(id integer))."


async def refused(harness: WarehouseHarness, sql: str) -> SqlInvalid:
    with pytest.raises(SqlInvalid) as refusal:
        await harness.engine.validate(await harness.sql_guard.check_query(sql))
    return refusal.value


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ROW(1)", "row(integer)"),
        ("ROW(1, 'x')", "row(integer, varchar)"),
        ("(1, 'x')", "row(integer, varchar)"),
        ("ARRAY[ROW(1)]", "row(integer)"),
        ("map(ARRAY['k'], ARRAY[ROW(true)])", "row(boolean)"),
        ("ROW(ROW(1))", "row(integer)"),
    ],
)
async def test_a_row_without_names_is_refused_clearly(harness, value, kind) -> None:
    refusal = await refused(harness, f"SELECT {value} AS a")
    expected = f"Column 'a' has the type {kind}, which an Iceberg table cannot hold."
    assert refusal.detail == expected
    assert refusal.hint == HINT
    with pytest.raises(SqlInvalid) as on_trino:
        columns.describe(f"SELECT {value} AS a", ["a"], [kind])
    assert (on_trino.value.detail, on_trino.value.hint) == (refusal.detail, refusal.hint)


async def test_a_field_of_a_row_without_names_is_refused_clearly(harness) -> None:
    refusal = await refused(harness, "SELECT ROW(1).field0 AS a")
    expected = "The query reads a field by its name from a row whose fields have no names."
    assert refusal.detail == expected


async def test_a_model_with_such_a_row_fails_with_the_same_text(harness) -> None:
    run = await harness.build(unique("rows"), "SELECT ROW(1) AS a")
    assert "has the type row(integer), which an Iceberg table cannot hold" in run.failure.message


async def test_a_query_may_use_any_row_and_a_table_holds_named_ones(harness) -> None:
    name = unique("rows")
    sql = "SELECT CAST(ROW(1, 'x') AS ROW(id integer, name varchar)) AS a, ROW(1)[1] AS b"
    await harness.built(name, sql)
    assert await harness.rows(name) == [{"a": {"id": 1, "name": "x"}, "b": 1}]
