"""Translates divisions and subscripts, whose errors, rounding and types differ from DuckDB.

Types are not known here. DuckDB knows them when it binds, and drops the branches that do not apply.
"""

from sqlglot import exp

from app.sql.duckdb.templates import filled_once, operand, unsupported

_MOST_DIGITS = 18
# A quotient has the type that a remainder has: an integer, a double, or the wider scale of two
# decimals, with at least 10 digits before the point (`% 1` ensures this: an integer has 10).
# `//` divides integers as integers and everything else as `/` does.
# Doubles have 15 significant digits, so a half is still exactly a half when it is rounded.
_QUOTIENT = (
    "CASE WHEN typeof(_0 % _2 % 1) LIKE 'DECIMAL%' "
    "THEN cast_to_type(CAST(_0 // _1 AS DOUBLE) * 1.000000000000001e0, _0 % _2 % 1) "
    "ELSE cast_to_type(_0 // _1, _0 % _2 % 1) END"
)
_CHECKED_QUOTIENT = (
    "CASE WHEN _1 = 0 AND _0 IS NOT NULL THEN cast_to_type("
    "CASE WHEN typeof(_0 % _1) IN ('FLOAT', 'DOUBLE') THEN CAST(_0 AS DOUBLE) / CAST(_1 AS DOUBLE) "
    "ELSE error('Division by zero') END, _0 % _1 % 1) "
    f"ELSE {_QUOTIENT.replace('_2', '_1')} END"
)
_CHECKED_REMAINDER = (
    "CASE WHEN _1 = 0 AND _0 IS NOT NULL AND typeof(_0 % _1) NOT IN ('FLOAT', 'DOUBLE') "
    "THEN error('Division by zero') ELSE _0 % _1 END"
)
_SUBSCRIPT = (
    "CASE WHEN (_0[_1] IS NULL OR TRY_CAST(_1 AS BIGINT) < 0) AND typeof(_0) LIKE '%[]' "
    "AND _0 IS NOT NULL "
    "AND TRY_CAST(_1 AS BIGINT) NOT BETWEEN 1 AND json_array_length(to_json(_0)) "
    "THEN error('Array subscript is out of bounds') "
    "WHEN _0[_1] IS NULL AND typeof(_0) LIKE 'MAP(%' AND _0 IS NOT NULL AND _1 IS NOT NULL "
    "AND NOT list_contains(json_keys(to_json(_0)), CAST(_1 AS VARCHAR)) "
    "THEN error('Key is not present in map') ELSE _0[_1] END"
)


def divide(node: exp.Expr) -> exp.Expr:
    by = node.expression
    if _is_integer(node.this) and _is_integer(by) and _is_never_zero(by):
        return exp.IntDiv(this=node.this.copy(), expression=by.copy())
    if _is_never_zero(by):
        return filled_once(_QUOTIENT, [node.this, by, _roomy(by)])
    return filled_once(_CHECKED_QUOTIENT, [node.this, by])


def remainder(node: exp.Expr) -> exp.Expr:
    if _is_never_zero(node.expression):
        return node
    return filled_once(_CHECKED_REMAINDER, [node.this, node.expression])


def mod(args: list[exp.Expr]) -> exp.Expr:
    if len(args) != 2:
        raise unsupported("mod without exactly two arguments")
    return remainder(exp.Mod(this=operand(args[0]), expression=operand(args[1])))


def subscript(node: exp.Expr) -> exp.Expr:
    """Translate a subscript of an array or a map. `element_at` gives NULL where this fails."""
    if len(node.expressions) != 1 or isinstance(node.expressions[0], exp.Slice):
        return node
    return filled_once(_SUBSCRIPT, [node.this, node.expressions[0]])


def _is_never_zero(value: exp.Expr) -> bool:
    value = value.unnest()
    if isinstance(value, exp.Neg):
        return _is_never_zero(value.this)
    if isinstance(value, exp.Anonymous) and value.name == "nullif":
        return len(value.expressions) == 2 and _is_zero(value.expressions[1])
    return isinstance(value, exp.Literal) and not value.is_string and float(value.name) != 0


def _is_integer(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit()


def _is_zero(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and not value.is_string and float(value.name) == 0


def _roomy(by: exp.Expr) -> exp.Expr:
    """Widen a divisor such as 0.01: its quotient has more digits than either operand."""
    value = by.unnest()
    digits = value.name if isinstance(value, exp.Literal) else ""
    whole, point, fraction = digits.partition(".")
    if not point or not (whole + fraction).isdigit() or len(fraction) > _MOST_DIGITS:
        return by
    return filled_once(
        f"CAST(_0 AS DECIMAL({_MOST_DIGITS + len(fraction)}, {len(fraction)}))", [value]
    )
