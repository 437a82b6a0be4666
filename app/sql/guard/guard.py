"""Checks clients' SQL on its parsed tree, by allow-lists, in the dialect of its domain."""

from collections.abc import Sized

from sqlglot import exp

from app.errors import (
    PathRefused,
    SqlFunctionRefused,
    SqlNotSelect,
    SqlRefused,
    SqlTableRefused,
    SqlTooLarge,
)
from app.nearest import near_matches
from app.sql.calls import as_calls, call_name, is_table_function
from app.sql.duckdb.functions import DUCKDB
from app.sql.guard import functions
from app.sql.guard.allowed_nodes import QUERIES, WRITES, check_printed, check_shape
from app.sql.guard.iceberg_columns import refuse_added_columns, refuse_hidden_column
from app.sql.guard.paths import PATH_FORMATS, normalise_path
from app.sql.guard.positions import check_position
from app.sql.guard.qualified_columns import shorten_columns
from app.sql.guard.spark_script import SOURCE_NAMES, view_of
from app.sql.guard.spark_units import keep_units
from app.sql.guard.unnamed_columns import unnamed_column
from app.sql.guard.user_columns import qualify_user_columns
from app.sql.jinja import check_sql_text
from app.sql.limits import MAX_TABLES
from app.sql.model import GuardedQuery, GuardedScript, PathTable, SqlPolicy, TableName
from app.sql.parse import Parsed, SparkSql, TrinoSql, parse, too_deep
from app.sql.render import Check, refuse_variables, render
from app.sql.tables import CTE_PREFIX, cte_of, fold, resolve


def check_query(sql: str, policy: SqlPolicy) -> GuardedQuery:
    """Check one SELECT in Trino's dialect.

    Raises:
        SqlRefused: one of its kinds, with the position if that is known.
    """
    check_sql_text(sql)
    try:
        parsed = parse(sql, TrinoSql)
        tree = _only_statement(parsed)
        tables = check_query_tree(parsed, tree, policy)
        unnamed = unnamed_column(parsed, tree)
        return GuardedQuery(render_query(tree, policy), tables, unnamed)
    except RecursionError as error:
        raise too_deep() from error


def render_query(tree: exp.Expr, policy: SqlPolicy) -> str:
    """Return the text of a checked Trino tree, for Trino."""

    def check(parsed: Parsed, again: exp.Expr) -> None:
        check_query_tree(parsed, again, policy)

    return render(tree, TrinoSql, check)


def check_query_tree(parsed: Parsed, tree: exp.Expr, policy: SqlPolicy) -> tuple[TableName, ...]:
    """Check a Trino tree and make it canonical, in place: real schemas, no catalog, and names in
    lower case, as Trino reads them."""
    _check_reading(parsed, tree)
    tables: dict[TableName, None] = {}
    nodes = list(tree.walk())
    for node in nodes:
        check_shape(parsed, node, spark=False)
        _check_function(parsed, node, functions.TRINO)
        check_printed(parsed, node)
    for node in nodes:
        check_position(parsed, tree, node, spark=False)
        if isinstance(node, exp.Identifier):
            refuse_hidden_column(parsed, node)
            if not _is_field_as_written(node):
                node.set("this", fold(node.name))
        elif isinstance(node, exp.GroupConcat) and not node.args.get("separator"):
            node.set("separator", exp.Literal.string(""))  # sqlglot would print a comma
    for node in nodes:
        if not isinstance(node, exp.Table):
            continue
        if is_table_function(node):
            raise _table_function(parsed, node)
        if cte_of(node) is None:
            name = resolve(parsed, node, policy)
            tables[name] = None
            _check_count(tables)
            node.set("db", exp.to_identifier(name.schema, quoted=True))
            node.set("catalog", None)
    shorten_columns(parsed, tree, tables, policy)
    as_calls(tree)
    return tuple(tables)


def _is_field_as_written(name: exp.Identifier) -> bool:
    """Return whether it is the quoted name of a field in a type, whose case Trino keeps: JSON of
    `CAST(… AS ROW("userId" INTEGER))` has that key."""
    return bool(name.args.get("quoted")) and name.find_ancestor(exp.DataType) is not None


def check_duckdb_tree(parsed: Parsed, tree: exp.Expr, policy: SqlPolicy, catalog: str) -> None:
    """Check a tree for DuckDB: every call by DuckDB's name for it, every table and every CTE.

    Raises:
        SqlRefused: one of its kinds. This is not expected after `check_query`.
    """
    _check_reading(parsed, tree)
    for node in tree.walk():
        if isinstance(node, (*WRITES, exp.Placeholder, exp.Parameter, exp.Pivot)):
            raise SqlNotSelect("After translation for DuckDB, the SQL would be more than a SELECT.")
        _check_function(parsed, node, DUCKDB)
        check_printed(parsed, node)
        if not isinstance(node, exp.Table):
            continue
        if cte_of(node) is not None:
            if not node.name.startswith(CTE_PREFIX):
                raise SqlTableRefused(_would_read(node))
            continue
        if is_table_function(node):
            raise _table_function(parsed, node)
        if node.catalog != catalog or node.db not in policy.schemas:
            raise SqlTableRefused(_would_read(node))


def _would_read(table: exp.Table) -> str:
    name = table.name[:100]
    return f"After translation for DuckDB, the SQL would read {name!r}, which is not allowed."


def check_script(sql: str, policy: SqlPolicy, has_source_path: bool) -> GuardedScript:
    """Check temporary views and a final query in Spark's dialect.

    Raises:
        SqlRefused: one of its kinds, with the position if that is known.
    """
    try:
        return _check_script(sql, policy, has_source_path)
    except RecursionError as error:
        raise too_deep() from error


def _check_script(sql: str, policy: SqlPolicy, has_source_path: bool) -> GuardedScript:
    refuse_variables(sql)
    parsed = parse(sql, SparkSql)
    if not parsed.trees:
        raise SqlNotSelect("There is no SQL; the last statement must be a SELECT.")
    guard = ScriptGuard(policy, has_source_path)
    views: list[tuple[str, str]] = []
    for statement in parsed.trees[:-1]:
        name, query = view_of(parsed, statement)
        guard.check(parsed, query)
        views.append((name, render(query, SparkSql, guard.text_check())))
        guard.views[fold(name)] = name
    last = parsed.trees[-1]
    guard.check(parsed, last)
    return GuardedScript(
        views=tuple(views),
        select=render(last, SparkSql, guard.text_check()),
        tables=tuple(guard.tables),
        paths=tuple(guard.paths),
        reads_source=guard.reads_source,
    )


class ScriptGuard:
    """Checks the queries of one script. `views` are the temporary views that they may read."""

    def __init__(self, policy: SqlPolicy, has_source_path: bool) -> None:
        self._policy = policy
        self._has_source_path = has_source_path
        self.views: dict[str, str] = {}
        """Their names as they were written, by their folded names."""
        self.tables: dict[TableName, None] = {}
        self.paths: dict[PathTable, None] = {}
        self.reads_source = False

    def text_check(self) -> Check:
        """Return a check, by the same rules, for the text of a query that was checked."""
        guard = ScriptGuard(self._policy, self._has_source_path)
        guard.views = dict(self.views)
        return guard.check

    def check(self, parsed: Parsed, tree: exp.Expr) -> None:
        _check_reading(parsed, tree)
        if tree.args.get("hint"):
            tree.set("hint", None)
        nodes = list(tree.walk())
        for node in nodes:
            if isinstance(node, exp.Hint) or node.find_ancestor(exp.Hint):
                continue
            check_shape(parsed, node, spark=True)
            if not isinstance(node.parent, exp.Table):  # those are checked with their tables
                _check_function(parsed, node, functions.SPARK)
            check_printed(parsed, node)
        for node in nodes:
            if isinstance(node, exp.Select):
                node.set("hint", None)
            check_position(parsed, tree, node, spark=True)
            if isinstance(node, exp.Table):
                self._check_table(parsed, node)
        if any(isinstance(node, exp.Table) and _is_of_the_lake(node) for node in nodes):
            refuse_added_columns(parsed, nodes)
        shorten_columns(parsed, tree, self.tables, self._policy)
        keep_units(nodes)
        qualify_user_columns(parsed, tree)

    def _check_table(self, parsed: Parsed, table: exp.Table) -> None:
        if is_table_function(table):
            is_listed = call_name(table.this) in functions.SPARK_TABLE_FUNCTIONS
            if not is_listed or table.db or table.catalog:
                raise _table_function(parsed, table)
            return
        if cte_of(table) is not None:
            return
        if not table.db and isinstance(table.this, exp.Identifier):
            name = fold(table.name)
            if name in self.views:
                table.set("this", exp.to_identifier(self.views[name], quoted=True))
                return
            if name in SOURCE_NAMES:
                self._bind_source(parsed, table)
                return
        elif fold(table.db) in PATH_FORMATS and not table.catalog:
            self._check_path(parsed, table)
            return
        self._check_lake_table(parsed, table)

    def _check_lake_table(self, parsed: Parsed, table: exp.Table) -> None:
        try:
            name = resolve(parsed, table, self._policy)
        except SqlTableRefused as refused:
            allowed = (
                "silver.t, gold.t, parquet.`x`, json.`x`, csv.`x` (below bronze/), source_data"
            )
            refused.hint = f"The SQL may read {allowed}, and views that it has already created."
            raise
        self.tables[name] = None
        _check_count(self.tables)
        table.set("db", exp.to_identifier(name.schema, quoted=True))
        table.set("catalog", None)

    def _bind_source(self, parsed: Parsed, table: exp.Table) -> None:
        if not self._has_source_path:
            raise SqlTableRefused(
                f"The SQL reads {table.name}, but the request has no source_path.",
                hint="Give source_path, or read a path table: parquet.`flights`.",
                position=parsed.position(table),
            )
        self.reads_source = True
        if not table.args.get("alias"):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        table.set("this", exp.to_identifier(SOURCE_NAMES[0], quoted=True))
        table.set("db", None)
        if cte_of(table) is not None:
            raise SqlTableRefused(
                f"A WITH clause is named {SOURCE_NAMES[0]}, which is the name of the source_path's "
                "data.",
                hint="Rename the WITH clause.",
                position=parsed.position(table),
            )

    def _check_path(self, parsed: Parsed, table: exp.Table) -> None:
        if fold(table.name) == "source" and self._has_source_path:
            self._bind_source(parsed, table)
            return
        try:
            path = normalise_path(table.name, self._policy)
        except PathRefused as error:
            raise SqlTableRefused(
                error.detail, hint=error.hint, position=parsed.position(table)
            ) from error
        format_ = fold(table.db)
        self.paths[PathTable(format_, path)] = None
        _check_count(self.paths, "paths")
        table.set("db", exp.to_identifier(format_, quoted=True))
        table.set("this", exp.to_identifier(f"s3://{self._policy.bucket}/{path}", quoted=True))


def _is_of_the_lake(table: exp.Table) -> bool:
    return bool(table.db) and fold(table.db) not in PATH_FORMATS


def _check_count(named: Sized, what: str = "tables") -> None:
    if len(named) > MAX_TABLES:
        raise SqlTooLarge(
            f"The SQL reads more than {MAX_TABLES} {what}.",
            hint=f"Combine {what} into fewer ones, in several steps.",
        )


def _only_statement(parsed: Parsed) -> exp.Expr:
    if not parsed.trees:
        raise SqlNotSelect("There is no SQL; write one SELECT.")
    if len(parsed.trees) > 1:
        raise SqlNotSelect(
            "The SQL has more than one statement; write one SELECT.",
            position=parsed.position(parsed.trees[1]),
        )
    return parsed.trees[0]


def _check_reading(parsed: Parsed, tree: exp.Expr) -> None:
    if not isinstance(tree, QUERIES):
        kind = type(tree).__name__.upper()
        if isinstance(tree, exp.Command):
            kind = str(tree.this).upper()[:40]
        raise SqlNotSelect(
            f"The SQL is not a SELECT but {kind}; only a SELECT may run.",
            position=parsed.start if tree is parsed.trees[0] else parsed.position(tree),
        )


def _check_function(parsed: Parsed, node: exp.Expr, allowed: frozenset[str]) -> None:
    name = call_name(node)
    if name is None:
        return
    called = node
    while called.parent is not None and isinstance(called.parent, _WRAPPERS):
        called = called.parent
    is_in_dot = isinstance(called.parent, exp.Dot) and called.arg_key == "expression"
    if is_in_dot or isinstance(called.parent, exp.Column):
        raise SqlFunctionRefused(
            f"The function {name[:100]!r} is called with a schema or catalog before its name.",
            hint="Call functions by their plain names.",
            position=parsed.position(node),
            function=name[:100],
        )
    if name in allowed:
        return
    near = near_matches(name[:100], sorted(allowed))
    raise SqlFunctionRefused(
        f"The function {name[:100]!r} is not allowed.",
        hint=f"Did you mean {' or '.join(near)}?" if near else None,
        position=parsed.position(node),
        function=name[:100],
        suggested_functions=near or None,
    )


_WRAPPERS = (exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup, exp.Window)
"""What may stand around the call of an aggregate."""


def _table_function(parsed: Parsed, table: exp.Table) -> SqlRefused:
    name = call_name(table.this) or "…"
    return SqlFunctionRefused(
        f"The function {name[:100]!r} may not be used as a table.",
        hint="Tables are silver.t and gold.t; UNNEST turns an array into rows.",
        position=parsed.position(table),
        function=name[:100],
    )
