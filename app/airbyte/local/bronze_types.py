"""The types of bronze columns: JSON Schema types as Parquet types, and values that fit them.

Airbyte's S3 destination is the model: scalars are typed, objects, arrays and unions are JSON
strings. A value that does not fit becomes null, and the row's `_airbyte_meta` says so.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

import orjson

from app.errors import SourceUnreadable

RESERVED = ("_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta")
MOST_COLUMNS = 10_000
MOST_COLUMNS_OF_SOURCE = 100_000
"""Columns of all streams of a source."""
VALUE_SHOWN = 1000
"""Characters."""
INT64 = range(-(2**63), 2**63)


class BronzeType(StrEnum):
    STRING = "string"
    INTEGER = "int64"
    NUMBER = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp[us, UTC]"
    LOCAL_TIMESTAMP = "timestamp[us]"
    DATE = "date"
    JSON = "json"

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "BronzeType":
        """Returns the type of one property of a stream's JSON Schema."""
        declared = schema.get("type")
        names = [declared] if isinstance(declared, str) else list(declared or ())
        names = [name for name in names if name != "null"]
        if len(names) != 1:
            return cls.JSON
        if names[0] == "string":
            return cls._of_string(schema)
        by_name = {"integer": cls.INTEGER, "number": cls.NUMBER, "boolean": cls.BOOLEAN}
        if schema.get("airbyte_type") == "integer":
            return cls.INTEGER
        return by_name.get(names[0], cls.JSON)

    @classmethod
    def _of_string(cls, schema: Mapping[str, Any]) -> "BronzeType":
        match schema.get("format"):
            case "date":
                return cls.DATE
            case "date-time":
                without = schema.get("airbyte_type") == "timestamp_without_timezone"
                return cls.LOCAL_TIMESTAMP if without else cls.TIMESTAMP
            case _:
                return cls.STRING


@dataclass(frozen=True)
class BronzeColumn:
    """A column. `field` is the source's name, and `name` the column's. They may differ: Parquet
    readers do not distinguish `a` from `A`, and Asgard's own three columns keep their names."""

    field: str
    name: str
    type: BronzeType


def columns_of(json_schema: Mapping[str, Any]) -> tuple[BronzeColumn, ...]:
    properties: Mapping[str, Any] = json_schema.get("properties") or {}
    names = unique_names(tuple(properties))
    return tuple(
        BronzeColumn(field, name, BronzeType.of(schema if isinstance(schema, dict) else {}))
        for (field, schema), name in zip(properties.items(), names, strict=True)
    )


def unique_names(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Returns column names, none of them empty, and no two equal when case is ignored. Engines cut
    names off at NUL, so none has it.

    Raises `SourceUnreadable` if there are too many.
    """
    if len(fields) > MOST_COLUMNS:
        raise SourceUnreadable(
            f"The source has {len(fields)} columns; expected at most {MOST_COLUMNS}.",
            hint="Split it, or check the delimiter of its header.",
        )
    taken = set(RESERVED)
    numbers: dict[str, int] = {}
    names = []
    for position, field in enumerate(fields):
        base = field.strip() or f"column{position}"
        if "\0" in base:
            base = base.replace("\0", "_")
        name, number = base, numbers.get(base.lower(), 1)
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        numbers[base.lower()] = number
        taken.add(name.lower())
        names.append(name)
    return tuple(names)


@dataclass(frozen=True)
class WrittenFile:
    """A finished local file. `part` numbers the files of a stream within one sync."""

    path: str
    part: int
    rows: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class DoesNotFit(ValueError):
    """The value cannot be held by the column's type."""


def fit(value: Any, kind: BronzeType) -> Any:
    """Returns the value as Arrow takes it for a column of that type, or raises `DoesNotFit`."""
    try:
        return None if value is None else _FITTERS[kind](value)
    except (ValueError, OverflowError, RecursionError):
        # More digits than Python reads, a time before year 1, or JSON nested too deeply.
        raise DoesNotFit from None


def shown(value: Any) -> str:
    """Return the start of a value that does not fit."""
    try:
        return as_json(value)[:VALUE_SHOWN]
    except (ValueError, RecursionError):
        return f"a value of the type {type(value).__name__} that JSON cannot hold"


def as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # whole numbers of more than 64 bits
        return json.dumps(value)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def _integer(value: Any) -> int:
    whole = isinstance(value, float) and value.is_integer()
    number = int(value) if whole or _is_integer(value) else value
    if isinstance(number, bool) or not isinstance(number, int) or number not in INT64:
        raise DoesNotFit
    return number


def _is_integer(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.removeprefix("-").isdecimal()


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DoesNotFit
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise DoesNotFit from None
    if math.isnan(number):
        raise DoesNotFit
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise DoesNotFit
    return value


def _timestamp(value: Any) -> datetime:
    moment = _moment(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _local_timestamp(value: Any) -> datetime:
    moment = _moment(value)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        raise DoesNotFit
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise DoesNotFit from None


def _date(value: Any) -> date:
    if not isinstance(value, str):
        raise DoesNotFit
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise DoesNotFit from None


def _json(value: Any) -> str:
    return as_json(value)


_FITTERS: dict[BronzeType, Callable[[Any], Any]] = {
    BronzeType.STRING: _string,
    BronzeType.INTEGER: _integer,
    BronzeType.NUMBER: _number,
    BronzeType.BOOLEAN: _boolean,
    BronzeType.TIMESTAMP: _timestamp,
    BronzeType.LOCAL_TIMESTAMP: _local_timestamp,
    BronzeType.DATE: _date,
    BronzeType.JSON: _json,
}
