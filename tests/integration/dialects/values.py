"""Spells the values of any client in one way: equal values of one kind are spelled alike."""

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Rows = list[list[str]]


def rows_of(rows: Any) -> Rows:
    return [[spelled(value) for value in row] for row in rows]


def spelled(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return f"double {value:.12g}" if math.isfinite(value) else f"double {value}"
        case Decimal():
            return f"decimal {value:f}"
        case datetime():
            zone = f" {value.utcoffset()}" if value.tzinfo else ""
            return f"at {value.replace(tzinfo=None).isoformat()}{zone}"
        case date():
            return f"day {value.isoformat()}"
        case str():
            return repr(value)
        case Mapping():
            return "{" + ", ".join(f"{spelled(k)}: {spelled(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(spelled(item) for item in value) + "]"
        case _:
            return f"{type(value).__name__} {value}"
