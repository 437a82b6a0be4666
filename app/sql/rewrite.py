"""Rewrites guarded SQL for the engines: as a query, as a dbt model or as a script of Spark."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from sqlglot import exp

from app.errors import SqlRefused, SqlTableRefused
from app.sql.dialects import DIALECTS, NO_VIEWS, checked_tree
from app.sql.expand_views import expand
from app.sql.guard.guard import ScriptGuard, render_query
from app.sql.guard.paths import PATH_FORMATS
from app.sql.guard.spark_script import SOURCE_NAMES
from app.sql.guard.spark_units import keep_units
from app.sql.jinja import printed, string
from app.sql.model import BoundScript, GuardedScript, PathTable, SqlPolicy, TableName
from app.sql.parse import Parsed, SparkSql, generate, parse, too_deep
from app.sql.render import SLACK, render
from app.sql.tables import fold, physical_tables, rename_ctes


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
    dialect = DIALECTS["duckdb"]
    tree = dialect.tree(query_sql, policy, catalog_alias, views)
    return dialect.text(tree, policy, catalog_alias)


def with_stand_ins(query_sql: str, policy: SqlPolicy, queries: Mapping[str, str]) -> str:
    """Return the query in Trino's dialect, with these queries in place of tables or views."""
    try:
        tree = expand(
            checked_tree(query_sql, policy), queries, lambda query: checked_tree(query, policy)
        )
    except RecursionError as error:
        raise too_deep() from error
    return render_query(tree, policy)


def to_dbt_model(
    query_sql: str,
    refs: Collection[str],
    dialect: str,
    policy: SqlPolicy,
    views: Mapping[str, str] = NO_VIEWS,
) -> str:
    """Return the query as the text of a dbt model.

    `refs` are the names of gold tables that are models. They become `{{ ref('x') }}`, and any other
    table `{{ source('schema', 't') }}` with the schema's real name. Jinja prints all other
    text unchanged and reads no template in it. `dialect` is a name of `DIALECTS`.
    """
    engine = DIALECTS[dialect]
    tree = engine.tree(query_sql, policy, "", views)
    for table in list(physical_tables(tree)):
        if not table.args.get("alias"):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
    engine_sql = engine.text(tree, policy, "")
    salt = "asgard_relation_"
    while salt in engine_sql:  # Not only in the caller's text: the engine's has no escapes.
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
    sql = generate(tree, engine.sqlglot)
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
            raise SqlTableRefused("The SQL is ambiguous: it reads tables that it does not name.")
        add_catalog(tree)

    def bind(sql: str) -> str:
        tree = parse(sql, SparkSql, slack=SLACK).trees[0]
        physical = list(physical_tables(tree))
        rename_ctes(tree)  # First: a CTE may have the name that a table gets below.
        keep_units(tree.walk())
        for table in physical:
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
        return render(tree, SparkSql, check)

    return tuple((name, bind(sql)) for name, sql in script.views), bind(script.select)


def _relation(name: TableName, refs: Collection[str], gold_schema: str) -> str:
    if name.schema == gold_schema and name.name in refs:
        return f"{{{{ ref({string(name.name)}) }}}}"
    return f"{{{{ source({string(name.schema)}, {string(name.name)}) }}}}"
