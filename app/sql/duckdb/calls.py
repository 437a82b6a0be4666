"""Translates functions of Trino whose form in DuckDB depends on their arguments."""

from collections.abc import Callable

from sqlglot import exp

from app.sql.duckdb.dates import joda_format, mysql_format
from app.sql.duckdb.functions import DATE_UNITS
from app.sql.duckdb.numbers import mod
from app.sql.duckdb.templates import WITNESS, filled, operand, unsupported


def _date_add(args: list[exp.Expr]) -> exp.Expr:
    _, step = _unit("date_add", args, 3)
    return filled(f"cast_to_type(_2 + {step}, {WITNESS}(_2))", args)


def _date_diff(args: list[exp.Expr]) -> exp.Expr:
    # DuckDB's date_diff counts boundaries that are crossed; Trino's counts whole units.
    unit, _ = _unit("date_diff", args, 3)
    return filled(f"date_sub('{unit}', _1, _2)", args)


def _unit(name: str, args: list[exp.Expr], count: int) -> tuple[str, str]:
    unit = args[0].name.lower() if args and args[0].is_string else ""
    if len(args) != count or unit not in DATE_UNITS:
        raise unsupported(
            f"{name} with arguments other than a unit, for example 'day', and two values"
        )
    return unit, DATE_UNITS[unit]


def _formatted(
    name: str, function: str, convert: Callable[[str], str | None]
) -> Callable[[list[exp.Expr]], exp.Expr]:
    def call(args: list[exp.Expr]) -> exp.Expr:
        format_ = convert(args[1].name) if len(args) == 2 and args[1].is_string else None
        if format_ is None:
            raise unsupported(f"{name} with this format")
        literal = exp.Literal.string(format_)
        return exp.Anonymous(this=function, expressions=[args[0].copy(), literal])

    return call


def _first_only(template: str, max_arguments: int) -> Callable[[list[exp.Expr]], exp.Expr]:
    """Ignore a last argument that only sets how precise the result must be."""

    def call(args: list[exp.Expr]) -> exp.Expr:
        if len(args) > max_arguments:
            raise unsupported("A call with so many arguments")
        return filled(template, args)

    return call


def _extreme(name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    """Return NULL for a NULL argument, as Trino does. DuckDB's greatest and least skip NULL."""

    def call(args: list[exp.Expr]) -> exp.Expr:
        numbers = range(len(args))
        missing = " OR ".join(f"_{number} IS NULL" for number in numbers)
        values = ", ".join(f"_{number}" for number in numbers)
        return filled(f"CASE WHEN NOT ({missing}) THEN {name}({values}) END", args)

    return call


def _concat(args: list[exp.Expr]) -> exp.Expr:
    """Translate to `||`, which joins arrays as well. DuckDB's concat skips NULL; `||` does not."""
    if not args:
        raise unsupported("concat without arguments")
    joined = operand(args[0])
    for arg in args[1:]:
        joined = exp.DPipe(this=joined, expression=operand(arg))
    return operand(joined)


def _regexp_replace(args: list[exp.Expr]) -> exp.Expr:
    replacement = ""
    if len(args) == 3:
        if not args[2].is_string or "${" in args[2].name:
            raise unsupported("regexp_replace with a replacement that is not a plain string")
        replacement = _re2_replacement(args[2].name)
    literals = [exp.Literal.string(replacement), exp.Literal.string("g")]
    return exp.Anonymous(
        this="regexp_replace", expressions=[*(arg.copy() for arg in args[:2]), *literals]
    )


def _re2_replacement(text: str) -> str:
    """Return Java's `$1` and `\\$` as RE2's `\\1` and `$`."""
    result = ""
    escaped = False
    for number, char in enumerate(text):
        if escaped:
            result += "\\\\" if char == "\\" else char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "$" and text[number + 1 : number + 2].isdigit():
            result += "\\"
        else:
            result += char
    return result


SPECIAL: dict[str, Callable[[list[exp.Expr]], exp.Expr]] = {
    "approx_distinct": _first_only("approx_count_distinct(_0)", 2),
    "concat": _concat,
    "current_timestamp": _first_only("now()", 1),
    "localtimestamp": _first_only("CAST(now() AS TIMESTAMP)", 1),
    "date_add": _date_add,
    "date_diff": _date_diff,
    "date_format": _formatted("date_format", "strftime", mysql_format),
    "date_parse": _formatted("date_parse", "strptime", mysql_format),
    "format_datetime": _formatted("format_datetime", "strftime", joda_format),
    "parse_datetime": _formatted("parse_datetime", "strptime", joda_format),
    "greatest": _extreme("greatest"),
    "least": _extreme("least"),
    "mod": mod,
    "regexp_replace": _regexp_replace,
}
