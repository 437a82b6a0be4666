"""The guard lets clients' Trino SQL run or refuses it."""

import time

import pytest

from app.errors import (
    SqlColumnUnnamed,
    SqlFunctionRefused,
    SqlJinja,
    SqlNotParsed,
    SqlNotSelect,
    SqlRefused,
    SqlTableRefused,
    SqlTooLarge,
)
from app.sql.guard import functions
from app.sql.guard.guard import check_query
from app.sql.jinja import check_text
from app.sql.model import GuardedQuery, SqlPolicy, TableName

POLICY = SqlPolicy()


def tables(sql: str, policy: SqlPolicy = POLICY) -> list[str]:
    return [table.qualified for table in check_query(sql, policy).tables]


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT update_time, drop_reason FROM silver.t", ["silver.t"]),
        ("SELECT 'drop table x; delete from y' AS insert_note FROM silver.t", ["silver.t"]),
        ("-- drop table x\nSELECT 1 /* delete */ AS one", []),
        ("\n\n  ((SELECT 1 AS id))  ;", []),
        ("SELECT 1 as id", []),
        ("WITH t AS (SELECT * FROM silver.t) SELECT * FROM t", ["silver.t"]),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b", []),
        ("WITH a AS (SELECT 1) SELECT * FROM (WITH b AS (SELECT * FROM a) SELECT * FROM b) x", []),
        ("WITH A AS (SELECT 1) SELECT * FROM \"a\"", []),
        ("SELECT rank() OVER (PARTITION BY a ORDER BY b) FROM silver.t", ["silver.t"]),
        ("SELECT sum(x) OVER w FROM silver.t WINDOW w AS (ORDER BY y)", ["silver.t"]),
        ("SELECT y FROM silver.t, LATERAL (SELECT a + 1 AS y) l", ["silver.t"]),
        ("SELECT x FROM silver.t CROSS JOIN UNNEST(a) AS u(x)", ["silver.t"]),
        ("SELECT \"Größe in m²\", \"ünï\" AS \"日本\" FROM silver.\"tä b\"", ["silver.tä b"]),
        ("SELECT count, date, map FROM silver.t", ["silver.t"]),
        ("SELECT CASE WHEN a THEN b ELSE c END, TRY_CAST(x AS bigint) FROM silver.t", ["silver.t"]),
        ("SELECT d + INTERVAL '1' DAY FROM silver.t WHERE d > DATE '2020-01-01'", ["silver.t"]),
        ("SELECT a FROM silver.t GROUP BY GROUPING SETS ((a), ()), ROLLUP (b)", ["silver.t"]),
        ("SELECT count(*) FILTER (WHERE x > 1) FROM silver.t", ["silver.t"]),
        ("SELECT a[1], m['k'], r.f FROM silver.t", ["silver.t"]),
        ("SELECT transform(a, x -> x + 1), filter(a, x -> x > 1) FROM silver.t", ["silver.t"]),
        ("SELECT ts AT TIME ZONE 'UTC', CURRENT_TIMESTAMP FROM silver.t", ["silver.t"]),
        ("SELECT listagg(a, ',') WITHIN GROUP (ORDER BY a) FROM silver.t", ["silver.t"]),
        ("SELECT 1 UNION ALL SELECT 2 INTERSECT SELECT 3 EXCEPT SELECT 4", []),
        ("VALUES (1, 'a'), (2, 'b')", []),
        ("TABLE silver.t", ["silver.t"]),
        ("SELECT (SELECT max(x) FROM gold.a) FROM silver.t WHERE y IN (SELECT y FROM gold.b)",
         ["silver.t", "gold.a", "gold.b"]),
        ("SELECT * FROM iceberg.silver.t NATURAL JOIN ICEBERG.GOLD.u", ["silver.t", "gold.u"]),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) "
         "SELECT * FROM t", []),
        ("SELECT * FROM silver.t TABLESAMPLE BERNOULLI (10) FETCH FIRST 3 ROWS ONLY", ["silver.t"]),
    ],
)  # fmt: skip
def test_harmless_queries_pass_and_name_the_tables_they_read(sql: str, read: list[str]) -> None:
    assert sorted(tables(sql)) == sorted(read)


def test_canonical_sql_has_real_schemas_quoted_names_and_no_catalog() -> None:
    policy = SqlPolicy(catalog="lake", silver_schema="s_prod", gold_schema="g_prod")
    guarded = check_query(
        "SELECT silver.T.Order_ID, u.x FROM lake.silver.T JOIN g_prod.u ON true -- c", policy
    )
    assert guarded == GuardedQuery(
        'SELECT "t"."order_id", "u"."x" FROM "s_prod"."t" JOIN "g_prod"."u" ON TRUE',
        (TableName("s_prod", "t"), TableName("g_prod", "u")),
    )


def test_a_decimal_literal_keeps_its_digits() -> None:
    sql = "SELECT DECIMAL '1.25', CAST('1.25' AS DECIMAL)"
    assert check_query(sql, POLICY).sql == (
        "SELECT CAST('1.25' AS DECIMAL(3, 2)), CAST('1.25' AS DECIMAL)"
    )


@pytest.mark.parametrize(
    ("sql", "line", "column"),
    [
        ("SELECT a\n  FROM silver.t\n WHER x = 1", 3, 7),
        ("SELECT FROM WHERE", 1, 13),
        ("SELECT 'abc", 1, 12),
        ("SELECT (1", 1, 9),
        ("SELECT 1_000", 1, 8),
    ],
)
def test_sql_that_does_not_parse_is_refused_with_its_position(
    sql: str, line: int, column: int
) -> None:
    with pytest.raises(SqlNotParsed) as refused:
        check_query(sql, POLICY)
    assert refused.value.members["position"] == {"line": line, "column": column}


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "INSERT INTO silver.t VALUES (1)",
        "UPDATE silver.t SET a = 1",
        "DELETE FROM silver.t",
        "MERGE INTO silver.t USING gold.u ON true WHEN MATCHED THEN DELETE",
        "DROP TABLE silver.t",
        "CREATE TABLE gold.x AS SELECT 1",
        "CREATE VIEW gold.x AS SELECT 1",
        "TRUNCATE TABLE silver.t",
        "ALTER TABLE silver.t ADD COLUMN x int",
        "CALL system.sync_partition_metadata('a')",
        "SHOW TABLES",
        "DESCRIBE silver.t",
        "EXPLAIN ANALYZE SELECT 1",
        "SET SESSION x = 1",
        "USE iceberg.asgard",
        "GRANT SELECT ON silver.t TO x",
        "EXECUTE IMMEDIATE 'select 1'",
        "PREPARE p FROM SELECT 1",
        "COPY silver.t TO '/tmp/x'",
        "ATTACH 'x.db'",
        "PRAGMA version",
        "SELECT 1; DROP TABLE silver.t",
        "SELECT 1; SELECT 2",
        "WITH a AS (INSERT INTO silver.t VALUES (1)) SELECT * FROM a",
        "WITH a AS (DELETE FROM silver.t) SELECT 1",
        "SELECT * FROM (DELETE FROM silver.t)",
        "SELECT * FROM (DROP TABLE silver.t)",
    ],
)
def test_a_statement_other_than_a_select_or_with_a_hidden_write_is_refused(sql: str) -> None:
    with pytest.raises(SqlNotSelect):
        check_query(sql, POLICY)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM t",
        "SELECT * FROM asgard.runs",
        "SELECT * FROM iceberg.asgard.runs",
        "SELECT * FROM asgard_staging.x",
        "SELECT * FROM system.runtime.queries",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM iceberg.information_schema.tables",
        "SELECT * FROM other.silver.t",
        "SELECT * FROM bronze.flights",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'x.csv'",
        'SELECT * FROM "s3://lake/bronze/x"',
        'SELECT * FROM "http://x/y.parquet"',
        'SELECT * FROM silver."t$snapshots"',
        "SELECT * FROM silver.t$files",
        'SELECT * FROM silver."../asgard/runs"',
        "SELECT * FROM a.b.c.d",
        "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a",
        "WITH t AS (SELECT * FROM t) SELECT * FROM t",
        "SELECT (SELECT 1 FROM x) FROM (WITH x AS (SELECT 1) SELECT * FROM x) y",
        "WITH a AS (SELECT 1) SELECT * FROM a.b",
        # A name that only Python's lower case makes the name of the CTE.
        'WITH "/tmp/\u212a.csv" AS (SELECT 1) SELECT * FROM "/tmp/k.csv"',
    ],
)  # fmt: skip
def test_tables_outside_of_silver_and_gold_are_refused(sql: str) -> None:
    with pytest.raises(SqlTableRefused):
        check_query(sql, POLICY)


def test_a_hint_shows_how_to_write_a_name_without_schema() -> None:
    with pytest.raises(SqlTableRefused) as refused:
        check_query("SELECT *\nFROM flights", POLICY)
    assert refused.value.hint == "Write silver.flights or gold.flights."
    assert refused.value.members["position"] == {"line": 2, "column": 6}


@pytest.mark.parametrize(
    ("sql", "name", "column"),
    [
        ("SELECT getenv('HOME')", "getenv", 8),
        ("SELECT \"read_csv\"('x')", "read_csv", 8),
        ("SELECT READ_TEXT('x')", "read_text", 8),
        ("SELECT main.getenv('x')", "getenv", 13),
        ("SELECT system.main.getenv('x')", "getenv", 20),
        ("SELECT * FROM read_parquet('s3://x')", "read_parquet", 15),
        ("SELECT * FROM duckdb_secrets()", "duckdb_secrets", 15),
        ("SELECT * FROM range(5)", "range", 15),
        ("SELECT * FROM TABLE(sequence(1, 5))", "table", 15),
        ("SELECT * FROM LATERAL getvariable('x')", "getvariable", 23),
        ("SELECT a, (SELECT max(current_setting('x'))) FROM silver.t", "current_setting", 23),
        ("SELECT transform(a, x -> getenv(x)) FROM silver.t", "getenv", 26),
        ("SELECT nextval('s') OVER ()", "nextval", 8),
        ("SELECT 1 ORDER BY query('SELECT 1')", "query", 19),
        ("SELECT current_schema", "current_schema", 8),
        ("SELECT version()", "version", 8),
        # sqlglot reads these as functions that are listed.
        ("SELECT JSON_QUERY(a, 'lax $.b') FROM silver.t", "json_query", 22),
        ("SELECT json_query(a, 'lax $.b' WITH WRAPPER) FROM silver.t", "json_query", 22),
        ("SELECT \"json_query\"(a, 'lax $.b') FROM silver.t", "json_query", 24),
        ("SELECT SAFE_CAST(a AS bigint) FROM silver.t", "safe_cast", 8),
        ("SELECT TRY_CONVERT(a, b) FROM silver.t", "try_convert", 8),
    ],
)
def test_functions_that_are_not_listed_are_refused_by_name(
    sql: str, name: str, column: int
) -> None:
    with pytest.raises(SqlFunctionRefused) as refused:
        check_query(sql, POLICY)
    assert refused.value.members["function"] == name
    assert refused.value.members["position"] == {"line": 1, "column": column}


def test_a_misspelt_function_is_refused_with_near_matches() -> None:
    with pytest.raises(SqlFunctionRefused) as refused:
        check_query("SELECT date_dif('day', a, b) FROM silver.t", POLICY)
    assert "date_diff" in refused.value.members["suggested_functions"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ?",
        "SELECT :x",
        "SELECT @x",
        "SELECT * FROM silver.t FOR VERSION AS OF 1",
        "SELECT * FROM silver.t FOR TIMESTAMP AS OF TIMESTAMP '2020-01-01 00:00:00'",
        "SELECT * EXCLUDE (a) FROM silver.t",
        "SELECT DISTINCT ON (a) b FROM silver.t",
        "SELECT * FROM silver.t PIVOT (sum(x) FOR y IN (1, 2))",
        "SELECT a FROM silver.t GROUP BY ALL",
        "SELECT * FROM silver.t FOR UPDATE",
        "WITH FUNCTION f(x int) RETURNS int RETURN x SELECT f(1)",
        "SELECT CAST(a AS foo) FROM silver.t",
        "SELECT a FROM silver.t ASOF JOIN gold.u MATCH_CONDITION (a > b)",
        "SELECT a GLOB 'x' FROM silver.t",
        "SELECT COLUMNS(*) FROM silver.t",
        "SELECT 1 INTO x",
        "SELECT POSITION('a', b, 3) FROM silver.t",
    ],
)
def test_syntax_that_is_not_known_to_be_harmless_is_refused(sql: str) -> None:
    with pytest.raises(SqlRefused):
        check_query(sql, POLICY)


def test_values_pass_wherever_a_query_may_stand() -> None:
    for condition in ("x IN (VALUES 1, 2)", "EXISTS (VALUES 1)", "x = ANY (VALUES 1)"):
        assert tables(f"SELECT x FROM silver.t WHERE {condition}") == ["silver.t"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM LATERAL q",
        "SELECT * FROM LATERAL a.b",
        "SELECT * FROM SELECT a",
        "SELECT * FROM silver.t JOIN SELECT a ON true",
        'sum("a") UNION SELECT 1',
        "SELECT any(1) AS a",
        "SELECT ARRAY(VALUES (1)) AS a",
        "SELECT ARRAY(SELECT 1) AS a",
        "SELECT FROM silver.t",
        "SELECT * FROM silver.t WHERE a IN UNNEST(b)",
    ],
)
def test_a_table_is_read_only_where_the_guard_looks_for_tables(sql: str) -> None:
    with pytest.raises((SqlRefused, SqlNotSelect)):
        check_query(sql, POLICY)


def test_a_parameter_is_only_a_name() -> None:
    assert check_query("SELECT $1 FROM silver.t", POLICY).sql == 'SELECT "$1" FROM "silver"."t"'


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT {{ env_var('AWS_SECRET_ACCESS_KEY') }}", 8),
        ("SELECT 1 {% do x %}", 10),
        ("SELECT 1 -- {# x #}", 13),
        ("SELECT '{{ x }}'", 9),
        ("{% raw %} SELECT 1", 1),
    ],
)
def test_jinja_is_refused_anywhere_in_the_sql(sql: str, column: int) -> None:
    with pytest.raises(SqlJinja) as refused:
        check_query(sql, POLICY)
    assert refused.value.members["position"] == {"line": 1, "column": column}


def test_the_refusal_of_jinja_in_a_text_names_its_field() -> None:
    check_text("a {b} c", "description")
    with pytest.raises(SqlJinja) as refused:
        check_text("fine\nbut {{ x }}", "description")
    assert refused.value.members == {"position": {"line": 2, "column": 5}, "field": "description"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "x" * 300_000,
        "SELECT '" + "é" * 140_000 + "'",
        "SELECT " + "(" * 500 + "1" + ")" * 500,
        "SELECT " + "CASE WHEN a THEN " * 60 + "1" + " END" * 60,
        "SELECT " + "array[" * 40 + "1" + "]" * 40,
        "SELECT " + "row(" * 40 + "1" + ")" * 40,
        "SELECT " + "NOT " * 20_000 + "true",
        "SELECT " + "- " * 20_000 + "1",
        "SELECT a" + "::int" * 20_000,
        "SELECT a" + ".b" * 20_000,
        "SELECT a" + "[1]" * 20_000,
        "SELECT * FROM " + "(SELECT * FROM " * 200 + "silver.t" + ")" * 200,
    ],
)
def test_sql_that_is_too_long_or_too_deep_is_refused_at_once(sql: str) -> None:
    started = time.process_time()
    with pytest.raises(SqlTooLarge):
        check_query(sql, POLICY)
    assert time.process_time() - started < 1


@pytest.mark.thorough
def test_long_flat_queries_pass() -> None:
    conditions = " OR ".join(f"t.a = {number}" for number in range(400))
    values = ", ".join(str(number) for number in range(5_000))
    sql = f"SELECT a FROM silver.t WHERE ({conditions}) AND b IN ({values})"
    assert tables(sql) == ["silver.t"]


@pytest.mark.thorough
def test_every_function_of_duckdb_that_is_not_listed_is_refused() -> None:
    import duckdb

    with duckdb.connect() as connection:
        names = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions()")
        existing = {name for (name,) in names.fetchall()}
    unlisted = sorted(existing - functions.TRINO)
    assert len(unlisted) > 400
    for name in unlisted:
        quoted = '"' + name + '"'
        calls = [f"SELECT {quoted}('x')", f"SELECT main.{quoted}()", f"SELECT * FROM {quoted}('x')"]
        if name.isidentifier():  # not an operator, which cannot be called without quotes
            calls += [f"SELECT {name}()", f"SELECT {name}('x', 1)", f"SELECT * FROM {name}()"]
        for sql in calls:
            with pytest.raises(SqlRefused):
                check_query(sql, POLICY)


def test_a_function_in_from_is_refused_even_if_it_is_listed() -> None:
    for name in sorted(functions.TRINO - {"unnest"}):
        with pytest.raises(SqlRefused):
            check_query(f"SELECT * FROM {name}('x')", POLICY)


@pytest.mark.parametrize(
    ("sql", "number", "column"),
    [
        ("SELECT 1, 2", 1, 8),
        ("SELECT a, b, t.c, r.f.g, (a), 2 FROM silver.t", 6, 31),
        ("SELECT a, count(*) FROM silver.t GROUP BY a", 2, 11),
        ("SELECT a, CAST(b AS bigint) FROM silver.t", 2, 16),
        ("SELECT 1 AS a, date '2020-01-01' + interval '1' day", 2, 21),
        ("SELECT 1 UNION ALL SELECT 2 AS a", 1, 8),
        ("VALUES (1, 'a')", 1, 9),
        ("SELECT * FROM (SELECT 1)", 1, 23),
        ("SELECT a, x.* FROM silver.t, (SELECT max(a)) x", 2, 38),
        ("WITH x AS (SELECT max(a) FROM silver.t) SELECT * FROM x", 1, 19),
        ("SELECT * FROM UNNEST(ARRAY[1])", 1, 28),
    ],
)
def test_the_first_column_without_a_name_is_reported(sql: str, number: int, column: int) -> None:
    query = check_query(sql, POLICY)
    assert query.unnamed == {"column": number, "position": {"line": 1, "column": column}}
    with pytest.raises(SqlColumnUnnamed, match=f"Column {number} "):
        query.require_names()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a, t.b, (c), r.f.g, 1 AS one, count(*) AS n FROM silver.t",
        "SELECT * FROM silver.t",
        "SELECT t.* FROM silver.t, (SELECT a + 1) x",
        "SELECT * FROM (SELECT 1) AS x(a)",
        "WITH x(a) AS (SELECT 1) SELECT * FROM x",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
        "SELECT a AS b FROM silver.t UNION SELECT 2",
        "SELECT a FROM silver.t WHERE a IN (SELECT max(a) FROM silver.t)",
        "SELECT * FROM (VALUES (1, 2)) AS v(a, b)",
        "SELECT * FROM UNNEST(ARRAY[1]) AS t(a)",
        "TABLE silver.t",
        "(SELECT 1 AS a)",
    ],
)
def test_a_query_that_names_every_column_has_no_unnamed_column(sql: str) -> None:
    query = check_query(sql, POLICY)
    assert query.unnamed is None
    query.require_names()


@pytest.mark.parametrize(
    ("sql", "column"),
    [
        ("SELECT 1 AS a,,2 AS b", 14),
        ("SELECT 1 AS a, FROM silver.t", 14),
        ("SELECT 1 AS a,", 14),
        ("SELECT , 1 AS a", 8),
        ("SELECT DISTINCT , a FROM silver.t", 17),
        ("SELECT coalesce(a,,b) AS a FROM silver.t", 18),
        ("SELECT coalesce(a,) AS a FROM silver.t", 18),
        ("SELECT ARRAY[1,] AS a", 15),
        ("SELECT a FROM silver.t GROUP BY a,, b", 34),
    ],
)
def test_missing_list_items_are_refused(sql: str, column: int) -> None:
    with pytest.raises(SqlNotParsed) as refused:
        check_query(sql, POLICY)
    assert refused.value.members["position"] == {"line": 1, "column": column}
