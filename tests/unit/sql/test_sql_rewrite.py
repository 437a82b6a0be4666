"""Guarded queries for DuckDB and dbt: names bound, views expanded, nothing read as Jinja."""

import jinja2
import pytest

from app.errors import SqlJinja, SqlRefused, SqlTableRefused
from app.sql.guard.guard import check_query
from app.sql.model import SqlPolicy
from app.sql.rewrite import to_dbt_model, to_duckdb

POLICY = SqlPolicy(silver_schema="s_prod")


def test_tables_are_bound_to_the_attached_catalog() -> None:
    query = check_query("SELECT silver.t.a FROM silver.t JOIN gold.u USING (a)", POLICY)
    assert to_duckdb(query.sql, POLICY, "lake") == (
        'SELECT "t"."a" FROM "lake"."s_prod"."t" JOIN "lake"."gold"."u" USING ("a")'
    )


def test_each_view_becomes_one_cte_in_the_order_of_their_use() -> None:
    views = {
        "gold.v": "SELECT x AS b FROM gold.w",
        "gold.w": "WITH q AS (SELECT 1 AS x) SELECT q.x FROM silver.z, q",
    }
    sql = to_duckdb("SELECT gold.v.b FROM gold.v, gold.w o", POLICY, views=views)
    assert sql == (
        'WITH "asgard_cte_0" AS (WITH "asgard_cte_2" AS (SELECT 1 AS "x") SELECT "q"."x" '
        'FROM "iceberg"."s_prod"."z", "asgard_cte_2" AS "q"), '
        '"asgard_cte_1" AS (SELECT "x" AS "b" FROM "asgard_cte_0" AS "w") '
        'SELECT "v"."b" FROM "asgard_cte_1" AS "v", "asgard_cte_0" AS "o"'
    )


def test_a_cte_of_the_query_cannot_stand_in_for_a_view() -> None:
    query = "WITH asgard_view_0 AS (SELECT 1 AS x) SELECT * FROM gold.v, asgard_view_0"
    sql = to_duckdb(query, POLICY, views={"gold.v": "SELECT 2 AS y"})
    assert sql == (
        'WITH "asgard_cte_0" AS (SELECT 2 AS "y"), "asgard_cte_1" AS (SELECT 1 AS "x") '
        'SELECT * FROM "asgard_cte_0" AS "v", "asgard_cte_1" AS "asgard_view_0"'
    )


@pytest.mark.parametrize(
    "views",
    [
        {"gold.v": "SELECT * FROM gold.v"},
        {"gold.v": "SELECT * FROM gold.w", "gold.w": "SELECT * FROM gold.v"},
        {"gold.v": "SELECT * FROM gold.v0"}
        | {f"gold.v{n}": f"SELECT * FROM gold.v{n + 1}" for n in range(12)},
    ],
)
def test_views_that_read_themselves_or_nest_too_deep_are_refused(views: dict[str, str]) -> None:
    with pytest.raises(SqlRefused):
        to_duckdb("SELECT * FROM gold.v", POLICY, views=views)


def test_the_guard_checks_views_again() -> None:
    with pytest.raises(SqlTableRefused):
        to_duckdb("SELECT * FROM gold.v", POLICY, views={"gold.v": "SELECT * FROM asgard.runs"})


def test_jinja_that_appears_only_after_translation_is_refused() -> None:
    sql = check_query("SELECT U&'\\007b\\007b x \\007d\\007d'", POLICY).sql
    with pytest.raises(SqlJinja):
        to_duckdb(sql, POLICY)


@pytest.mark.parametrize("dialect", ["trino", "duckdb"])
def test_a_dbt_model_names_sources_and_refs_and_renders_to_the_same_sql(dialect: str) -> None:
    query = check_query(
        "SELECT silver.t.a, '{' || '% x }' || '\r\n' AS \"b{\" FROM silver.t "
        'JOIN gold."it\'s" ON true JOIN gold.m x ON true JOIN gold.m ON true',
        POLICY,
    )
    model = to_dbt_model(query.sql, {"m"}, dialect, POLICY)
    calls: list[tuple[str, ...]] = []

    def source(*names: str) -> str:
        calls.append(names)
        return ".".join(f'"{name}"' for name in ("iceberg", *names))

    rendered = jinja2.Template(model).render(
        source=source, ref=lambda name: source("gold", name) + "/* ref */"
    )
    assert calls == [("s_prod", "t"), ("gold", "it's"), ("gold", "m"), ("gold", "m")]
    assert rendered == (
        'SELECT "t"."a", \'{\' || \'% x }\' || \'\r\n\' AS "b{" FROM "iceberg"."s_prod"."t" '
        'AS "t" JOIN "iceberg"."gold"."it\'s" AS "it\'s" ON TRUE JOIN "iceberg"."gold"."m"'
        '/* ref */ AS "x" ON TRUE JOIN "iceberg"."gold"."m"/* ref */ AS "m" ON TRUE'
    )


@pytest.mark.parametrize("dialect", ["trino", "duckdb"])
def test_text_that_looks_like_the_mark_of_a_relation_stays_text(dialect: str) -> None:
    """DuckDB's text has no escapes, so the caller's text does not show what it will contain."""
    query = check_query("SELECT U&'\"\\0061sgard_relation_7\"' AS a FROM gold.m", POLICY)
    model = to_dbt_model(query.sql, {"m"}, dialect, POLICY)
    assert "{{ ref('m') }}" in model
    if dialect == "duckdb":
        assert "'\"asgard_relation_7\"'" in model
