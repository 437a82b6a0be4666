"""Positions of engines, told in the text of the caller."""

import pytest

from app.sql.error_positions import place
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
    wanted = source.index("¤")
    source = source.replace("¤", "")
    given = check_query(source, POLICY).sql
    column = given.rindex('"b"') + 1
    found = place(given, TrinoSql, {"line": 1, "column": column}, source, TrinoSql)
    assert found is not None
    assert offset_at(source, found) == wanted


def test_a_word_that_the_caller_did_not_write_is_placed_at_the_one_before() -> None:
    source = "SELECT\n x::bigint FROM silver.t"
    given = check_query(source, POLICY).sql
    at = {"line": 1, "column": given.index("CAST") + 1}
    assert place(given, TrinoSql, at, source, TrinoSql) == {"line": 1, "column": 1}


def test_a_text_of_another_kind_has_no_position() -> None:
    assert place("SELECT 1 AS one", TrinoSql, {"line": 1, "column": 8}, "'", TrinoSql) is None


def test_a_position_in_a_statement_is_one_in_the_query_that_it_holds() -> None:
    query = "SELECT a\nFROM t"
    statement = f"SELECT * FROM (\n{query}\n) AS query LIMIT 0"
    assert within(statement, query, {"line": 2, "column": 8}) == {"line": 1, "column": 8}
    assert within(statement, query, {"line": 3, "column": 6}) == {"line": 2, "column": 6}
    assert within(statement, query, {"line": 1, "column": 8}) is None
    assert within("SELECT 1", query, {"line": 1, "column": 8}) is None
