"""Translates casts, which read and write other texts in DuckDB, and round otherwise.

Types are not known here. DuckDB knows them when it binds, and drops the branches that do not apply.
"""

import re

from sqlglot import exp

from app.sql.duckdb.rows import is_row
from app.sql.duckdb.templates import filled_once, unsupported
from app.sql.duckdb.zones import INSTANT, zoned_literal

_INTEGERS = frozenset((exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT))
_INTEGER = r"^\s*[-+]?[0-9]+\s*$"
_DATE = r"^\s*[-+]?[0-9]+-[0-9]{1,2}-[0-9]{1,2}\s*$"
_BOOLEAN = "(?i)^(t|true|1|f|false|0)$"
_NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
_FLOATING = rf"^\s*({_NUMBER}[dDfF]?|[-+]?Infinity|[-+]?NaN)\s*$"
_TEXT = "CAST(_0 AS VARCHAR)"
_JSON = "json_extract_string(to_json(_0), '$')"
_IS_FRACTION_IN_JSON = "typeof(_0) = 'JSON' AND json_type(to_json(_0)) = 'DOUBLE'"
_ROUNDED = (
    f"CASE WHEN typeof(_0) IN ('FLOAT', 'DOUBLE') OR {_IS_FRACTION_IN_JSON} "
    "THEN CAST(round(TRY_CAST(_0 AS DOUBLE)) AS BIGINT) ELSE CAST(_0 AS BIGINT) END"
)
# Doubles are rounded as the decimals that they are written as.
_DECIMAL = (
    f"CASE WHEN typeof(_0) IN ('FLOAT', 'DOUBLE') THEN CAST({_TEXT} AS BIGINT) "
    f"WHEN {_IS_FRACTION_IN_JSON} THEN CAST({_JSON} AS BIGINT) "
    "ELSE CAST(_0 AS BIGINT) END"
)
_FLOAT = (
    "CASE WHEN typeof(_0) = 'VARCHAR' "
    rf"THEN CAST(regexp_replace({_TEXT}, '[dDfF]?\s*$', '') AS BIGINT) ELSE CAST(_0 AS BIGINT) END"
)
_BYTES = f"CASE WHEN typeof(_0) = 'VARCHAR' THEN encode({_TEXT}) ELSE CAST(_0 AS BLOB) END"
_DIGITS = "trim(regexp_replace({0}, '[-.]|e.*', '', 'g'), '0')"
_EXPONENT = (
    "CASE WHEN {0} LIKE '%e%' THEN TRY_CAST(regexp_extract({0}, 'e(.*)', 1) AS INTEGER) "
    "WHEN ltrim({0}, '-') LIKE '0%' THEN -length(regexp_extract({0}, '0[.](0*)', 1)) - 1 "
    "ELSE length(regexp_extract({0}, '[0-9]+')) - 1 END"
)
_DOUBLE = (
    "CASE WHEN {0} IN ('0.0', '-0.0') THEN '0E0' WHEN {0} LIKE '%n%' "
    "THEN replace(replace(ltrim({0}, '-'), 'nan', 'NaN'), 'inf', "
    "CASE WHEN {0} LIKE '-%' THEN '-Infinity' ELSE 'Infinity' END) "
    f"ELSE CASE WHEN {{0}} LIKE '-%' THEN '-' ELSE '' END || left({_DIGITS}, 1) || '.' || "
    f"coalesce(nullif(substr({_DIGITS}, 2), ''), '0') || 'E' || {_EXPONENT} END"
)
_INSTANT = (
    f"CASE WHEN typeof(_0) = 'VARCHAR' THEN {INSTANT.format(_TEXT)} "
    "ELSE CAST(_0 AS TIMESTAMPTZ) END"
)
_STRING = (
    "CASE WHEN typeof(_0) = 'JSON' THEN "
    "CASE WHEN json_type(to_json(_0)) IN ('OBJECT', 'ARRAY') THEN {no} "
    f"WHEN json_type(to_json(_0)) = 'DOUBLE' THEN "
    f"{_DOUBLE.format(f'CAST(TRY_CAST({_JSON} AS DOUBLE) AS VARCHAR)')} ELSE {_JSON} END "
    f"WHEN typeof(_0) IN ('FLOAT', 'DOUBLE') THEN {_DOUBLE.format(_TEXT)} "
    f"WHEN typeof(_0) = 'TIMESTAMP' THEN strftime(TRY_CAST({_TEXT} AS TIMESTAMP), '{{time}}') "
    f"WHEN typeof(_0) = 'TIMESTAMP WITH TIME ZONE' THEN "
    f"strftime(TRY_CAST({_TEXT} AS TIMESTAMP), '{{time}} UTC') ELSE {_TEXT} END"
)


def cast(node: exp.Expr) -> exp.Expr:
    to: exp.DataType = node.args["to"]
    for part in to.find_all(exp.DataType):
        if part.this == exp.DType.DECIMAL and not part.expressions:
            part.set(
                "expressions", [exp.DataTypeParam(this=exp.Literal.number(n)) for n in (38, 0)]
            )
    if (members := _by_members(node, to)) is not None:
        return members
    kind = "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
    if to.this == exp.DType.JSON:
        return exp.Anonymous(this="to_json", expressions=[node.this.copy()])
    if to.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ):
        return zoned_literal(node) or _timestamp(node, to)
    if to.this in (exp.DType.VARCHAR, exp.DType.TEXT, exp.DType.CHAR):
        return _string(node, to)
    if to.this == exp.DType.DATE:
        return _strict(node, _DATE, "a date", "DATE", "CAST(_0 AS DATE)")
    if to.this == exp.DType.VARBINARY:
        return filled_once(_BYTES, [node.this])
    if to.this == exp.DType.BOOLEAN:
        return _strict(node, _BOOLEAN, "a boolean", "BOOLEAN", f"{kind}(_0 AS BOOLEAN)")
    if to.this in (exp.DType.DOUBLE, exp.DType.FLOAT):
        return _typed(node, _strict(node, _FLOATING, "a number", "BIGINT", _FLOAT))
    if to.this == exp.DType.DECIMAL:
        return _typed(node, _strict(node, f"^{_NUMBER}$", "a decimal", "BIGINT", _DECIMAL))
    if to.this in _INTEGERS:
        return _typed(node, _strict(node, _INTEGER, "an integer", "BIGINT", _ROUNDED))
    return node


def _by_members(node: exp.Expr, to: exp.DataType) -> exp.Expr | None:
    """Cast each member of an array or a row that is written out, or return None."""
    value = node.this.unnest()
    if isinstance(node, exp.TryCast) or not value.expressions:
        return None
    kinds = [part.args.get("kind", part) for part in to.expressions]
    if to.this == exp.DType.ARRAY and isinstance(value, exp.Array):
        kinds = kinds * len(value.expressions)
    elif to.this != exp.DType.STRUCT or not is_row(value):
        return None
    if len(kinds) != len(value.expressions):
        return None
    members = []
    for member, kind in zip(value.expressions, kinds, strict=True):
        member_cast = exp.Cast(this=member.copy(), to=kind.copy())
        member_cast.parent = node  # A HAVING around it matters.
        members.append(cast(member_cast))
    written = value.copy()
    written.set("expressions", members)
    return exp.Cast(this=written, to=to.copy())


def _strict(node: exp.Expr, pattern: str, what: str, to: str, template: str) -> exp.Expr:
    """Translate a cast for which Trino reads fewer texts than DuckDB."""
    value = node.this
    if isinstance(value, exp.Literal) and not (value.is_string or "e" in value.name.lower()):
        return node
    has_suffix = value.name[-1:] in "dDfF"
    is_text = isinstance(value, exp.Literal) and value.is_string
    if is_text and re.search(pattern, value.name) and not has_suffix:
        return node
    return filled_once(
        f"CASE WHEN typeof(_0) = 'VARCHAR' AND NOT regexp_matches({_TEXT}, '{pattern}') "
        f"THEN {_failure(node, what, to)} ELSE {template} END",
        [value],
    )


def _failure(node: exp.Expr, what: str, to: str) -> str:
    """Fail by a cast, of other text if DuckDB would take this one. The function `error` is
    volatile, which TRY refuses."""
    if isinstance(node, exp.TryCast):
        return "NULL"
    if to == "VARCHAR":
        return f"CAST(CAST('not {what}: ' || {_TEXT} AS BIGINT) AS VARCHAR)"
    why = f"CASE WHEN TRY_CAST({_TEXT} AS {to}) IS NULL THEN '' ELSE 'not {what}: ' END"
    return f"CAST({why} || {_TEXT} AS {to})"


def _typed(node: exp.Expr, cast: exp.Expr) -> exp.Expr:
    """Put the cast's own type, and TRY_CAST, for each CAST AS BIGINT of a filled template."""
    if cast is node:
        return node
    for part in list(cast.find_all(exp.Cast)):
        if part.to.this == exp.DType.BIGINT and part.parent is not None:
            part.set("to", node.args["to"].copy())
            if isinstance(node, exp.TryCast):
                part.replace(exp.TryCast(this=part.this.copy(), to=part.to.copy()))
    return cast


def _string(node: exp.Expr, to: exp.DataType) -> exp.Expr:
    width = to.expressions[0].this.copy() if to.expressions else None
    if to.this == exp.DType.CHAR and not _has_width(node.this, width):
        raise unsupported("CAST to CHAR, which pads its texts,")
    node.set("to", exp.DataType(this=exp.DType.VARCHAR))
    text: exp.Expr = node.copy()
    if not (isinstance(node.this, exp.Literal) and (node.this.is_string or _is_exact(node.this))):
        no = _failure(node, "a string, number or boolean", "VARCHAR")
        template = _STRING.replace("{no}", no).replace("{time}", _time_format(node.this))
        text = filled_once(template, [node.this])
    if width is None:
        return text
    if isinstance(node.this, exp.Literal) and node.this.is_string:
        return exp.Anonymous(this="left", expressions=[text, width])
    return _fitting(node, text, width)


def _fitting(node: exp.Expr, text: exp.Expr, width: exp.Expr) -> exp.Expr:
    """Cut off a text. Trino cuts off no number, date or boolean."""
    why = f"longer than {width.name} characters: "
    failure = "NULL"
    if not isinstance(node, exp.TryCast):
        failure = f"CAST(CAST('{why}' || _1 AS BIGINT) AS VARCHAR)"
    return filled_once(
        f"CASE WHEN typeof(_0) = 'VARCHAR' OR length(_1) <= {width.name} "
        f"THEN left(_1, {width.name}) ELSE {failure} END",
        [node.this, text],
    )


def _has_width(value: exp.Expr, width: exp.Expr | None) -> bool:
    is_text = isinstance(value, exp.Literal) and value.is_string
    return is_text and width is not None and len(value.name) == int(width.name)


def _time_format(value: exp.Expr) -> str:
    """Return the format with the digits that the type has in Trino: 6 in tables of the lake."""
    rounded = value.unnest()
    inner = rounded.this if isinstance(rounded, exp.Cast) else None
    digits = "6"
    if isinstance(inner, exp.Cast) and inner.to.this == exp.DType.TIMESTAMP:
        digits = inner.to.expressions[0].name if inner.to.expressions else digits
    fraction = {"0": "", "3": ".%g", "6": ".%f"}.get(digits)
    if fraction is None:
        raise unsupported(f"CAST of a TIMESTAMP({digits}) to VARCHAR")
    return f"%Y-%m-%d %H:%M:%S{fraction}"


def _is_exact(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and (value.is_string or "e" not in value.name.lower())


def _timestamp(node: exp.Expr, to: exp.DataType) -> exp.Expr:
    """Round by a cast to DuckDB's type for seconds or milliseconds, but do not keep that type."""
    plain = exp.DataType(this=to.this)
    if to.this == exp.DType.TIMESTAMP and not to.expressions:
        to.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(3))])
    if to.this == exp.DType.TIMESTAMP and int(to.expressions[0].name) <= 3:
        return exp.Cast(this=node.copy(), to=plain)
    node.set("to", plain)
    if to.this == exp.DType.TIMESTAMPTZ and not isinstance(node.this, exp.Literal):
        return _with_own_zone(node)
    return node


def _with_own_zone(node: exp.Expr) -> exp.Expr:
    template = _INSTANT
    if isinstance(node, exp.TryCast):
        template = template.replace("CAST(", "TRY_CAST(")
    return filled_once(template, [node.this])
