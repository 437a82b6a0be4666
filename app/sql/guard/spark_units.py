"""Keeps the units of Spark's functions of time. The first argument of `dateadd(DAY, 1, d)` is a
word, which quotes would turn into a column."""

from collections.abc import Iterable

from sqlglot import exp

from app.sql.calls import call_name

_TAKE_UNITS = frozenset(
    ("dateadd", "date_add", "datediff", "date_diff", "timestampadd", "timestampdiff")
)
_UNITS = frozenset(
    (
        *("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFYEAR", "HOUR", "MINUTE", "SECOND"),
        *("MILLISECOND", "MICROSECOND"),
    )
)
_WITH_UNIT = 3
"""Arguments of a call with a unit."""


def keep_units(nodes: Iterable[exp.Expr]) -> None:
    """Turn the units into words, in place."""
    for call in nodes:
        if not isinstance(call, exp.Anonymous) or len(call.expressions) != _WITH_UNIT:
            continue
        unit = call.expressions[0]
        if call_name(call) in _TAKE_UNITS and _is_unit(unit):
            unit.replace(exp.Var(this=unit.name.upper()))


def _is_unit(argument: exp.Expr) -> bool:
    return (
        isinstance(argument, exp.Column) and not argument.table and argument.name.upper() in _UNITS
    )
