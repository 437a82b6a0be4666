"""The guard checks clients' Spark SQL and binds it to what it reads."""

import pytest

from app.errors import SqlFunctionRefused, SqlNotSelect, SqlRefused, SqlTableRefused
from app.sql.guard import functions
from app.sql.guard.guard import check_script
from app.sql.model import BoundScript, GuardedScript, PathTable, SqlPolicy, TableName
from app.sql.rewrite import bind_script, bound

POLICY = SqlPolicy(silver_schema="s_prod", allowed_prefixes=("bronze/", "raw/eu/"))


def check(sql: str, has_source_path: bool = True) -> GuardedScript:
    return check_script(sql, POLICY, has_source_path)


def test_a_script_reads_views_paths_its_source_and_tables() -> None:
    script = check("""
        CREATE OR REPLACE TEMPORARY VIEW v AS SELECT * FROM parquet.`flights/`;
        CREATE TEMP VIEW w (a, b) AS SELECT carrier, 1 FROM v;
        WITH c AS (SELECT * FROM w)
        SELECT /*+ BROADCAST(c) */ c.a, s.x, silver.t.y
        FROM c JOIN source_data s ON true JOIN silver.t ON true JOIN json.`s3a://lake/raw/eu/x`
    """)
    assert script.tables == (TableName("s_prod", "t"),)
    assert script.paths == (
        PathTable("parquet", "bronze/flights"),
        PathTable("json", "raw/eu/x"),
    )
    assert script.reads_source
    assert [name for name, _ in script.views] == ["v", "w"]
    views, select = bind_script(
        script,
        {script.paths[0]: "path_1", script.paths[1]: "path_2"},
        "the_source",
        "iceberg",
        POLICY,
    )
    assert views == (
        ("v", "SELECT * FROM `path_1`"),
        ("w", "SELECT * FROM (SELECT `carrier`, 1 FROM `v`) AS `w`(`a`, `b`)"),
    )
    assert select == (
        "WITH `asgard_cte_0` AS (SELECT * FROM `w`) "
        "SELECT `c`.`a`, `s`.`x`, `t`.`y` FROM `asgard_cte_0` AS `c` "
        "JOIN `the_source` AS `s` ON TRUE JOIN `iceberg`.`s_prod`.`t` ON TRUE JOIN `path_2` "
        "ON TRUE"
    )


def test_a_path_called_source_is_the_source_path_when_there_is_one() -> None:
    assert check("SELECT * FROM parquet.`source`").reads_source
    script = check("SELECT * FROM parquet.`source`", has_source_path=False)
    assert script.paths == (PathTable("parquet", "bronze/source"),)
    assert not script.reads_source


def test_the_source_without_a_source_path_is_refused_with_a_hint() -> None:
    with pytest.raises(SqlTableRefused, match="no source_path"):
        check("SELECT * FROM source", has_source_path=False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM csv.`/etc/passwd`",
        "SELECT * FROM csv.`file:///etc/passwd`",
        "SELECT * FROM json.`http://example.com/x`",
        "SELECT * FROM parquet.`hdfs://x/y`",
        "SELECT * FROM parquet.`s3://other/bronze/x`",
        "SELECT * FROM parquet.`s3://lake/asgard/runs`",
        "SELECT * FROM parquet.`../asgard/runs`",
        "SELECT * FROM parquet.`s3a://lake/bronze/%2e%2e/asgard`",
        "SELECT * FROM parquet.`x/*`",
        "SELECT * FROM text.`x`",
        "SELECT * FROM binaryFile.`x`",
        "SELECT * FROM orc.`x`",
        "SELECT * FROM delta.`x`",
        "SELECT * FROM iceberg.asgard.runs",
        "SELECT * FROM asgard.runs",
        "SELECT * FROM `s3://lake/bronze/x`",
        "SELECT * FROM later; ",
        "SELECT * FROM silver.`t$files`",
    ],
)
def test_tables_and_paths_outside_of_the_lake_are_refused(sql: str) -> None:
    with pytest.raises(SqlTableRefused) as refused:
        check(sql)
    assert refused.value.hint


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DROP TABLE silver.t",
        "INSERT INTO silver.t SELECT 1",
        "CREATE TABLE x AS SELECT 1",
        "CREATE TABLE x AS SELECT 1; SELECT 1",
        "CREATE VIEW v AS SELECT 1; SELECT 1",
        "CREATE GLOBAL TEMPORARY VIEW v AS SELECT 1; SELECT 1",
        "CREATE TEMPORARY VIEW v USING csv OPTIONS (path '/etc/passwd'); SELECT * FROM v",
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        "SET spark.x = 1; SELECT 1",
        "CACHE TABLE x AS SELECT 1; SELECT 1",
        "ADD JAR 'x'; SELECT 1",
        "SELECT 1; SELECT 2",
    ],
)
def test_other_statements_are_refused(sql: str) -> None:
    with pytest.raises(SqlNotSelect):
        check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT java_method('java.lang.System', 'getenv')",
        "SELECT reflect('a', 'b')",
        "SELECT try_reflect('a', 'b')",
        "SELECT input_file_name()",
        "SELECT input_file_block_start()",
        "SELECT `java_method`('a', 'b')",
        "SELECT spark_catalog.default.f(1)",
        "SELECT current_user()",
        "SELECT version()",
        "SELECT * FROM read_files('x')",
        "SELECT * FROM sha2('x', 256)",
        "SELECT range(5)",
        "SELECT safe_cast('1' AS bigint)",
        "SELECT try_convert(1, 2)",
        "SELECT * FROM silver.t LATERAL VIEW range(5) t AS x",
        "SELECT * FROM explode(java_method('a', 'b'))",
        "SELECT transform(a, x -> java_method(x, x)) FROM silver.t",
        "SELECT * FROM silver.t LATERAL VIEW java_method('a') t AS x",
    ],
)
def test_functions_that_reach_outside_of_sql_are_refused(sql: str) -> None:
    with pytest.raises(SqlFunctionRefused):
        check(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TEMP VIEW source_data AS SELECT 1; SELECT 1",
        "CREATE TEMP VIEW silver.v AS SELECT 1; SELECT 1",
        "CREATE TEMP VIEW asgard_path_1 AS SELECT 1; SELECT 1",
        "SELECT TRANSFORM(a) USING 'cat' AS (b) FROM silver.t",
        "SELECT * FROM silver.t VERSION AS OF 1",
        "SELECT ${x}",
        "SELECT '${env:AWS_SECRET_ACCESS_KEY}' AS k",
        "SELECT a AS `${system:user.home}` FROM silver.t",
        "SELECT a['${a'].`b}x'] AS c FROM silver.t",
        r"SELECT '\u0024{env:HOME}' AS k",
        r"SELECT '\044{env:HOME}' AS k",
        "CREATE TEMP VIEW v AS SELECT '${env:HOME}' AS k; SELECT * FROM v",
        "SELECT :x",
    ],
)
def test_reserved_view_names_and_other_syntax_are_refused(sql: str) -> None:
    with pytest.raises(SqlRefused):
        check(sql)


@pytest.mark.parametrize(
    ("sql", "canonical"),
    [
        ("SELECT array(1, 2)[0], map('a', 1)['a']", "SELECT array(1, 2)[0], map('a', 1)['a']"),
        (r"SELECT '\\d+' RLIKE r'\d'", r"SELECT '\\d+' RLIKE '\\d'"),
        ("SELECT 1L, 2.5D", "SELECT CAST(1 AS BIGINT), CAST(2.5 AS DOUBLE)"),
        ("SELECT a <=> b, a div b", "SELECT `a` IS NOT DISTINCT FROM `b`, `a` DIV `b`"),
        ("SELECT `a``b`", "SELECT `a``b`"),
        ("SELECT '{{ x }}'", "SELECT '{{ x }}'"),
        ("SELECT * FROM range(5)", "SELECT * FROM range(5)"),
        ("SELECT explode(a) AS x", "SELECT explode(`a`) AS `x`"),
    ],
)
def test_spark_sql_keeps_its_meaning(sql: str, canonical: str) -> None:
    assert check(sql).select == canonical


def test_every_listed_function_passes() -> None:
    syntax = {
        "case",
        "cast",
        "try_cast",
        "when",
        "extract",
        "div",
        "exists",
        "cube",
        "rollup",
        "overlay",
    }
    for name in sorted(functions.SPARK - syntax):
        assert check(f"SELECT {name}(a, b) FROM silver.t").tables


def test_scripts_survive_json() -> None:
    sql = "CREATE TEMP VIEW v AS SELECT * FROM csv.`a`; SELECT * FROM v, silver.t, source"
    script = bound(check(sql), "s", "c", POLICY)
    assert [path for path, _ in script.paths] == [PathTable("csv", "bronze/a")]
    assert BoundScript.from_json(script.to_json()) == script


@pytest.mark.parametrize(
    "name",
    [
        *("xpath", "xpath_boolean", "xpath_double", "xpath_float", "xpath_int", "xpath_long"),
        *("xpath_number", "xpath_short", "xpath_string"),
    ],
)
def test_functions_that_open_what_their_xml_names_are_refused(name: str) -> None:
    xml = '<!DOCTYPE a SYSTEM "http://example.com/x.dtd"><a>&b;</a>'
    with pytest.raises(SqlFunctionRefused):
        check(f"SELECT {name}('{xml}', 'a') AS x")


@pytest.mark.parametrize("name", ["from_xml", "schema_of_xml"])
def test_functions_that_open_files_named_in_their_options_are_refused(name: str) -> None:
    with pytest.raises(SqlFunctionRefused):
        check(f"SELECT {name}('<a/>', 'a INT', map('rowValidationXSDPath', 'file:///x')) AS x")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM LATERAL text.`/etc/passwd`",
        "SELECT * FROM LATERAL iceberg.asgard.audit",
        "SELECT * FROM LATERAL iceberg.hr.salaries AS s",
        "SELECT file_path FROM LATERAL iceberg.asgard.audit.files",
        "SELECT * FROM LATERAL silver.t",
        "SELECT * FROM silver.t, LATERAL text.`/etc/hostname`",
        "SELECT * FROM silver.t JOIN LATERAL csv.`s3a://other/x` ON true",
        "CREATE TEMP VIEW v AS SELECT * FROM LATERAL text.`/etc/hostname`; SELECT * FROM v",
        "SELECT (SELECT max(value) FROM LATERAL text.`/etc/hostname`) AS h",
        "SELECT a FROM VALUES (1), (text.`/etc/passwd` AS x) AS t(a)",
        "SELECT a FROM (VALUES 1, csv.`/etc/passwd` x) AS t(a)",
        "SELECT x.* FROM VALUES (1), (iceberg.asgard.audit AS x)",
        "SELECT * FROM silver.t JOIN VALUES (1), (a.b AS s) ON true",
        "SELECT 1 UNION VALUES (1), (a.b AS x)",
        "CREATE TEMP VIEW any AS SELECT 1 AS one; SELECT z.* FROM VALUES (1), (ANY d), (hr.t) z",
        "SELECT * FROM VALUES (), (hr.s)",
        "SELECT (a AS b) FROM silver.t",
        "SELECT t.*, _deleted AS was_deleted FROM silver.t",
        "SELECT `_FILE` FROM silver.t",
        "SELECT t._metadata.file_path FROM silver.t",
        "SELECT * FROM iceberg.hr.range(3)",
        "SELECT hr.sum(a) FILTER (WHERE b) FROM silver.t",
        "SELECT hr.first_value(a) IGNORE NULLS OVER (ORDER BY a) FROM silver.t",
        "SELECT * FROM LATERAL sum(a)",
        "SELECT * FROM LATERAL VALUES (1)",
        "SELECT * FROM SELECT a",
        "SELECT * FROM SELECT ((a))",
        "SELECT * FROM silver.t JOIN SELECT a ON true",
        "sum(a) UNION SELECT 1",
        "SELECT 1 UNION sum(a)",
        "SELECT array(VALUES (x))",
        "SELECT array(SELECT 1)",
        "SELECT FROM silver.t",
    ],
)
def test_a_table_is_read_only_where_the_guard_looks_for_tables(sql: str) -> None:
    with pytest.raises((SqlRefused, SqlNotSelect)):
        check(sql)


def test_values_are_printed_in_parentheses() -> None:
    script = check("SELECT * FROM VALUES (1, 2), (3, 4) AS t(a, b) JOIN VALUES (5) ON true")
    assert script.select == (
        "SELECT * FROM (VALUES (1, 2), (3, 4)) AS `t`(`a`, `b`) JOIN (VALUES (5)) ON TRUE"
    )


def test_a_file_may_have_a_column_with_the_name_of_an_added_one() -> None:
    view = "CREATE TEMP VIEW v AS SELECT _file AS file FROM parquet.`x`"
    assert check(f"{view}; SELECT * FROM v JOIN silver.t ON true").paths


def test_lateral_before_a_function_or_a_subquery_passes() -> None:
    for sql in (
        "SELECT * FROM silver.t, LATERAL explode(a) AS x",
        "SELECT * FROM silver.t JOIN LATERAL (SELECT t.a + 1 AS b) ON true",
        "SELECT * FROM LATERAL explode(array(1)) AS x",
        "SELECT * FROM silver.t LATERAL VIEW OUTER explode(a) x AS y LATERAL VIEW explode(b) z",
    ):
        assert check(sql).paths == ()


def test_no_with_clause_takes_the_place_of_a_path_or_of_the_source() -> None:
    sql = "WITH asgard_path_1 AS (SELECT 666 AS forged) SELECT p.* FROM parquet.`names` p"
    _, select = bind_script(
        script := check(sql), {script.paths[0]: "asgard_path_1"}, None, "iceberg", POLICY
    )
    assert select == (
        "WITH `asgard_cte_0` AS (SELECT 666 AS `forged`) SELECT `p`.* FROM `asgard_path_1` AS `p`"
    )
    with pytest.raises(SqlTableRefused, match="source_data"):
        check("WITH source_data AS (SELECT 1) SELECT * FROM parquet.source")
