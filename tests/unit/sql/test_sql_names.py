"""On DuckDB, names are found where Trino finds them: aliases, and the columns of USING."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from app.errors import NotSupported
from app.sql.guard.guard import check_query
from app.sql.model import SqlPolicy
from app.sql.rewrite import to_duckdb

POLICY = SqlPolicy()
ROWS = (
    "WITH t AS (SELECT * FROM (VALUES (1, 7), (2, 5), (1, 8)) AS v (id, m)), "
    "u AS (SELECT * FROM (VALUES (1, 9), (7, 5), (9, 1)) AS v (id, v)), "
    "a AS (SELECT * FROM (VALUES (10, 1)) AS v (x, id)), "
    "b AS (SELECT * FROM (VALUES (1, 20)) AS v (id, y)), "
    "c AS (SELECT * FROM (VALUES (30, 20)) AS v (z, y)) "
)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def translated(query: str) -> str:
    return to_duckdb(check_query(ROWS + query, POLICY).sql, POLICY)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT -id AS id FROM t ORDER BY id + 0 LIMIT 1", [(-2,)]),
        ("SELECT -id AS id FROM t ORDER BY t.id + 0 LIMIT 1", [(-1,)]),
        ("SELECT -id AS id FROM t ORDER BY id LIMIT 1", [(-2,)]),
        ("SELECT -id AS n FROM t ORDER BY n + 0 LIMIT 1", [(-2,)]),
        ("SELECT id * 0 AS id, sum(m) AS s FROM t GROUP BY id ORDER BY s", [(0, 5), (0, 15)]),
        ("SELECT -id AS id FROM t WHERE id > 1", [(-2,)]),
        ("SELECT m, (SELECT u.v AS m FROM u WHERE u.id = m) AS r FROM t ORDER BY m",
         [(5, None), (7, 5), (8, None)]),
        ("SELECT m, (SELECT max(u.v) AS m FROM u GROUP BY u.id HAVING u.id = m) AS r FROM t "
         "WHERE m = 7", [(7, 5)]),
        ("SELECT m, (SELECT q FROM (SELECT 0 AS m, m AS q) AS s) AS r FROM t WHERE m = 5",
         [(5, 5)]),
        ("SELECT *, -id AS id FROM t WHERE id > 1", [(2, 5, -2)]),
        ("SELECT id FROM (SELECT id + 1 AS id FROM t WHERE id > 1 UNION ALL "
         "SELECT id * 5 AS id FROM t WHERE id > 1) AS s ORDER BY id", [(3,), (10,)]),
        ("SELECT n FROM (SELECT id AS n FROM t UNION SELECT n + 0 AS n FROM (SELECT 3 AS n) AS s) "
         "AS r ORDER BY n", [(1,), (2,), (3,)]),
    ],
)  # fmt: skip
def test_only_order_by_sees_aliases_and_there_they_win(
    query: str, rows: list[Any], engine: duckdb.DuckDBPyConnection
) -> None:
    assert engine.execute(translated(query)).fetchall() == rows


def test_columns_keep_the_names_that_were_written(engine: duckdb.DuckDBPyConnection) -> None:
    result = engine.execute(translated('SELECT -id AS id, m AS "n m" FROM t ORDER BY abs(id)'))
    assert [column[0] for column in result.description] == ["id", "n m"]


def test_an_alias_is_not_a_column_outside_of_order_by(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(duckdb.BinderException, match='"n" not found'):
        engine.execute(translated("SELECT id + 1 AS n FROM t WHERE n > 1"))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT * FROM a JOIN b USING (id)", [(1, 10, 20)]),
        ("SELECT * FROM a JOIN b USING (id) UNION ALL SELECT 1, 2, 3", [(1, 10, 20), (1, 2, 3)]),
        ("SELECT a.*, b.* FROM a JOIN b USING (id)", [(10, 20)]),
        ("SELECT * FROM a JOIN b USING (id) JOIN c USING (y)", [(20, 1, 10, 30)]),
        ("SELECT * FROM a JOIN b USING (id) JOIN c ON c.y = b.y", [(1, 10, 20, 30, 20)]),
        ("SELECT * FROM c, b AS d", [(30, 20, 1, 20)]),
        ("SELECT * FROM a FULL JOIN (SELECT 5 AS id, 6 AS q) AS d USING (id) ORDER BY id",
         [(1, 10, None), (5, None, 6)]),
        ("SELECT * FROM a RIGHT JOIN (SELECT 5 AS id, 6 AS q) AS d USING (id)", [(5, None, 6)]),
        ("SELECT id, x FROM a JOIN b USING (id)", [(1, 10)]),
    ],
)  # fmt: skip
def test_the_columns_of_using_come_first_and_once(
    query: str, rows: list[Any], engine: duckdb.DuckDBPyConnection
) -> None:
    assert engine.execute(translated(query)).fetchall() == rows


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.* FROM a JOIN b USING (id) JOIN c USING (y)",
        "SELECT * FROM c, a JOIN b USING (id)",
        "SELECT * FROM a JOIN c ON true JOIN b USING (id)",
    ],
)
def test_a_star_whose_columns_are_not_known_after_using_is_refused(query: str) -> None:
    with pytest.raises(NotSupported, match="USING"):
        translated(query)
