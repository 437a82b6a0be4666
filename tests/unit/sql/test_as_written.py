"""SQL reaches an engine with the meaning that the engine gives to the text as it was written."""

import pytest

from app.errors import AsgardError, SqlNotParsed, SqlRefused
from app.sql.guard.guard import check_query, check_script
from app.sql.model import SqlPolicy
from app.sql.parse import TrinoSql, parse
from app.sql.render import render
from app.sql.rewrite import bound, to_duckdb

POLICY = SqlPolicy()


def trino(sql: str) -> str:
    return check_query(sql, POLICY).sql


def spark(sql: str) -> str:
    return bound(check_script(sql, POLICY, False), None, "iceberg", POLICY).select


@pytest.mark.parametrize(
    ("sql", "printed"),
    [
        ("SELECT CHAR 'abc' AS a", "SELECT CAST('abc' AS CHAR(3)) AS \"a\""),
        ("SELECT CAST('abc' AS CHAR(2)) AS a", "SELECT CAST('abc' AS CHAR(2)) AS \"a\""),
        ("SELECT DECIMAL '-1.25' AS a", "SELECT CAST('-1.25' AS DECIMAL(3, 2)) AS \"a\""),
        ("SELECT CAST('1.567' AS DECIMAL) AS a", "SELECT CAST('1.567' AS DECIMAL) AS \"a\""),
        ("SELECT TRY_CAST('1.567' AS DECIMAL) a", "SELECT TRY_CAST('1.567' AS DECIMAL) AS \"a\""),
        (
            "SELECT listagg(a) WITHIN GROUP (ORDER BY a) AS l FROM silver.t",
            'SELECT LISTAGG("a", \'\') WITHIN GROUP (ORDER BY "a") AS "l" FROM "silver"."t"',
        ),
        ("SELECT fetch, id FROM silver.t", 'SELECT "fetch", "id" FROM "silver"."t"'),
        ("SELECT a fetch FROM silver.t", 'SELECT "a" AS "fetch" FROM "silver"."t"'),
        ("SELECT a FROM silver.t fetch", 'SELECT "a" FROM "silver"."t" AS "fetch"'),
        ("SELECT max(fetch) AS m FROM silver.t", 'SELECT max("fetch") AS "m" FROM "silver"."t"'),
        ("SELECT all, a FROM silver.t", 'SELECT "all", "a" FROM "silver"."t"'),
        ("SELECT all AS a, b FROM silver.t", 'SELECT "all" AS "a", "b" FROM "silver"."t"'),
        ("SELECT count(all) AS c FROM silver.t", 'SELECT count("all") AS "c" FROM "silver"."t"'),
        ("SELECT max(ALL a) AS c FROM silver.t", 'SELECT max("a") AS "c" FROM "silver"."t"'),
        ("SELECT all[1] AS c FROM silver.t", 'SELECT "all"[1] AS "c" FROM "silver"."t"'),
        ("SELECT all = 1 AS c FROM silver.t", 'SELECT "all" = 1 AS "c" FROM "silver"."t"'),
        ("SELECT CHAR '\U0001d4b3a' AS c", "SELECT CAST('\U0001d4b3a' AS CHAR(3)) AS \"c\""),
        (
            "WITH RECURSIVE x AS (SELECT 1 AS A) SELECT * FROM x",
            'WITH RECURSIVE "x"("a") AS (SELECT 1 AS "a") SELECT * FROM "x"',
        ),
        ("SELECT ALL a FROM silver.t", 'SELECT "a" FROM "silver"."t"'),
        ("SELECT a isnull FROM silver.t", 'SELECT "a" AS "isnull" FROM "silver"."t"'),
        ("SELECT a notnull FROM silver.t", 'SELECT "a" AS "notnull" FROM "silver"."t"'),
        (
            "SELECT a FROM silver.t ORDER BY a FETCH FIRST 2 ROWS ONLY",
            'SELECT "a" FROM "silver"."t" ORDER BY "a" FETCH FIRST 2 ROWS ONLY',
        ),
    ],
)
def test_trino_gets_what_was_written(sql: str, printed: str) -> None:
    assert trino(sql) == printed


@pytest.mark.parametrize(
    ("sql", "printed"),
    [
        (
            "SELECT x.v, y.v AS w FROM (WITH a AS (SELECT 2 AS v) SELECT v FROM a) x, "
            "(WITH a AS (SELECT 3 AS v) SELECT v FROM a) y",
            "SELECT `x`.`v`, `y`.`v` AS `w` FROM (WITH `asgard_cte_0` AS (SELECT 2 AS `v`) "
            "SELECT `v` FROM `asgard_cte_0` AS `a`) AS `x` CROSS JOIN (WITH `asgard_cte_1` AS "
            "(SELECT 3 AS `v`) SELECT `v` FROM `asgard_cte_1` AS `a`) AS `y`",
        ),
        ("SELECT fetch, id FROM silver.t", "SELECT `fetch`, `id` FROM `iceberg`.`silver`.`t`"),
        ("SELECT id FROM silver.t fetch", "SELECT `id` FROM `iceberg`.`silver`.`t` AS `fetch`"),
        (
            "SELECT a FROM silver.t WHERE d >= DATE '2020-01-01'",
            "SELECT `a` FROM `iceberg`.`silver`.`t` WHERE `d` >= CAST('2020-01-01' AS DATE)",
        ),
        ("SELECT current_timestamp AS a", "SELECT CURRENT_TIMESTAMP() AS `a`"),
        (
            "SELECT trim(LEADING FROM a) AS d FROM silver.t",
            "SELECT LTRIM(`a`) AS `d` FROM `iceberg`.`silver`.`t`",
        ),
        ("SELECT any(b) AS a FROM silver.t", "SELECT ANY(`b`) AS `a` FROM `iceberg`.`silver`.`t`"),
    ],
)
def test_spark_gets_what_was_written(sql: str, printed: str) -> None:
    assert spark(sql).replace("`t` AS `t`", "`t`") == printed


@pytest.mark.parametrize("word", ["ANTI", "SEMI", "ASOF", "LEFT ANTI", "LEFT SEMI"])
def test_join_words_that_trino_lacks_are_refused(word: str) -> None:
    with pytest.raises(SqlRefused, match="JOIN is not supported"):
        trino(f"SELECT t.a FROM silver.t {word} JOIN silver.u ON t.a = u.a")


@pytest.mark.parametrize("word", ["", "LEFT", "RIGHT OUTER", "FULL", "INNER"])
def test_join_words_of_trino_pass(word: str) -> None:
    printed = trino(f"SELECT t.a FROM silver.t {word} JOIN silver.u ON t.a = u.a")
    assert f"{word} JOIN".strip() in printed


@pytest.mark.parametrize("word", ["LEFT ANTI", "LEFT SEMI", "FULL OUTER"])
def test_join_words_of_spark_pass(word: str) -> None:
    assert f"{word} JOIN" in spark(f"SELECT t.a FROM silver.t {word} JOIN silver.u ON t.a = u.a")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM silver.t WHERE a = ANY(ARRAY(2))",
        "SELECT a FROM silver.t WHERE any(b) = true",
        "SELECT a FROM silver.t QUALIFY row_number() OVER (ORDER BY a) = 1",
        "SELECT a FROM silver.t ASOF JOIN silver.u ON t.a = u.a",
    ],
)
def test_spark_sql_that_would_be_rewritten_is_refused(sql: str) -> None:
    with pytest.raises(SqlRefused):
        spark(sql)


@pytest.mark.parametrize("check", [trino, spark])
@pytest.mark.parametrize("sql", ["SELECT as, a FROM silver.t", "SELECT a, AS b FROM silver.t"])
def test_an_alias_of_nothing_does_not_parse(check, sql: str) -> None:
    with pytest.raises(SqlNotParsed, match="AS has nothing before it"):
        check(sql)


@pytest.mark.parametrize("name", ["$path", "$PARTITION", "$file_modified_time"])
def test_columns_that_trino_adds_to_tables_are_refused(name: str) -> None:
    with pytest.raises(SqlRefused, match="Trino adds columns with such names"):
        trino(f'SELECT t."{name}" AS p FROM silver.t')


def test_a_rewritten_text_is_refused() -> None:
    """sqlglot prints an anti join as NOT EXISTS."""
    (tree,) = parse("SELECT a FROM t ANTI JOIN u ON a = b", TrinoSql).trees
    with pytest.raises(SqlRefused, match="would be rewritten"):
        render(tree, TrinoSql, lambda *_: None)


@pytest.mark.parametrize("text", ["1e1", " 1.5", "abc", "1_000.5", "+-1", "1" * 39])
def test_decimals_that_trino_cannot_read_do_not_parse(text: str) -> None:
    with pytest.raises(SqlNotParsed, match="not a valid DECIMAL literal"):
        trino(f"SELECT DECIMAL '{text}' AS a")


def test_char_that_duckdb_would_not_pad_is_refused_there() -> None:
    with pytest.raises(AsgardError, match="CAST to CHAR"):
        to_duckdb(trino("SELECT CAST('a' AS CHAR(3)) AS a"), POLICY)
    assert to_duckdb(trino("SELECT CHAR 'abc' AS a"), POLICY)


@pytest.mark.parametrize(
    ("sql", "printed"),
    [
        ("SELECT 0x1F AS a, X'1F' AS b", 'SELECT 31 AS "a", x\'1F\' AS "b"'),
        ("SELECT -0Xff + 0x7FFFFFFFFFFFFFFF AS a", 'SELECT -255 + 9223372036854775807 AS "a"'),
        (
            'SELECT CAST(r AS ROW("userId" INTEGER, Ab BIGINT)) AS "X" FROM silver.t',
            'SELECT CAST("r" AS ROW("userId" INTEGER, "ab" BIGINT)) AS "x" FROM "silver"."t"',
        ),
    ],
)
def test_numbers_and_fields_reach_trino_as_they_were_written(sql: str, printed: str) -> None:
    assert trino(sql) == printed
    assert trino(printed) == printed


@pytest.mark.parametrize("number", ["0x8000000000000000", "0x1_F"])
def test_hexadecimal_numbers_that_may_be_read_otherwise_do_not_parse(number: str) -> None:
    with pytest.raises(SqlNotParsed, match=f"{number} is not a number here"):
        trino(f"SELECT {number} AS a")


def test_spark_has_no_hexadecimal_numbers() -> None:
    with pytest.raises(SqlNotParsed, match="0x1F is not a number here"):
        spark("SELECT 0x1F AS a")


@pytest.mark.parametrize("check", [trino, spark])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT silver.t.a, (SELECT max(gold.t.a) FROM gold.t WHERE gold.t.b = silver.t.b) AS m "
        "FROM silver.t",
        "SELECT silver.t.a FROM silver.t JOIN gold.t ON true",
        "SELECT silver.t.a FROM silver.t, (SELECT 1 AS a) AS t",
        "SELECT silver.t.a FROM silver.t, gold.u AS T",
        "WITH t AS (SELECT a FROM gold.t) SELECT (SELECT a FROM t WHERE t.a = silver.t.a) AS m "
        "FROM silver.t",
        "SELECT silver.t.a FROM silver.t AS u JOIN gold.t ON true",
    ],
)
def test_a_column_whose_short_name_means_more_than_one_table_is_refused(check, sql: str) -> None:
    with pytest.raises(SqlRefused, match="not the only table or alias with the name t"):
        check(sql)


@pytest.mark.parametrize("check", [trino, spark])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT silver.t.a FROM silver.t AS u",
        "SELECT silver.t.a FROM (SELECT silver.t.a FROM silver.t) AS q",
        "SELECT a FROM silver.t UNION SELECT silver.t.a FROM silver.u",
    ],
)
def test_a_column_of_a_table_that_its_query_does_not_have_is_refused(check, sql: str) -> None:
    with pytest.raises(SqlRefused, match="no FROM around it has this table without an alias"):
        check(sql)


def test_a_column_may_name_the_schema_of_a_table_around_it() -> None:
    printed = trino(
        "SELECT silver.t.a, (SELECT max(u.a) FROM gold.t AS u WHERE u.b = SILVER.T.b) AS m "
        "FROM silver.t ORDER BY silver.t.a"
    )
    assert printed == (
        'SELECT "t"."a", (SELECT max("u"."a") FROM "gold"."t" AS "u" WHERE "u"."b" = "t"."b") '
        'AS "m" FROM "silver"."t" ORDER BY "t"."a"'
    )


def test_a_view_of_a_script_can_take_the_name_of_a_table() -> None:
    with pytest.raises(SqlRefused, match="not the only table or alias with the name t"):
        spark("CREATE TEMP VIEW t AS SELECT 1 AS a; SELECT silver.t.a FROM silver.t, t")


@pytest.mark.parametrize("name", ["dateadd", "date_add", "datediff", "date_diff"])
def test_units_of_sparks_functions_stay_words(name: str) -> None:
    printed = spark(f"SELECT {name}(day, a, b) AS c, {name}(a, b) AS d FROM silver.t")
    assert printed == (
        f"SELECT {name}(DAY, `a`, `b`) AS `c`, {name}(`a`, `b`) AS `d` FROM `iceberg`.`silver`.`t`"
    )
