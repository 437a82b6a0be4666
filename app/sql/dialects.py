"""The dialects of the SQL engines, by name: how a guarded query gets into each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, UnsupportedError

from app.errors import NotSupported
from app.sql.calls import as_calls
from app.sql.duckdb.names import hide_aliases, order_using_columns
from app.sql.duckdb.operators import restore_null_skippers
from app.sql.duckdb.translate import translate
from app.sql.duckdb.virtual_columns import hide_rows, hide_virtual_columns
from app.sql.duckdb.zones import mark_uses
from app.sql.expand_views import expand
from app.sql.guard.guard import check_duckdb_tree, check_query, render_query
from app.sql.jinja import check_sql_text
from app.sql.model import SqlPolicy
from app.sql.parse import DuckDBSql, Parsed, TrinoSql, parse, too_deep
from app.sql.render import render
from app.sql.tables import physical_tables, rename_ctes

NO_VIEWS: Mapping[str, str] = {}


@dataclass(frozen=True)
class EngineDialect:
    sqlglot: type[Dialect]
    tree: Callable[[str, SqlPolicy, str, Mapping[str, str]], exp.Expr]
    """Parses a query, and translates it into the dialect. The other arguments are the catalog of
    its tables, or an empty string, and the views to expand."""
    text: Callable[[exp.Expr, SqlPolicy, str], str]
    """Returns the text of such a tree, after the guard has checked it once more."""


def checked_tree(sql: str, policy: SqlPolicy) -> exp.Expr:
    tree = parse(check_query(sql, policy).sql, TrinoSql).trees[0]
    as_calls(tree)
    return tree


def _duckdb_tree(sql: str, policy: SqlPolicy, catalog: str, views: Mapping[str, str]) -> exp.Expr:
    try:
        tree = expand(checked_tree(sql, policy), views, lambda view: checked_tree(view, policy))
        rename_ctes(tree)
        order_using_columns(tree)
        mark_uses(tree)
        tree = translate(hide_aliases(tree))
        hide_rows(tree)
        hide_virtual_columns(tree)
    except RecursionError as error:
        raise too_deep() from error
    if catalog:
        for table in list(physical_tables(tree)):
            table.set("catalog", exp.to_identifier(catalog, quoted=True))
    return tree


def _duckdb_text(tree: exp.Expr, policy: SqlPolicy, catalog: str) -> str:
    def check(parsed: Parsed, again: exp.Expr) -> None:
        check_duckdb_tree(parsed, again, policy, catalog)
        restore_null_skippers(again)

    try:
        sql = render(tree, DuckDBSql, check, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise NotSupported(
            f"The embedded SQL engine does not support this: {error}", setting="TRINO_HOST"
        ) from error
    check_sql_text(sql)
    return sql


def _trino_tree(sql: str, policy: SqlPolicy, _: str, __: Mapping[str, str]) -> exp.Expr:
    """Trino reads names and views as they are."""
    return checked_tree(sql, policy)


def _trino_text(tree: exp.Expr, policy: SqlPolicy, _: str) -> str:
    return render_query(tree, policy)


DIALECTS: Mapping[str, EngineDialect] = {
    "trino": EngineDialect(TrinoSql, _trino_tree, _trino_text),
    "duckdb": EngineDialect(DuckDBSql, _duckdb_tree, _duckdb_text),
}
"""The dialects by the names that `ProjectTarget.dialect` of an engine gives."""
