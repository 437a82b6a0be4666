"""Spark's parser reads no table that the guard has not seen, whatever the text is."""

from itertools import islice
from random import Random

import pytest

from app.sql.guard.functions import SPARK_TABLE_FUNCTIONS
from app.sql.guard.guard import check_script
from app.sql.model import SqlPolicy
from app.sql.rewrite import bound
from tests.integration.dialects.answers import asked_of_spark
from tests.sql_mutations import SEED, mutations

POLICY = SqlPolicy()
SOURCE = "asgard_source"
TEXTS = 12_000
VALID = (
    "SELECT a, sum(b) AS s FROM silver.t GROUP BY a ORDER BY 2 LIMIT 3",
    "WITH x AS (SELECT a FROM silver.t), y AS (SELECT * FROM x) SELECT * FROM y JOIN gold.u",
    "CREATE TEMP VIEW v AS SELECT * FROM parquet.`flights`; SELECT * FROM v",
    "SELECT * FROM source_data s JOIN json.`users` u ON s.a = u.a",
    "SELECT * FROM silver.t LATERAL VIEW explode(a) x AS y",
    "SELECT x.col FROM silver.t, LATERAL explode(a) AS x",
    "SELECT y FROM silver.t, LATERAL (SELECT a + 1 AS y) l",
    "SELECT * FROM VALUES (1, 2), (3, 4) AS t (a, b)",
    "SELECT * FROM range(3) r CROSS JOIN explode(array(1, 2)) e",
    "SELECT (SELECT max(x) FROM gold.a) AS m FROM silver.t WHERE y IN (SELECT y FROM gold.b)",
    "SELECT a FROM silver.t UNION ALL (SELECT b FROM gold.u EXCEPT SELECT 1)",
    "SELECT a FROM silver.t WHERE EXISTS (SELECT 1 FROM gold.u WHERE u.b = t.a)",
    "SELECT * FROM (SELECT a, b, c FROM silver.t) PIVOT (sum(a) FOR b IN (1, 2))",
    "SELECT rank() OVER (PARTITION BY a ORDER BY b) AS r FROM silver.t TABLESAMPLE (10 PERCENT)",
    "SELECT * FROM VALUES (a), (b.c), (d) t",
    "SELECT * FROM silver.t JOIN VALUES (1, 2), (b.c, 3) AS v (x, y) ON true",
    "CREATE TEMP VIEW any AS SELECT 1 AS one; SELECT z.* FROM VALUES (1), (any(d)) z",
)


def accepted() -> list[tuple[str, str, frozenset[str]]]:
    """Return texts that the guard accepts: as they were, a statement for Spark, and what it may
    read."""
    found: list[tuple[str, str, frozenset[str]]] = []
    for sql in islice(mutations(VALID, Random(SEED), ("source_data", "v", "json.`x`")), TEXTS):
        try:
            script = bound(check_script(sql, POLICY, True), SOURCE, "iceberg", POLICY)
        except Exception:  # noqa: BLE001, S112 - sqlglot raises any; the guard's worker refuses then
            continue
        tables = {f"iceberg.{table.qualified}" for table in script.tables}
        views = {name for name, _ in script.views} | {name for _, name in script.paths}
        functions = {f"{name}()" for name in SPARK_TABLE_FUNCTIONS}
        allowed = frozenset({SOURCE} | tables | views | functions)
        found += [(sql, text, allowed) for text in (*(t for _, t in script.views), script.select)]
    return found


@pytest.mark.timeout(600)
def test_spark_reads_the_tables_that_the_guard_has_seen(
    spark_environment: dict[str, str],
) -> None:
    print(f"ASGARD_SQL_SEED={SEED}")
    texts = accepted()
    parsed = 0
    answers = asked_of_spark("spark_tables", [text for _, text, _ in texts], spark_environment)
    for (sql, text, allowed), names in zip(texts, answers, strict=True):
        parsed += names is not None
        others = {name for name in names or () if not name.startswith("asgard_cte_")} - allowed
        assert not others, f"{sql}\n{text}"
    assert parsed > TEXTS / 50
