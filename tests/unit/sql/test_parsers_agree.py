"""DuckDB's parser reads no table that the guard has not seen, whatever the text is."""

import json
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import duckdb
import pytest

from app.sql.guard.guard import check_query
from app.sql.model import SqlPolicy
from app.sql.rewrite import to_duckdb
from tests.sql_mutations import SEED, mutations

POLICY = SqlPolicy()
TEXTS = 3_000
VALID = (
    "SELECT a, sum(b) AS s FROM silver.t GROUP BY a ORDER BY 2 LIMIT 3",
    "WITH x AS (SELECT a FROM silver.t), y AS (SELECT * FROM x) SELECT * FROM y, gold.u",
    "WITH RECURSIVE r (n) AS (VALUES 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "SELECT * FROM silver.t CROSS JOIN UNNEST(a) WITH ORDINALITY AS u (x, n)",
    "SELECT y FROM silver.t, LATERAL (SELECT a + 1 AS y) l",
    "SELECT (SELECT max(x) AS m FROM gold.a) AS m FROM silver.t WHERE y IN (SELECT y FROM gold.b)",
    "SELECT a FROM silver.t UNION ALL (SELECT b FROM gold.u EXCEPT SELECT 1)",
    "SELECT a FROM silver.t WHERE EXISTS (SELECT 1 FROM gold.u WHERE u.b = t.a)",
    "SELECT a > ALL (VALUES 1, 2) AS c, transform(a, x -> x + 1) AS d FROM silver.t",
    "SELECT rank() OVER (PARTITION BY a ORDER BY b) AS r FROM silver.t TABLESAMPLE BERNOULLI (1)",
    "SELECT count(*) FILTER (WHERE a > 1) AS c FROM (silver.t JOIN gold.u USING (id))",
    "SELECT * FROM (VALUES (1, 2), (3, 4)) AS v (x, y)",
    "SELECT CASE WHEN a THEN 'x' ELSE CAST(b AS varchar) END AS c FROM silver.t",
)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def read_by_duckdb(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str] | None:
    """Return the tables that DuckDB would read, or None if it cannot parse the text."""
    [[text]] = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    document = json.loads(text)
    if document["error"]:
        return None
    found: set[str] = set()
    for node in nodes(document):
        if node.get("type") == "BASE_TABLE":
            parts = (node["catalog_name"], node["schema_name"], node["table_name"])
            found.add(".".join(filter(None, parts)))
        elif node.get("type") == "TABLE_FUNCTION":
            found.add(f"{node['function']['function_name']}()")
    return found


@pytest.mark.thorough
def test_duckdb_reads_the_tables_that_the_guard_has_seen() -> None:
    print(f"ASGARD_SQL_SEED={SEED}")
    accepted = 0
    with duckdb.connect(":memory:") as connection:
        for sql in islice(mutations(VALID, Random(SEED)), TEXTS):
            try:
                query = check_query(sql, POLICY)
                text = to_duckdb(query.sql, POLICY)
            except Exception:  # noqa: BLE001, S112 - sqlglot raises any; the guard's worker refuses then
                continue
            read = read_by_duckdb(connection, text)
            if read is None:
                continue
            accepted += 1
            allowed = {f"iceberg.{table.qualified}" for table in query.tables} | {"unnest()"}
            others = {name for name in read - allowed if not name.startswith("asgard_cte_")}
            assert not others, f"{sql}\n{text}"
    assert accepted > TEXTS / 50
