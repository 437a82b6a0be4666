"""Translates functions of Trino whose form in DuckDB depends on their arguments."""

import re
from collections.abc import Callable

from sqlglot import exp

from app.errors import NotSupported
from app.sql.duckdb.dates import joda_format, mysql_format
from app.sql.duckdb.functions import DATE_UNITS, TEMPLATES
from app.sql.duckdb.numbers import mod
from app.sql.duckdb.regexps import may_be_left_out
from app.sql.duckdb.templates import WITNESS, filled, filled_once, operand, unsupported
from app.sql.duckdb.trim import trimmed

_JSON_PATH = re.compile(r"\$(?:\.\w+|\[\d+\]|\[\"[^\"\\\]]+\"\])*")
_JSON_KEY = re.compile(r"\[(\"[^\"]+\")\]")
_MONTHS = {"month": 1, "year": 12}


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
        if format_ is None or (function == "strptime" and "%Y" not in format_):
            raise unsupported(f"{name} with this format")
        if name.startswith("date_") and "%f" in format_:
            return _with_fraction(function, args[0], format_)
        literal = exp.Literal.string(format_)
        return exp.Anonymous(this=function, expressions=[args[0].copy(), literal])

    return call


def _with_fraction(function: str, value: exp.Expr, format_: str) -> exp.Expr:
    """Round to milliseconds, which is all that Trino's %f writes and reads."""
    if function == "strptime":
        literal = exp.Literal.string(format_)
        return filled("date_trunc('millisecond', strptime(_0, _1))", [value, literal])
    literal = exp.Literal.string(format_.replace("%f", "%g000"))
    return filled("strftime(CAST(CAST(_0 AS TIMESTAMP_MS) AS TIMESTAMP), _1)", [value, literal])


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


def _substring(args: list[exp.Expr]) -> exp.Expr:
    """Return no text for a start before the text, where DuckDB starts with the text."""
    if len(args) not in (2, 3):
        raise unsupported("substr without two or three arguments")
    call = f"substr({', '.join(f'_{number}' for number in range(len(args)))})"
    empty = [] if _is_whole(args[1], at_least=1) else ["_1 = 0 OR _1 < -length(_0)"]
    empty += ["_2 < 1"] if len(args) == 3 and not _is_whole(args[2], at_least=0) else []
    if not empty:
        return filled(call, args)
    return filled_once(f"CASE WHEN {' OR '.join(empty)} THEN left(_0, 0) ELSE {call} END", args)


def _is_whole(value: exp.Expr, at_least: int) -> bool:
    is_number = isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit()
    return is_number and int(value.name) >= at_least


def _replace(args: list[exp.Expr]) -> exp.Expr:
    two, three = TEMPLATES["replace"]
    if len(args) == 3 and args[1].is_string and args[1].name:
        return filled("replace(_0, _1, _2)", args)
    if len(args) not in (2, 3):
        raise unsupported("replace without two or three arguments")
    return filled(two, args) if len(args) == 2 else filled_once(three, args)


def _split_part(args: list[exp.Expr]) -> exp.Expr:
    if len(args) != 3:
        raise unsupported("split_part without three arguments")
    if _is_whole(args[2], at_least=1):
        return filled("str_split(_0, _1)[_2]", args)
    return filled(TEMPLATES["split_part"][0], args)


def _whole(name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    """Keep an integer what it is. DuckDB makes it a double."""

    def call(args: list[exp.Expr]) -> exp.Expr:
        if len(args) != 1:
            raise unsupported(f"{name} without exactly one argument")
        return filled_once(
            "CASE WHEN typeof(_0) LIKE '%INT%' THEN trunc(_0) "
            f"ELSE cast_to_type({name}(_0), trunc(_0)) END",
            args,
        )

    return call


def _trimmed(name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    return lambda args: trimmed(name, *args)


def _json(name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    """Read only paths that mean the same to both, since DuckDB reads others as something else."""

    def call(args: list[exp.Expr]) -> exp.Expr:
        if len(args) != 2:
            raise unsupported(f"{name} without two arguments")
        path = args[1]
        if path.is_string:
            if not _JSON_PATH.fullmatch(path.name):
                raise NotSupported(
                    "The embedded SQL engine reads only JSON paths like $.a, $.a[0] and "
                    f'$["a b"], not {path.name[:100]!r}.',
                    setting="TRINO_HOST",
                )
            path = exp.Literal.string(_JSON_KEY.sub(r".\1", path.name))
        return filled_once(TEMPLATES[name][0], [args[0], path])

    return call


def _sequence(args: list[exp.Expr]) -> exp.Expr:
    """Count months from the first date. DuckDB adds them to each previous one, and so drifts."""
    step = args[2] if len(args) == 3 else None
    unit = step.text("unit").lower() if isinstance(step, exp.Interval) else ""
    if unit not in _MONTHS:
        if len(args) not in (2, 3):
            raise unsupported("sequence without two or three arguments")
        return filled(TEMPLATES["sequence"][len(args) - 2], args)
    if step is None or not re.fullmatch(r"-?[1-9]\d{0,4}", step.name):
        raise unsupported("sequence with this step")
    months = int(step.name) * _MONTHS[unit]
    return filled_once(
        "list_filter(list_transform("
        f"generate_series(0, (abs(date_sub('month', _0, _1)) + 1) // {abs(months)} + 1), "
        "LAMBDA asgard_i : "
        f"cast_to_type(_0 + to_months(CAST(asgard_i AS INTEGER) * ({months})), {WITNESS}(_0))), "
        f"LAMBDA asgard_x : asgard_x {'<=' if months > 0 else '>='} _1)",
        args[:2],
    )


def _regexp_group(name: str) -> Callable[[list[exp.Expr]], exp.Expr]:
    def call(args: list[exp.Expr]) -> exp.Expr:
        if len(args) not in (2, 3):
            raise unsupported(f"{name} without two or three arguments")
        if len(args) == 3 and args[1].is_string:
            number = int(args[2].name) if _is_whole(args[2], at_least=0) else 1
            if may_be_left_out(args[1].name, number):
                raise unsupported(f"{name} of a group that a match may leave out")
        return filled(TEMPLATES[name][len(args) - 2], args)

    return call


def _regexp_split(args: list[exp.Expr]) -> exp.Expr:
    if len(args) != 2 or (args[1].is_string and not args[1].name):
        raise unsupported("regexp_split with an empty pattern")
    return exp.Anonymous(this="regexp_split_to_array", expressions=[arg.copy() for arg in args])


SPECIAL: dict[str, Callable[[list[exp.Expr]], exp.Expr]] = {
    "approx_distinct": _first_only("approx_count_distinct(_0)", 2),
    "ceil": _whole("ceil"),
    "ceiling": _whole("ceil"),
    "concat": _concat,
    "current_timestamp": _first_only("now()", 1),
    "localtimestamp": _first_only("CAST(now() AS TIMESTAMP)", 1),
    "date_add": _date_add,
    "date_diff": _date_diff,
    "date_format": _formatted("date_format", "strftime", mysql_format),
    "date_parse": _formatted("date_parse", "strptime", mysql_format),
    "floor": _whole("floor"),
    "format_datetime": _formatted("format_datetime", "strftime", joda_format),
    "parse_datetime": _formatted("parse_datetime", "strptime", joda_format),
    "greatest": _extreme("greatest"),
    "least": _extreme("least"),
    "json_extract": _json("json_extract"),
    "json_extract_scalar": _json("json_extract_scalar"),
    "ltrim": _trimmed("ltrim"),
    "mod": mod,
    "regexp_extract": _regexp_group("regexp_extract"),
    "regexp_extract_all": _regexp_group("regexp_extract_all"),
    "regexp_replace": _regexp_replace,
    "regexp_split": _regexp_split,
    "replace": _replace,
    "rtrim": _trimmed("rtrim"),
    "sequence": _sequence,
    "split_part": _split_part,
    "substr": _substring,
    "substring": _substring,
}
