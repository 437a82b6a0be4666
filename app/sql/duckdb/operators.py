"""Translates operators and syntax of Trino that mean something else in DuckDB."""

from collections.abc import Callable

from sqlglot import exp

from app.sql.duckdb.casts import cast
from app.sql.duckdb.functions import EXTRACT_FIELDS, TEMPLATES
from app.sql.duckdb.numbers import divide, remainder, subscript
from app.sql.duckdb.rows import case, equality, is_row, membership, order
from app.sql.duckdb.templates import filled, unsupported, witness
from app.sql.duckdb.trim import trim
from app.sql.tables import fold


def _shift(node: exp.Expr) -> exp.Expr:
    """Keep a date plus an interval a date. DuckDB would make it a timestamp."""
    if isinstance(node.expression, exp.Interval):
        moved = node.this
    elif isinstance(node.this, exp.Interval) and isinstance(node, exp.Add):
        moved = node.expression
    else:
        return node
    return exp.Anonymous(this="cast_to_type", expressions=[node.copy(), witness(moved)])


def _extract(node: exp.Expr) -> exp.Expr:
    field = node.name.lower()
    node.set("this", exp.var(EXTRACT_FIELDS.get(field, field).upper()))
    return node


def _filter(node: exp.Expr) -> exp.Expr:
    """Average decimals to a decimal with FILTER, too: by a CASE, since the template calls more."""
    call = node.this
    if not isinstance(call, exp.Anonymous) or call.name != "avg" or len(call.expressions) != 1:
        return node
    value = call.expressions[0]
    if isinstance(node.parent, exp.Window) or isinstance(value, exp.Distinct):
        return node
    chosen = filled("CASE WHEN _1 THEN _0 END", [value, node.expression.this])
    return filled(TEMPLATES["avg"][0], [chosen])


def _ignore_nulls(node: exp.Expr) -> exp.Expr:
    """Turn `lag(x) IGNORE NULLS` into DuckDB's `lag(x IGNORE NULLS)`."""
    call = node.this
    if not isinstance(call, exp.Anonymous):
        return node
    if not isinstance(node.parent, exp.Window) or not call.expressions:
        raise unsupported("IGNORE NULLS outside of window functions")
    first, *rest = (arg.copy() for arg in call.expressions)
    kind = _NULL_SKIPPERS.get(call.name)
    if kind is None:
        raise unsupported(f"{call.name} with IGNORE NULLS")
    options = dict(zip(("offset", "default"), rest, strict=False))
    return exp.IgnoreNulls(this=kind(this=first, **options))


def restore_null_skippers(tree: exp.Expr) -> None:
    """Turn the parsed `lag(x IGNORE NULLS)` back into the nodes that it was printed from, in
    place."""
    for inner in list(tree.find_all(exp.IgnoreNulls)):
        call = inner.parent
        if isinstance(call, exp.Anonymous) and inner.arg_key == "expressions":
            inner.replace(inner.this.copy())
            call.set("this", fold(call.name))
            outer = exp.IgnoreNulls(this=call.copy())
            call.replace(outer)
            outer.replace(_ignore_nulls(outer))


def _unnest(node: exp.Expr) -> exp.Expr:
    alias = node.args.get("alias")
    names = len(alias.columns) if isinstance(alias, exp.TableAlias) else 0
    (first, *more) = node.expressions
    has_rows = isinstance(first, exp.Array) and any(map(is_row, first.expressions))
    if more or names > 1 or has_rows:
        raise unsupported("UNNEST of several arrays, of a map or of rows")
    return node


def _limit_options(node: exp.Expr) -> exp.Expr:
    if node.args.get("with_ties") or node.args.get("percent"):
        raise unsupported("FETCH … WITH TIES")
    return node


def _call(template: str) -> Callable[[exp.Expr], exp.Expr]:
    """Write a call: DuckDB would read the bare word as a column if a table has one of that name."""
    return lambda _node: filled(template, [])


def _never(what: str) -> Callable[[exp.Expr], exp.Expr]:
    def refuse(_node: exp.Expr) -> exp.Expr:
        raise unsupported(what)

    return refuse


_NULL_SKIPPERS: dict[str, type[exp.Expr]] = {
    "first_value": exp.FirstValue,
    "lag": exp.Lag,
    "last_value": exp.LastValue,
    "lead": exp.Lead,
    "nth_value": exp.NthValue,
}
RULES: dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Add: _shift,
    exp.Between: order,
    exp.Case: case,
    exp.Cast: cast,
    exp.Bracket: subscript,
    exp.CurrentDate: _call("today()"),
    exp.CurrentTime: _never("CURRENT_TIME"),
    exp.CurrentTimestamp: _call("now()"),
    exp.Div: divide,
    exp.EQ: equality,
    exp.Extract: _extract,
    exp.Filter: _filter,
    exp.GT: order,
    exp.GTE: order,
    exp.IgnoreNulls: _ignore_nulls,
    exp.In: membership,
    exp.IntervalSpan: _never("INTERVAL YEAR TO MONTH or DAY TO SECOND"),
    exp.LimitOptions: _limit_options,
    exp.LT: order,
    exp.LTE: order,
    exp.Localtime: _call("CAST(CAST(now() AS TIMESTAMP) AS TIME)"),
    exp.Localtimestamp: _call("CAST(now() AS TIMESTAMP)"),
    exp.Mod: remainder,
    exp.NEQ: equality,
    exp.RespectNulls: lambda node: node.this.copy(),
    exp.Sub: _shift,
    exp.Trim: trim,
    exp.TryCast: cast,
    exp.Unnest: _unnest,
}
