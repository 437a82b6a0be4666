"""Text that a client quotes stays quoted, and engines get only text that was checked."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

import app.sql
from app.errors import AsgardError, SqlRefused, SqlTableRefused, SqlTooLarge
from app.sql.guard.guard import check_query, check_script, render_query
from app.sql.model import SqlPolicy
from app.sql.parse import DuckDBSql, SparkSql, TrinoSql, parse
from app.sql.rewrite import bound, to_dbt_model, to_duckdb, with_stand_ins
from app.sql.tables import fold

POLICY = SqlPolicy()
PAYLOAD = "zq zw"
_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`")
_PLACES = re.compile(r"'[^']*'|[A-Za-z_]\w*|\d+")
_COMMON = (
    "SELECT a AS b FROM silver.t x WHERE a > 1 GROUP BY a HAVING a > 1 ORDER BY a DESC NULLS FIRST "
    "LIMIT 5",
    "SELECT a FROM silver.t OFFSET 2",
    "SELECT count(DISTINCT a) FILTER (WHERE a > 1) OVER (PARTITION BY a ORDER BY b "
    "ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING) AS c FROM silver.t",
    "SELECT sum(a) OVER w AS c FROM silver.t WINDOW w AS (PARTITION BY a)",
    "WITH q (c1) AS (SELECT 1) SELECT c1 FROM q",
    "SELECT CAST(a AS decimal(10, 2)) AS c, TRY_CAST(b AS varchar(5)) AS d FROM silver.t",
    "SELECT EXTRACT(year FROM a) AS c FROM silver.t",
    "SELECT INTERVAL '1' DAY AS c, INTERVAL '1' DAY TO HOUR AS d, INTERVAL '1' YEAR TO MONTH AS e",
    "SELECT a.b.c AS d, a[1] AS e FROM silver.t a",
    "SELECT TRIM(BOTH 'x' FROM a) AS c, SUBSTRING(a FROM 1 FOR 2) AS d FROM silver.t",
    "SELECT POSITION('x' IN a) AS c, CASE a WHEN 1 THEN 2 ELSE 3 END AS d FROM silver.t",
    "SELECT a FROM silver.t TABLESAMPLE BERNOULLI (10)",
    "SELECT a FROM silver.t NATURAL JOIN silver.u LEFT JOIN silver.v USING (a)",
    "SELECT a FROM silver.t CROSS JOIN LATERAL (SELECT 1 AS q) AS l (z)",
    "SELECT first_value(a) IGNORE NULLS OVER (ORDER BY a) AS c FROM silver.t",
    "SELECT LISTAGG(a, ',') WITHIN GROUP (ORDER BY a ASC) AS c FROM silver.t",
    "SELECT a AT TIME ZONE 'UTC' AS c, DATE '2020-01-01' AS d FROM silver.t",
    "SELECT a FROM silver.t GROUP BY GROUPING SETS ((a), ()), ROLLUP (a), CUBE (b)",
    "SELECT a FROM (VALUES (1, 2)) v (a, b)",
    "SELECT a LIKE 'x' ESCAPE '#' AS c, a IS DISTINCT FROM b AS d FROM silver.t",
    "SELECT a BETWEEN 1 AND 2 AS c, a IN (1, 2) AS d, a > ALL (SELECT 1) AS e FROM silver.t",
    "SELECT a FROM silver.t FETCH FIRST 5 ROWS ONLY",
    "SELECT transform(a, x -> x + 1) AS c FROM silver.t",
    "SELECT a FROM silver.t UNION ALL SELECT b FROM silver.u",
    "SELECT CURRENT_TIMESTAMP AS c, date_add('day', 1, a) AS d, date_trunc('day', a) AS e "
    "FROM silver.t",
)
_TRINO = (
    *_COMMON,
    "SELECT a FROM UNNEST(ARRAY[1]) WITH ORDINALITY AS u (a, n)",
    "SELECT CAST(ROW(1, 2) AS ROW(x bigint, y bigint)) AS c",
    "SELECT CAST(a AS timestamp(3) with time zone) AS c, X'65' AS d, U&'a' UESCAPE '!' AS e "
    "FROM silver.t",
)
_SPARK = (
    *_COMMON,
    "SELECT c FROM silver.t LATERAL VIEW OUTER explode(a) v AS c",
    "SELECT * FROM silver.t PIVOT (sum(a) AS s FOR b IN (1 AS p, 2 AS q))",
    "SELECT * FROM silver.t UNPIVOT (v FOR n IN (a, b))",
    "SELECT named_struct(a => 1) AS c",
    "SELECT a FROM silver.t DISTRIBUTE BY a SORT BY b DESC",
    "SELECT a FROM silver.t CLUSTER BY a",
    "SELECT a FROM silver.t TABLESAMPLE (10 PERCENT)",
    "SELECT a FROM silver.t TABLESAMPLE (5 ROWS)",
    "SELECT stack(1, 2) AS (x, y)",
    "SELECT a FROM silver.t QUALIFY row_number() OVER (ORDER BY a) = 1",
    "SELECT a RLIKE 'x' AS c, a DIV 2 AS d, a COLLATE UTF8_BINARY AS e FROM silver.t",
    "SELECT INTERVAL 1 DAY 2 HOURS AS c",
    "SELECT timestampadd(DAY, 1, a) AS c, datediff(DAY, a, b) AS d FROM silver.t",
    "SELECT CAST(a AS struct<x: int, y: string>) AS c FROM silver.t",
    "SELECT a FROM silver.t LEFT SEMI JOIN silver.u ON a = b",
    "SELECT OVERLAY(a PLACING 'x' FROM 1 FOR 2) AS c FROM silver.t",
    "SELECT a ILIKE ANY ('x', 'y') AS c FROM silver.t",
    "SELECT /*+ BROADCAST(t) */ a FROM silver.t",
)


def trino_texts(sql: str) -> list[str]:
    """Return every text that engines get for a query, as far as they support it."""
    query = check_query(sql, POLICY)
    texts = [query.sql]
    for render_text in (
        lambda: to_duckdb(query.sql, POLICY),
        lambda: with_stand_ins(query.sql, POLICY, {"silver.t": "SELECT 1 AS a"}),
        lambda: to_dbt_model(query.sql, set(), "trino", POLICY),
        lambda: to_dbt_model(query.sql, set(), "duckdb", POLICY),
    ):
        try:
            texts.append(render_text())
        except AsgardError:
            continue
    return texts


def spark_texts(sql: str) -> list[str]:
    script = check_script(sql, POLICY, False)
    run = bound(script, None, "iceberg", POLICY)
    return [script.select, run.select, *(sql for _, sql in run.views)]


def sinks(corpus: tuple[str, ...], forms: tuple[str, ...]) -> Iterator[str]:
    """Return the corpus with a quoted payload in place of each word, number and string."""
    for sql in corpus:
        for match in _PLACES.finditer(sql):
            for form in forms:
                yield sql[: match.start()] + form % PAYLOAD + sql[match.end() :]


def is_bare(sql: str) -> bool:
    return re.search(r"zq\s+zw", _QUOTED.sub(" ", sql), re.IGNORECASE) is not None


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("examples", "forms", "texts_of"),
    [
        (_TRINO, ('"%s"', "'%s'", "N'%s'", "U&'%s'"), trino_texts),
        (_SPARK, ("`%s`", "'%s'", '"%s"', "r'%s'"), spark_texts),
    ],
    ids=["trino", "spark"],
)
def test_no_quoted_text_comes_out_unquoted(
    examples: Sequence[str], forms: Sequence[str], texts_of: Callable[[str], Iterable[str]]
) -> None:
    bare, passed = [], 0
    for sql in sinks(examples, forms):
        try:
            texts = texts_of(sql)
        except SqlRefused:
            continue
        passed += 1
        bare += [sql for text in texts if is_bare(text)]
    assert bare == []
    assert passed > 200


@pytest.mark.parametrize("sql", _TRINO)
def test_the_corpus_of_trino_passes_the_guard(sql: str) -> None:
    assert trino_texts(sql)


SNEAKING = (
    "SELECT EXTRACT('year FROM now()) AS y, (SELECT max(secret) FROM silver.people) AS cu, "
    "EXTRACT(year' FROM now()) AS a",
    "SELECT EXTRACT(`year FROM now()) AS y, current_user() AS cu, EXTRACT(year` FROM now()) AS a",
    "SELECT EXTRACT('year FROM now()) AS z, EXTRACT(\\'year FROM now()) AS y, "
    "(SELECT max(value) FROM text.`/etc/passwd`) AS cu, EXTRACT(year\\' FROM now()) AS b, "
    "EXTRACT(year' FROM now()) AS a",
    "SELECT INTERVAL '1' DAY TO `hour as i, current_catalog() as cu, INTERVAL '1 1' DAY TO HOUR` "
    "AS a",
    "SELECT named_struct(`1), reflect('java.lang.System','getenv','HOME') as k, "
    "named_struct('a'` => 1) AS a",
    "SELECT s.x FROM silver.people LATERAL VIEW explode(array(1)) "
    "`s as x union all select reflect(1) --` AS `x`",
    "SELECT CAST(1 AS decimal(`2, 1)) AS a, reflect(1) AS b, CAST(1 AS decimal(2`, 2)) AS c",
)


@pytest.mark.parametrize("sql", SNEAKING)
def test_no_quoted_text_becomes_sql_of_spark(sql: str) -> None:
    with pytest.raises(SqlRefused):
        check_script(sql, POLICY, False)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT INTERVAL '1' DAY TO \"hour AS i, x.* FROM iceberg.asgard.audit x, "
        'system.runtime.queries q --" AS a',
        'SELECT EXTRACT("year FROM now()) AS y, x.* FROM iceberg.asgard.audit x JOIN '
        'system.runtime.queries q ON EXTRACT(year" FROM now()) > 0',
        'SELECT CAST(1 AS decimal("2, 1)) AS a, version() AS b, CAST(1 AS decimal(2", 2)) AS c',
    ],
)
def test_no_quoted_text_becomes_sql_of_trino(sql: str) -> None:
    with pytest.raises(SqlRefused):
        check_query(sql, POLICY)


FILES = ("s3://warehouse/silver/people/data/*.parquet", "/etc/passwd", "duckdb_tables", "audit")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "sql",
    [
        'WITH RECURSIVE {n} AS (SELECT * FROM {n}) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS ((SELECT * FROM {n})) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT * FROM {n} UNION ALL SELECT * FROM {n}) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT 1 AS q INTERSECT SELECT q FROM {n}) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT 1 AS q EXCEPT SELECT q FROM {n}) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (WITH y AS (SELECT * FROM {n}) SELECT * FROM y) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (WITH y AS (SELECT * FROM {n}) SELECT 1 AS q UNION ALL '
        'SELECT 2 AS q FROM y) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT 1 AS q UNION ALL SELECT q FROM {n} '
        'ORDER BY (SELECT max(q) FROM {n})) SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT 1 AS q UNION ALL SELECT q FROM {n} UNION ALL SELECT 3) '
        'SELECT * FROM {n}',
        'WITH RECURSIVE {n} AS (SELECT * FROM (SELECT 1 AS q UNION ALL SELECT q FROM {n}) x) '
        'SELECT * FROM {n}',
    ],
)  # fmt: skip
def test_only_the_recursive_arm_of_a_union_reads_the_cte_itself(sql: str, name: str) -> None:
    with pytest.raises(SqlTableRefused, match="has no schema"):
        check_query(sql.format(n=f'"{name}"'), POLICY)
    with pytest.raises(SqlTableRefused, match="has no schema"):
        check_script(sql.format(n=f"`{name}`"), POLICY, False)


def test_a_cte_has_a_generated_name_in_duckdb_and_spark() -> None:
    """A name that an engine misses there can neither be a file nor a view of the engine."""
    sql = (
        'WITH RECURSIVE "/etc/passwd" AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM "/etc/passwd" '
        'WHERE n < 3) SELECT "/etc/passwd".n FROM "/etc/passwd"'
    )
    duckdb_sql = to_duckdb(check_query(sql, POLICY).sql, POLICY)
    script = check_script(sql.replace('"', "`"), POLICY, False)
    spark_sql = bound(script, None, "iceberg", POLICY).select
    for text, dialect in ((duckdb_sql, DuckDBSql), (spark_sql, SparkSql)):
        (tree,) = parse(text, dialect).trees
        assert {table.name for table in tree.find_all(exp.Table)} == {"asgard_cte_0"}
        assert {cte.alias for cte in tree.find_all(exp.CTE)} == {"asgard_cte_0"}


NAMES = st.text(
    st.sampled_from("ab zX\"'`\\-/*();,.=>{}#$@\n\t\r") | st.characters(exclude_categories=("Cs",)),
    min_size=1,
    max_size=20,
)
RELAXED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60, derandomize=True
)
_HOLES = [
    "SELECT a AS {} FROM silver.t",
    "SELECT {}.a FROM silver.t AS {}",
    "WITH {} ({}) AS (SELECT 1) SELECT {} FROM {}",
    "SELECT sum(a) OVER {} AS s FROM silver.t WINDOW {} AS (PARTITION BY {})",
    "SELECT EXTRACT({} FROM a) AS s FROM silver.t",
    "SELECT INTERVAL '1' DAY TO {} AS s",
    "SELECT CAST(a AS decimal({}, 2)) AS s FROM silver.t",
    "SELECT a.{}.{} AS s FROM silver.t a",
    "SELECT x.{} FROM silver.t CROSS JOIN (VALUES 1) AS x ({})",
    "SELECT a FROM silver.t JOIN gold.u USING ({})",
    "SELECT transform(a, {} -> {} + 1) AS s FROM silver.t",
]


@RELAXED
@given(st.sampled_from(_HOLES), NAMES)
def test_guarded_sql_of_trino_parses_to_what_was_written(sql: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    _assert_unchanged(sql.replace("{}", quoted), TrinoSql)


@RELAXED
@given(
    st.sampled_from(
        [
            *_HOLES,
            "SELECT named_struct({} => 1) AS s",
            "SELECT a FROM silver.t LATERAL VIEW explode(b) {} AS {}",
            "SELECT * FROM silver.t PIVOT (sum(a) AS {} FOR b IN (1 AS {}))",
        ]
    ),
    NAMES,
)
def test_guarded_sql_of_spark_parses_to_what_was_written(sql: str, name: str) -> None:
    quoted = "`" + name.replace("`", "``") + "`"
    _assert_unchanged(sql.replace("{}", quoted), SparkSql)


def _assert_unchanged(sql: str, dialect: type[TrinoSql] | type[SparkSql]) -> None:
    """Assert that the text has the tables and names that were written, and no others."""
    try:
        if dialect is TrinoSql:
            text = check_query(sql, POLICY).sql
        else:
            text = check_script(sql, POLICY, False).select
    except SqlRefused:
        return
    (written,), (again,) = parse(sql, dialect).trees, parse(text, dialect, slack=4).trees
    for kind in (exp.Identifier, exp.Table, exp.Anonymous, exp.Select):
        names = [
            sorted(fold(node.name) for node in tree.find_all(kind)) for tree in (written, again)
        ]
        assert names[0] == names[1]


def test_sql_reads_at_most_500_tables() -> None:
    sql = "SELECT 1 AS one FROM " + ", ".join(f"silver.t{number}" for number in range(501))
    with pytest.raises(SqlTooLarge, match="more than 500 tables"):
        check_query(sql, POLICY)
    with pytest.raises(SqlTooLarge, match="more than 500 tables"):
        check_script(sql, POLICY, False)


def test_a_script_reads_at_most_500_paths() -> None:
    paths = [f"csv.`p{number}`" for number in range(501)]
    assert len(check_script(f"SELECT 1 AS one FROM {', '.join(paths[:500])}", POLICY, False).paths)
    with pytest.raises(SqlTooLarge, match="more than 500 paths"):
        check_script(f"SELECT 1 AS one FROM {', '.join(paths)}", POLICY, False)


def test_a_star_is_allowed_only_in_a_select_list_or_in_a_call() -> None:
    with pytest.raises(SqlRefused, match="STAR"):
        check_query("SELECT * LIKE 'x' FROM silver.t", POLICY)
    assert check_query("SELECT count(*) AS n FROM silver.t", POLICY)


def in_raw_text(raw: str) -> exp.Expr:
    """Return a tree that the rules for trees refuse: sqlglot prints a part of it as it is."""
    field = exp.Extract(this=exp.Var(this=raw), expression=exp.Literal.string("x"))
    return exp.Select(expressions=[field])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("YEAR FROM 'x') AS y, EXTRACT(MONTH", "can be read in two ways"),
        ('YEAR FROM (SELECT MAX("s") FROM "silver"."p")) AS "y", EXTRACT(MONTH', "another table"),
        ("YEAR FROM 'x'); SELECT EXTRACT(YEAR", "several statements"),
        ('YEAR FROM "version"()) AS "y", EXTRACT(MONTH', "'version' is not allowed"),
        (
            'YEAR FROM (SELECT MAX("s") FROM "asgard"."p")) AS "y", EXTRACT(MONTH',
            "'asgard' may",
        ),
    ],
)
def test_a_text_that_means_more_than_its_tree_is_refused(raw: str, reason: str) -> None:
    with pytest.raises(SqlRefused, match=reason):
        render_query(in_raw_text(raw), POLICY)
    plain = "SELECT EXTRACT(YEAR FROM 'x')"
    assert render_query(in_raw_text("YEAR"), POLICY) == plain


def test_only_render_and_rewrite_print_trees() -> None:
    folder = Path(app.sql.__file__).parent
    texts = {path.name: path.read_text() for path in folder.rglob("*.py")}
    calls = {name for name, text in texts.items() if re.search(r"(?<!def )\bgenerate\(", text)}
    assert calls == {"render.py", "rewrite.py"}
    assert texts["rewrite.py"].count("generate(") == 1
    assert [name for name, text in texts.items() if ".sql(" in text] == ["parse.py"]
