"""Compares rows as Trino does: member by member, where a NULL leaves the result unknown.

DuckDB takes NULL for equal to NULL inside of rows, arrays and maps.
"""

from collections.abc import Sequence

from sqlglot import exp

from app.sql.duckdb.templates import operand, unsupported

_NESTED = (exp.DType.ARRAY, exp.DType.LIST, exp.DType.MAP, exp.DType.STRUCT)
_MAKERS = frozenset(("array_agg", "map", "map_agg", "map_from_entries", "row", "split"))


def equality(node: exp.Expr) -> exp.Expr:
    """Translate `=` and `<>`."""
    if not (_is_nested(node.this) or _is_nested(node.expression)):
        return node
    equal = _equal(node.this, node.expression)
    return operand(exp.Not(this=exp.Paren(this=equal)) if isinstance(node, exp.NEQ) else equal)


def membership(node: exp.Expr) -> exp.Expr:
    """Translate IN with a list."""
    values: Sequence[exp.Expr] = node.expressions
    if not any(map(_is_nested, (node.this, *values))):
        return node
    if node.args.get("query") or not values or isinstance(values[0], exp.Values | exp.Subquery):
        raise unsupported("IN with a row and a subquery")
    return exp.Paren(this=_any(node.this, values))


def _any(value: exp.Expr, values: Sequence[exp.Expr]) -> exp.Expr:
    """Compare with each value, in a balanced tree: a list may be long."""
    if len(values) == 1:
        return _equal(value, values[0])
    half = len(values) // 2
    left, right = _any(value, values[:half]), _any(value, values[half:])
    return exp.Or(this=exp.Paren(this=left), expression=exp.Paren(this=right))


def order(node: exp.Expr) -> exp.Expr:
    """Refuse `<`, BETWEEN and the like of nested values."""
    parts = [node.this, node.args.get("expression"), node.args.get("low"), node.args.get("high")]
    if any(part is not None and _is_nested(part) for part in parts):
        raise unsupported("A comparison of rows, arrays or maps other than = and <>")
    return node


def case(node: exp.Expr) -> exp.Expr:
    value = node.this
    if value is not None and any(map(_is_nested, (value, *(if_.this for if_ in node.args["ifs"])))):
        raise unsupported("CASE of a row, an array or a map")
    return node


def is_row(value: exp.Expr) -> bool:
    """Return whether the value is a row that is written out."""
    is_call = isinstance(value, exp.Anonymous) and value.name == "row"
    return is_call or isinstance(value, exp.Tuple)


def refuse_nested(name: str, arguments: Sequence[exp.Expr]) -> None:
    """Refuse a function that compares its arguments."""
    if any(map(_is_nested, arguments)):
        raise unsupported(f"{name} of rows, arrays or maps")


def _equal(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    ours, theirs = _members(left), _members(right)
    if ours is None or theirs is None or len(ours) != len(theirs):
        raise unsupported("A comparison of arrays, maps or rows that are not written as (a, b)")
    pairs = [
        exp.Paren(this=equality(exp.EQ(this=operand(a), expression=operand(b))))
        for a, b in zip(ours, theirs, strict=True)
    ]
    result: exp.Expr = pairs[0]
    for pair in pairs[1:]:
        result = exp.And(this=result, expression=pair)
    return result


def _members(value: exp.Expr) -> Sequence[exp.Expr] | None:
    value = value.unnest()
    return value.expressions or None if is_row(value) else None


def _is_nested(value: exp.Expr) -> bool:
    value = value.unnest()
    if isinstance(value, exp.Cast):
        return value.to.this in _NESTED
    if isinstance(value, exp.Anonymous):
        return value.name in _MAKERS
    return isinstance(value, exp.Tuple | exp.Array)
