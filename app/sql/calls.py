"""Recognizes function calls in trees and names them.

Nearly every call is left as it was written (see `parse`). What remains are calls with a syntax of
their own (CAST, EXTRACT, CURRENT_DATE, …) and a few that sqlglot reads by special parsers.
"""

from sqlglot import exp

from app.sql.tables import fold

# Functions to sqlglot, operators or syntax to us: `allowed_nodes` checks them.
_NO_CALLS = (exp.And, exp.Or, exp.Connector)
_NAMES: dict[type[exp.Expr], str] = {
    exp.CurrentTimestamp: "current_timestamp",
    exp.GroupConcat: "listagg",
    exp.ParseJSON: "json_parse",
    exp.RegexpLike: "regexp_like",
    exp.StrPosition: "strpos",
    exp.Substring: "substring",
}
# Words that are functions without parentheses in some dialect, though sqlglot reads them as
# columns.
_BARE = frozenset(
    (
        *("current_catalog", "current_database", "current_groups", "current_path"),
        *("current_role", "current_schema", "current_setting", "current_user", "session_user"),
    )
)


def call_name(node: exp.Expr) -> str | None:
    """Return the name of the function that `node` calls, in lower case, or None."""
    if isinstance(node, exp.Identifier | exp.Literal | exp.Tuple):
        return None  # most nodes are these
    if isinstance(node, exp.Anonymous):
        return fold(node.name)
    if isinstance(node, exp.AnonymousAggFunc | exp.CombinedAggFunc):
        return fold(str(node.this))
    if isinstance(node, exp.JSONExtract) and node.args.get("json_query"):
        return "json_query"  # it has another path language and other results than json_extract
    if isinstance(node, exp.Func) and not isinstance(node, _NO_CALLS):
        return _NAMES.get(type(node)) or fold(node.sql_name())
    if (
        isinstance(node, exp.Column)
        and not node.table
        and isinstance(node.this, exp.Identifier)
        and not node.this.quoted
        and fold(node.name) in _BARE
    ):
        return fold(node.name)
    return None


def is_table_function(table: exp.Table) -> bool:
    return isinstance(table.this, exp.Func)


def as_calls(tree: exp.Expr) -> None:
    """Turn special forms of calls into plain calls wherever possible, in place."""
    for node in list(tree.walk()):
        if isinstance(node, exp.Anonymous):
            node.set("this", fold(node.name))
        elif isinstance(node, exp.ParseJSON):
            _plain(node, node.this)
        elif isinstance(node, exp.Substring):
            _plain(node, node.this, node.args.get("start"), node.args.get("length"))
        elif isinstance(node, exp.StrPosition):
            _plain(node, node.this, node.args.get("substr"))
        elif isinstance(node, exp.AtTimeZone):
            _plain(node, node.this, node.args.get("zone"), name="at_timezone")


def _plain(node: exp.Expr, *args: exp.Expr | None, name: str | None = None) -> None:
    given = [arg for arg in args if arg is not None]
    node.replace(exp.Anonymous(this=name or call_name(node), expressions=given))
