"""Positions that engines report become positions in the caller's text."""

import pytest

from app.sql.error_positions import source_position
from app.sql.guard.guard import check_query
from app.sql.line_columns import offset_at, within
from app.sql.model import SqlPolicy
from app.sql.parse import TrinoSql

POLICY = SqlPolicy()


@pytest.mark.parametrize(
    "source",
    [
        "SELECT a, ¤b FROM silver.t",
        "select\n\ta,\n  /* b */ ¤B -- b\nfrom SILVER.T",
        "SELECT b, a, ¤b FROM silver.t",
        "SELECT 'b' AS x, ¤b FROM silver.t WHERE x = 'b'",
        'SELECT ¤"b" FROM silver.t',
        "WITH b2 AS (SELECT 1 AS n) SELECT b2.n, t.¤b FROM b2, silver.t AS t",
    ],
)
def test_a_name_is_found_where_the_caller_wrote_it(source: str) -> None:
    expected = source.index("¤")
    source = source.replace("¤", "")
    engine_sql = check_query(source, POLICY).sql
    column = engine_sql.rindex('"b"') + 1
    position = source_position(
        engine_sql, TrinoSql, {"line": 1, "column": column}, source, TrinoSql
    )
    assert position is not None
    assert offset_at(source, position) == expected


def test_a_word_that_the_caller_did_not_write_has_the_position_of_the_word_before_it() -> None:
    source = "SELECT\n x::bigint FROM silver.t"
    engine_sql = check_query(source, POLICY).sql
    at = {"line": 1, "column": engine_sql.index("CAST") + 1}
    assert source_position(engine_sql, TrinoSql, at, source, TrinoSql) == {"line": 1, "column": 1}


def test_a_source_that_cannot_be_tokenized_has_no_position() -> None:
    assert (
        source_position("SELECT 1 AS one", TrinoSql, {"line": 1, "column": 8}, "'", TrinoSql)
        is None
    )


def test_a_position_in_a_statement_becomes_one_in_the_query_that_it_contains() -> None:
    query = "SELECT a\nFROM t"
    statement = f"SELECT * FROM (\n{query}\n) AS query LIMIT 0"
    assert within(statement, query, {"line": 2, "column": 8}) == {"line": 1, "column": 8}
    assert within(statement, query, {"line": 3, "column": 6}) == {"line": 2, "column": 6}
    assert within(statement, query, {"line": 1, "column": 8}) is None
    assert within("SELECT 1", query, {"line": 1, "column": 8}) is None
