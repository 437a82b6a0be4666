"""Reads a time with a zone as an instant or as its zone's wall clock, whichever its use asks for.

Trino keeps the zone with the value. DuckDB has only instants, so each use of such a value is known
before the translation, or it is refused.
"""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from sqlglot import exp

from app.sql.calls import call_name
from app.sql.duckdb.templates import filled, unsupported
from app.sql.tables import fold

INSTANT = (
    r"CASE WHEN regexp_matches({0}, '^\s*[-+]?[0-9]+-[0-9]+-[0-9]+([ T][0-9:.]*)?\s*$') "
    "THEN timezone('UTC', CAST({0} AS TIMESTAMP)) ELSE CAST({0} AS TIMESTAMPTZ) END"
)
"""Reads a text that names no zone in UTC. DuckDB reads it in the zone that an earlier row named."""
_LITERAL = re.compile(r"\s*(\d+-\d+-\d+(?:[ T]\d+:\d+(?::\d+(?:\.\d+)?)?)?)\s*([A-Za-z+-].*)")
_UTC = ("utc", "z", "gmt", "+00:00")
_READERS = frozenset(
    """
    date date_format day day_of_month day_of_week day_of_year dow doy extract format_datetime hour
    last_day_of_month millisecond minute month quarter second week week_of_year year year_of_week
    yow
    """.split()  # noqa: SIM905
)
_TAKE_INSTANTS = frozenset(("at_timezone", "count", "to_unixtime"))
_DATES = (exp.DType.DATE, exp.DType.TIME, exp.DType.TIMESTAMP)
_TEXTS = (exp.DType.VARCHAR, exp.DType.TEXT, exp.DType.CHAR)
_COMPARED = (exp.Group, exp.Ordered, exp.Predicate)
_CLOCK_UNITS = ("millisecond", "second", "minute", "hour")
_DAY_UNITS = ("day", "week", "month", "quarter", "year")
_USE, _WALL, _MOMENT = "asgard_use", "wall clock", "instant"


def mark_uses(tree: exp.Expr) -> None:
    """Note at each time with a zone how it is used, in place.

    Raises:
        NotSupported: the zone itself is read, or what reads the value is not known here.
    """
    for node in tree.walk():
        if _has_zone(node):
            node.meta[_USE] = _use(node)


def zoned_call(node: exp.Anonymous) -> exp.Expr | None:
    """Translate `at_timezone`, `with_timezone`, and `date_trunc` of the former, or return None if
    their templates do."""
    use, args = node.meta.get(_USE), node.expressions
    if use is None:
        return None
    if node.name == "date_trunc":
        return _truncated(args[0], args[1].unnest()) if use == _MOMENT else None
    type_ = "TIMESTAMPTZ" if node.name == "at_timezone" else "TIMESTAMP"
    is_as_used = (use == _MOMENT) == (node.name == "at_timezone")
    return filled(f"CAST(_0 AS {type_})", args) if is_as_used else None


def zoned_literal(node: exp.Expr) -> exp.Expr | None:
    """Return a literal with a zone as its use reads it, or None if it is to be cast as it is."""
    match = _zoned_literal(node)
    if match is None:
        return None
    if node.meta.get(_USE) == _WALL:
        clock = exp.Literal.string(match[1])
        return exp.Cast(this=clock, to=exp.DataType(this=exp.DType.TIMESTAMP))
    try:
        # Of an hour that comes twice, Trino takes the first and DuckDB the second.
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=ZoneInfo(match[2].strip()))
        text = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
    except (ValueError, OverflowError, KeyError, OSError):
        return None
    return exp.Cast(this=exp.Literal.string(text), to=exp.DataType(this=exp.DType.TIMESTAMPTZ))


def _has_zone(node: exp.Expr) -> bool:
    if isinstance(node, exp.Anonymous):
        name, count = node.name, len(node.expressions)
        if name == "date_trunc" and count == 2:
            return _has_zone(node.expressions[1].unnest())
        return name in ("at_timezone", "with_timezone") and count == 2
    return _zoned_literal(node) is not None


def _zoned_literal(node: exp.Expr) -> re.Match[str] | None:
    is_time = isinstance(node, exp.Cast) and node.to.this == exp.DType.TIMESTAMPTZ
    match = _LITERAL.fullmatch(node.this.name) if is_time and node.this.is_string else None
    return match if match and match[2].strip().lower() not in _UTC else None


def _use(node: exp.Expr) -> str:
    child, around = node, node.parent
    while isinstance(around, exp.Paren | exp.Alias | exp.Distinct):
        child, around = around, around.parent
    name = call_name(around) if around is not None else None
    if name == "date_trunc":
        return _use_in_date_trunc(node, around)
    to = around.to.this if isinstance(around, exp.Cast) else None
    if name in _READERS or to in _DATES:
        return _WALL
    if to in _TEXTS:
        raise unsupported("CAST of a time with a zone to VARCHAR")
    is_partition = isinstance(around, exp.Window) and child.arg_key == "partition_by"
    if name in _TAKE_INSTANTS or isinstance(around, _COMPARED) or is_partition:
        return _MOMENT
    if isinstance(around, exp.Select) and child.arg_key == "expressions" and _is_result(around):
        _refuse_order_by(around, fold(child.alias))
        return _MOMENT
    if isinstance(around, exp.Anonymous) and name is not None:
        raise unsupported(f"{name} of a time with a zone")
    raise unsupported(
        "This use of a time with a zone (not as a column of the result, in a comparison, or in a "
        "function that reads a part of it)"
    )


def _refuse_order_by(select: exp.Expr, alias: str) -> None:
    """Refuse an ORDER BY that reads the zone of the column with this alias."""
    node: exp.Expr | None = select
    while node is not None:
        order = node.args.get("order")
        for column in order.find_all(exp.Column) if isinstance(order, exp.Order) else ():
            takes_instant = isinstance(column.parent, exp.Ordered | exp.Predicate) or (
                isinstance(column.parent, exp.Anonymous) and column.parent.name in _TAKE_INSTANTS
            )
            if alias and fold(column.name) == alias and not takes_instant:
                raise unsupported("ORDER BY with a part of a time with a zone")
        node = node.parent


def _use_in_date_trunc(node: exp.Expr, call: exp.Expr | None) -> str:
    is_call = isinstance(call, exp.Anonymous) and len(call.expressions) == 2
    unit = call.expressions[0] if isinstance(call, exp.Anonymous) and is_call else None
    is_known = unit is not None and unit.name.lower() in (*_CLOCK_UNITS, *_DAY_UNITS)
    if call is not None and is_known and isinstance(node, exp.Anonymous):
        has_known_zone = node.name == "at_timezone" and node.expressions[1].is_string
        if has_known_zone or _use(call) == _WALL:
            return _WALL
    raise unsupported(
        "date_trunc of a time with a zone that is not written as x AT TIME ZONE 'ZONE'"
    )


def _is_result(select: exp.Expr) -> bool:
    """Return whether the columns of the SELECT are those of the whole result. A `SELECT *` around
    it, as in the preview of a view, reads nothing of them."""
    node = select
    while (parent := node.parent) is not None:
        around: exp.Expr | None = parent
        if isinstance(around, exp.CTE):
            around = _only_user(around)
        elif isinstance(around, exp.From):
            around = around.parent if _passes_on(around.parent) else None
        elif not isinstance(around, exp.SetOperation | exp.Paren | exp.Subquery):
            return False
        if around is None:
            return False
        node = around
    return True


def _only_user(cte: exp.CTE) -> exp.Expr | None:
    """Return the only SELECT that reads the CTE, if it passes all columns on."""
    name = fold(cte.alias)
    users = [table for table in cte.root().find_all(exp.Table) if fold(table.name) == name]
    from_ = users[0].parent if len(users) == 1 else None
    if not isinstance(from_, exp.From) or not _passes_on(from_.parent):
        return None
    return from_.parent


def _passes_on(select: exp.Expr | None) -> bool:
    if not isinstance(select, exp.Select):
        return False
    used = {name for name, value in select.args.items() if value}
    (item,) = select.expressions if len(select.expressions) == 1 else (None,)
    is_star = type(item) is exp.Star and not any(item.args.values())
    return is_star and used <= {"expressions", "from_", "limit", "offset", "with_"}


def _truncated(unit: exp.Expr, wall: exp.Expr) -> exp.Expr:
    """Truncate to the instant at which the zone's unit began. `wall` is the translated argument.

    An hour of the wall clock can come twice, so up to hours the rest is taken from the instant.
    """
    zone, moment = wall.expressions
    if unit.name.lower() in _CLOCK_UNITS:
        return filled("_0 - (_1 - date_trunc(_2, _1))", [moment, wall, unit])
    return filled("timezone(_0, date_trunc(_1, _2))", [zone, unit, wall])
