"""Gives sums their types in Trino, so that what is computed with them follows its rules.

DuckDB sums integers to a HUGEINT, which divides as a double.
"""

from sqlglot import exp

from app.sql.duckdb.templates import filled

_SUM = "cast_to_type(_0, _1 * CAST(1 AS BIGINT) * CAST(1 AS BIGINT))"
"""Of a sum, and of any of its values: the product has the type of the sum, DECIMAL(38, s) for a
decimal. The planner keeps only a cast."""


def typed_sum(node: exp.Expr) -> exp.Expr:
    """Cast a sum to its type, together with the FILTER and OVER that are around it."""
    value = node.copy()
    call = _call_in(value)
    arguments: list[exp.Expr] = call.expressions
    if len(arguments) == 1 and isinstance(arguments[0], exp.Distinct):
        arguments = arguments[0].expressions
    call.set("this", "any_value")
    call.set("expressions", [argument.copy() for argument in arguments])
    return filled(_SUM, [node, value])


def is_sum(node: exp.Expr) -> bool:
    """Return whether the node is a sum, or the FILTER or OVER of one."""
    call = _call_in(node)
    return isinstance(call, exp.Anonymous) and call.name == "sum"


def _call_in(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Filter | exp.Window):
        node = node.this
    return node
