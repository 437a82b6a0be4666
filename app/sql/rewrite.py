"""Rewrites guarded SQL for the engines: binds names, expands views, translates it for DuckDB."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

from sqlglot import exp
from sqlglot.errors import ErrorLevel, UnsupportedError

from app.errors import NotSupported, SqlRefused, SqlTableRefused
from app.sql.calls import as_calls
from app.sql.duckdb.operators import restore_null_skippers
from app.sql.duckdb.translate import translate
from app.sql.duckdb.virtual_columns import hide_rows, hide_virtual_columns
from app.sql.expand_views import expand
from app.sql.guard.guard import ScriptGuard, check_duckdb_tree, check_query, render_query
from app.sql.guard.paths import PATH_FORMATS
from app.sql.guard.spark_script import SOURCE_NAMES
from app.sql.jinja import check_sql_text, printed, string
from app.sql.model import BoundScript, GuardedScript, PathTable, SqlPolicy, TableName
from app.sql.parse import DuckDBSql, Parsed, SparkSql, TrinoSql, generate, parse, too_deep
from app.sql.render import SLACK, render
from app.sql.tables import fold, physical_tables, rename_ctes

NO_VIEWS: Mapping[str, str] = {}


def to_duckdb(
    query_sql: str,
    policy: SqlPolicy,
    catalog_alias: str = "iceberg",
    views: Mapping[str, str] = NO_VIEWS,
) -> str:
    """Return the query over `catalog_alias.schema.table` for DuckDB, with `views` expanded.

    Raises:
        NotSupported: DuckDB has no equivalent of something in it.
        SqlRefused: the query or a view does not pass the guard.
    """
    tree = _duckdb_tree(query_sql, policy, catalog_alias, views)
    sql = _duckdb_text(tree, policy, catalog_alias)
    check_sql_text(sql)
    return sql


def with_stand_ins(query_sql: str, policy: SqlPolicy, queries: Mapping[str, str]) -> str:
    """Return the query in Trino's dialect, with these queries in place of tables or views."""
    try:
        tree = expand(
            _checked_tree(query_sql, policy), queries, lambda query: _checked_tree(query, policy)
        )
    except RecursionError as error:
        raise too_deep() from error
    return render_query(tree, policy)


def to_dbt_model(
    query_sql: str,
    refs: Collection[str],
    dialect: Literal["trino", "duckdb"],
    policy: SqlPolicy,
    views: Mapping[str, str] = NO_VIEWS,
) -> str:
    """Return the query as the text of a dbt model.

    `refs` are the names of gold tables that are models. They become `{{ ref('x') }}`, and any other
    table `{{ source('schema', 't') }}` with the schema's real name. Jinja prints all other
    text unchanged and reads no template in it.
    """
    if dialect == "duckdb":
        tree = _duckdb_tree(query_sql, policy, "", views)
    else:
        tree = _checked_tree(query_sql, policy)
    for table in list(physical_tables(tree)):
        if not table.args.get("alias"):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
    if dialect == "duckdb":
        engine_sql = _duckdb_text(tree, policy, "")
        check_sql_text(engine_sql)
    else:
        engine_sql = render_query(tree, policy)
    salt = "asgard_relation_"
    while salt in query_sql or any(salt in sql for sql in views.values()):
        salt += "_"
    calls: dict[str, str] = {}
    names: dict[str, str] = {}
    for table in list(physical_tables(tree)):
        name = TableName(table.db, table.name)
        call = calls.setdefault(_relation(name, refs, policy.gold_schema), f"{salt}{len(calls)}")
        names[call] = f'"{name.schema}"."{name.name}"'
        table.set("this", exp.to_identifier(call, quoted=True))
        table.set("db", None)
        table.set("catalog", None)
    relations = {mark: call for call, mark in calls.items()}
    sql = generate(tree, DuckDBSql if dialect == "duckdb" else TrinoSql)
    pieces = re.split(f'"({re.escape(salt)}[0-9]+)"', sql)
    # The model may differ from the checked text only in its relations.
    if "".join(names[piece] if n % 2 else piece for n, piece in enumerate(pieces)) != engine_sql:
        raise SqlRefused("The SQL is ambiguous: it cannot be written as a dbt model.")
    return "".join(
        relations[piece] if number % 2 else printed(piece) for number, piece in enumerate(pieces)
    )


def bound(
    script: GuardedScript, source_view: str | None, catalog: str, policy: SqlPolicy
) -> BoundScript:
    """Return the script with a view for each path that it reads."""
    names = {path: f"asgard_path_{number}" for number, path in enumerate(script.paths, 1)}
    views, select = bind_script(script, names, source_view, catalog, policy)
    return BoundScript(
        views, select, script.tables, tuple(names.items()), reads_source=script.reads_source
    )


def bind_script(
    script: GuardedScript,
    names: Mapping[PathTable, str],
    source_view: str | None,
    catalog: str,
    policy: SqlPolicy,
) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return the script with `catalog.schema.table` for tables, and views for paths and source."""
    views = {fold(name) for name, _ in script.views}
    readable = [*(name for name, _ in script.views), *names.values(), *filter(None, [source_view])]

    def add_catalog(tree: exp.Expr) -> None:
        for table in list(physical_tables(tree)):
            if table.db:
                table.set("catalog", exp.to_identifier(catalog, quoted=True))

    def check(parsed: Parsed, tree: exp.Expr) -> None:
        guard = ScriptGuard(replace(policy, catalog=catalog), has_source_path=False)
        guard.views = {fold(name): name for name in readable}
        guard.check(parsed, tree)
        if guard.paths or not guard.tables.keys() <= set(script.tables):
            raise SqlTableRefused("The SQL is ambiguous: it reads more than it names.")
        add_catalog(tree)

    def bind(sql: str) -> str:
        tree = parse(sql, SparkSql, slack=SLACK).trees[0]
        for table in list(physical_tables(tree)):
            if not isinstance(table.this, exp.Identifier):
                continue
            if not table.db:
                if fold(table.name) in SOURCE_NAMES and fold(table.name) not in views:
                    table.set("this", exp.to_identifier(source_view, quoted=True))
            elif table.db in PATH_FORMATS:
                key = table.name.removeprefix("s3://").partition("/")[2]
                table.set("this", exp.to_identifier(names[PathTable(table.db, key)], quoted=True))
                table.set("db", None)
        add_catalog(tree)
        rename_ctes(tree)
        return render(tree, SparkSql, check)

    return tuple((name, bind(sql)) for name, sql in script.views), bind(script.select)


def _checked_tree(sql: str, policy: SqlPolicy) -> exp.Expr:
    tree = parse(check_query(sql, policy).sql, TrinoSql).trees[0]
    as_calls(tree)
    return tree


def _duckdb_tree(sql: str, policy: SqlPolicy, catalog: str, views: Mapping[str, str]) -> exp.Expr:
    try:
        tree = expand(_checked_tree(sql, policy), views, lambda view: _checked_tree(view, policy))
        rename_ctes(tree)
        tree = translate(tree)
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
        return render(tree, DuckDBSql, check, unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise NotSupported(
            f"The embedded SQL engine does not support this: {error}", setting="TRINO_HOST"
        ) from error


def _relation(name: TableName, refs: Collection[str], gold_schema: str) -> str:
    if name.schema == gold_schema and name.name in refs:
        return f"{{{{ ref({string(name.name)}) }}}}"
    return f"{{{{ source({string(name.schema)}, {string(name.name)}) }}}}"
