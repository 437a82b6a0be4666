"""The guard and the rewriting keep their properties on any text and on generated queries."""

import duckdb
import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from app.errors import AsgardError, NotSupported, SqlRefused
from app.nearest import near_matches
from app.sql.guard.guard import check_query, check_script
from app.sql.model import SqlPolicy, TableName
from app.sql.parse import DuckDBSql, TrinoSql, parse
from app.sql.rewrite import to_dbt_model, to_duckdb
from app.sql.tables import cte_of

pytestmark = pytest.mark.thorough

POLICY = SqlPolicy(catalog="lake", silver_schema="s_prod", gold_schema="gold")
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)

_WORDS = """
SELECT FROM WHERE WITH AS ( ) , . ; * ' " ` [ ] { } {{ {% -- /* */ UNION ALL JOIN ON USING
INSERT INTO DELETE DROP TABLE VIEW CREATE OR REPLACE TEMPORARY VALUES UNNEST LATERAL CASE WHEN
END THEN CAST INTERVAL DATE ARRAY ROW MAP -> = < > + - || :: $1 @x ? :x 1 'a' "a" a b t
silver.t gold.u asgard.runs lake.silver.t getenv read_csv count sum max over order by group
parquet.`x` csv.`/etc/passwd` source_data OVER PARTITION BY FILTER FOR VERSION OF EXPLAIN
{# #} %} NOT NULL IN EXISTS ANY LIMIT FETCH TABLESAMPLE \\ é Ⅷ
"""
WORDS = st.sampled_from([*_WORDS.split(), "\n", "\x00"])
TEXTS = st.text(max_size=80) | st.lists(WORDS, max_size=25).map(" ".join)

LETTERS = st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc"))
NAMES = st.text(LETTERS, min_size=1, max_size=12).filter(
    lambda name: name.strip() and not set(name) & set('$@/\\."`{}')
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


TABLES = st.tuples(st.sampled_from(("silver", "gold", "s_prod", "lake.silver")), NAMES).map(
    lambda pair: f"{pair[0]}.{quoted(pair[1])}"
)
OPERATORS = ("+", "-", "*", "/", "%", "=", "<", "||", "AND", "OR")
EXPRESSIONS = st.recursive(
    NAMES.map(quoted)
    | st.integers(0, 10**6).map(str)
    | st.text(LETTERS | st.sampled_from("\r\n"), max_size=8)
    .filter(lambda text: not any(f"{{{char}" in text for char in "{%#"))
    .map(lambda text: "'" + text.replace("'", "''") + "'"),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
        st.tuples(st.sampled_from(("coalesce", "greatest", "concat")), inner, inner).map(
            lambda parts: f"{parts[0]}({parts[1]}, {parts[2]})"
        ),
        inner.map(lambda value: f"CASE WHEN {value} IS NULL THEN 1 ELSE {value} END"),
        inner.map(lambda value: f"try_cast({value} AS varchar)"),
        inner.map(lambda value: f"-({value})"),
        inner.map(lambda value: f"{value}[1]"),
    ),
    max_leaves=6,
)


@st.composite
def queries(draw: st.DrawFn, depth: int = 2) -> str:
    inner = st.just("silver.t") if depth == 0 else queries(depth - 1).map(lambda q: f"({q}) AS q")
    origin = draw(st.one_of(TABLES, TABLES, inner))
    columns = ", ".join(draw(st.lists(EXPRESSIONS, min_size=1, max_size=3)))
    sql = f"SELECT {columns} FROM {origin}"
    if draw(st.booleans()):
        sql += f" WHERE {draw(EXPRESSIONS)} IN (SELECT 1 FROM {draw(TABLES)})"
    if draw(st.booleans()):
        name = quoted(draw(NAMES))
        sql = f"WITH {name} AS ({sql}) SELECT * FROM {name} JOIN {draw(TABLES)} ON true"
    return sql


@RELAXED
@given(TEXTS)
def test_any_text_is_refused_or_becomes_a_query_within_the_policy(text: str) -> None:
    try:
        query = check_query(text, POLICY)
        assert {table.schema for table in query.tables} <= set(POLICY.schemas)
        to_duckdb(query.sql, POLICY)
    except (SqlRefused, NotSupported):
        pass


@RELAXED
@given(TEXTS, st.booleans())
def test_any_text_is_refused_or_becomes_a_script(text: str, has_source: bool) -> None:
    try:
        script = check_script(text, POLICY, has_source)
    except SqlRefused:
        return
    again = check_script(
        "".join(f"CREATE TEMPORARY VIEW `{name}` AS {sql};" for name, sql in script.views)
        + script.select,
        POLICY,
        has_source,
    )
    assert again == script


@RELAXED
@given(queries())
def test_a_query_that_passes_passes_again_and_means_the_same(sql: str) -> None:
    once = check_query(sql, POLICY)
    assert check_query(once.sql, POLICY) == once


@RELAXED
@given(queries())
def test_sql_for_duckdb_reads_only_the_tables_that_were_checked(sql: str) -> None:
    query = check_query(sql, POLICY)
    try:
        translated = to_duckdb(query.sql, POLICY, "lake")
    except AsgardError:
        return
    (tree,) = parse(translated, DuckDBSql, slack=4).trees
    read = {
        TableName(table.db, table.name)
        for table in tree.find_all(exp.Table)
        if cte_of(table) is None
    }
    assert read == set(query.tables)


@RELAXED
@given(queries())
def test_a_dbt_model_renders_to_its_exact_query(sql: str) -> None:
    query = check_query(sql, POLICY)
    model = to_dbt_model(query.sql, set(), "trino", POLICY)
    rendered = jinja2.Template(model).render(
        source=lambda schema, name: f"{quoted(schema)}.{quoted(name)}"
    )
    aliased = check_query(rendered, POLICY)
    assert aliased.tables == query.tables
    literals = [node.this for node in parse(query.sql, TrinoSql).trees[0].find_all(exp.Literal)]
    retained = [node.this for node in parse(aliased.sql, TrinoSql).trees[0].find_all(exp.Literal)]
    assert retained == literals


@RELAXED
@given(NAMES, st.text(LETTERS, max_size=20))
def test_names_and_strings_reach_duckdb_as_they_were_written(name: str, text: str) -> None:
    literal = "'" + text.replace("'", "''") + "'"
    try:
        query = check_query(f"SELECT {literal} AS {quoted(name)}", POLICY)
        sql = to_duckdb(query.sql, POLICY)
    except SqlRefused:
        assert "{" in text + name
        return
    with duckdb.connect() as connection:
        result = connection.execute(sql)
        assert result.description is not None
        assert result.description[0][0].lower() == name.lower()
        assert result.fetchall() == [(text,)]


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=10))
def test_near_matches_exist_and_an_exact_match_comes_first(
    missing: str, existing: list[str]
) -> None:
    near = near_matches(missing, [*existing, "silver." + missing])
    assert set(near) <= {*existing, "silver." + missing}
    assert len(near) <= 3
