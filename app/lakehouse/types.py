"""Converts Iceberg's types into Trino's spelling, and back."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.types import IcebergType

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
TO_TRINO = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double",
    "date": "date",
    "time": "time(6)",
    "timestamp": "timestamp(6)",
    "timestamptz": "timestamp(6) with time zone",
    "timestamp_ns": "timestamp(9)",
    "timestamptz_ns": "timestamp(9) with time zone",
    "string": "varchar",
    "uuid": "uuid",
    "binary": "varbinary",
    "unknown": "unknown",
}


def trino_type(kind: "IcebergType") -> str:
    from pyiceberg.types import DecimalType, FixedType, ListType, MapType, StructType

    match kind:
        case DecimalType():
            return f"decimal({kind.precision},{kind.scale})"
        case FixedType():
            return "varbinary"
        case ListType():
            return f"array({trino_type(kind.element_type)})"
        case MapType():
            return f"map({trino_type(kind.key_type)}, {trino_type(kind.value_type)})"
        case StructType():
            fields = (f"{_quoted(f.name)} {trino_type(f.field_type)}" for f in kind.fields)
            return f"row({', '.join(fields)})"
        case _:
            return TO_TRINO.get(str(kind), str(kind))


def iceberg_type(spelling: str) -> "IcebergType":
    """Return the type for a spelling of Trino (or of DuckDB's SQL translated to it). Ids are 0, for
    the catalog to assign. Raises `ValueError` for a type that no Iceberg table can have."""
    from pyiceberg import types

    name, arguments = _parts(spelling)
    simple = _simple_types()
    match name, arguments:
        case "decimal", [precision, scale]:
            return types.DecimalType(int(precision), int(scale))
        case "decimal", [precision]:
            return types.DecimalType(int(precision), 0)
        case "array", [element]:
            return types.ListType(0, iceberg_type(element), element_required=False)
        case "map", [key, value]:
            return types.MapType(0, iceberg_type(key), 0, iceberg_type(value), value_required=False)
        case "row", fields:
            named = (_field(field) for field in fields)
            return types.StructType(
                *(types.NestedField(0, name, iceberg_type(kind)) for name, kind in named)
            )
        case _ if name in simple:
            return simple[name]
    raise ValueError(f"Iceberg has no type for {spelling}")


@cache
def _simple_types() -> "dict[str, IcebergType]":
    from pyiceberg import types

    return {
        "boolean": types.BooleanType(),
        "tinyint": types.IntegerType(),
        "smallint": types.IntegerType(),
        "integer": types.IntegerType(),
        "int": types.IntegerType(),
        "bigint": types.LongType(),
        "real": types.FloatType(),
        "double": types.DoubleType(),
        "date": types.DateType(),
        "time": types.TimeType(),
        "timestamp": types.TimestampType(),
        "timestamp with time zone": types.TimestamptzType(),
        "varchar": types.StringType(),
        "char": types.StringType(),
        "json": types.StringType(),
        "uuid": types.UUIDType(),
        "varbinary": types.BinaryType(),
    }


def _parts(spelling: str) -> tuple[str, list[str]]:
    """Return, for `timestamp(6) with time zone`, `timestamp with time zone` and `[6]`."""
    text = spelling.strip()
    start, end = text.find("("), text.rfind(")")
    if start < 0:
        return text.lower(), []
    name = f"{text[:start]}{text[end + 1 :]}".strip().lower()
    return name, _split(text[start + 1 : end])


def _split(arguments: str) -> list[str]:
    """Split at the commas that are outside of parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, character in enumerate(arguments):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and depth == 0:
            parts.append(arguments[start:position].strip())
            start = position + 1
    return [*parts, arguments[start:].strip()]


def _field(field: str) -> tuple[str, str]:
    if quoted := _QUOTED.match(field):
        return quoted.group()[1:-1].replace('""', '"'), field[quoted.end() :].strip()
    name, _, kind = field.partition(" ")
    return name, kind.strip()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
