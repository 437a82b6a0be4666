"""Reads times with a zone as their zone's wall clock where Trino does. DuckDB has only instants."""

import re

from sqlglot import exp

from app.sql.calls import call_name
from app.sql.duckdb.templates import unsupported

_LITERAL = re.compile(r"\s*(\d+-\d+-\d+(?:[ T]\d+:\d+(?::\d+(?:\.\d+)?)?)?)\s*([A-Za-z+-].*)")
INSTANT = (
    r"CASE WHEN regexp_matches({0}, '^\s*[-+]?[0-9]+-[0-9]+-[0-9]+([ T][0-9:.]*)?\s*$') "
    "THEN timezone('UTC', CAST({0} AS TIMESTAMP)) ELSE CAST({0} AS TIMESTAMPTZ) END"
)
"""Reads a text that names no zone in UTC. DuckDB reads it in the zone that an earlier row named."""
_UTC = ("utc", "z", "gmt", "+00:00")
_READERS = frozenset(
    """
    date date_format day day_of_month day_of_week day_of_year dow doy extract format_datetime hour
    last_day_of_month millisecond minute month quarter second week week_of_year year year_of_week
    yow
    """.split()  # noqa: SIM905
)
_KEEPERS = frozenset(("date_trunc", "typeof", "format", "timezone_hour", "timezone_minute"))
_DATES = (exp.DType.DATE, exp.DType.TIME, exp.DType.TIMESTAMP)
_TEXTS = (exp.DType.VARCHAR, exp.DType.TEXT, exp.DType.CHAR)


def wall_clock(node: exp.Expr) -> exp.Expr | None:
    """Return the wall clock of a literal with a zone, or of `with_timezone`, if it is read.

    Raises:
        NotSupported: the zone itself is read, for example by a cast to VARCHAR.
    """
    if isinstance(node, exp.Cast):
        match = _LITERAL.fullmatch(node.this.name) if node.this.is_string else None
        if match is None or match[2].strip().lower() in _UTC:
            return None
        clock: exp.Expr = exp.Literal.string(match[1])
    else:
        clock = node.expressions[0].copy()
    name, to = _reader(node)
    if name in _KEEPERS:
        raise unsupported(f"{name} of a time with a zone")
    refuse_text(node)
    if name in _READERS or to in _DATES:
        return exp.Cast(this=clock, to=exp.DataType(this=exp.DType.TIMESTAMP))
    return None


def refuse_text(node: exp.Expr) -> None:
    """Refuse a cast to VARCHAR of a time with a zone, which would show the zone."""
    if _reader(node)[1] in _TEXTS:
        raise unsupported("CAST of a time with a zone to VARCHAR")


def _reader(node: exp.Expr) -> tuple[str | None, exp.DType | None]:
    """Return the call around a value, or the type to which it is cast."""
    around = node.parent
    while isinstance(around, exp.Paren):
        around = around.parent
    if around is None:
        return None, None
    return call_name(around), around.args["to"].this if isinstance(around, exp.Cast) else None
