# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Describes a query's columns as an Iceberg table holds them, and wraps queries in statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.errors import SqlInvalid
from app.lakehouse.tables import Column
from app.lakehouse.types import iceberg_type, trino_type
from app.sql.quoting import quoted
from app.warehouse import checks
from app.warehouse.described import Described
from app.warehouse.duckdb.types import not_held
from app.warehouse.engine import ModelSpec

MOMENT = "timestamp(6) with time zone"
_CASTS = {"json": "json_format({0})", "unknown": "CAST({0} AS varchar)"}


def describe(sql: str, names: Sequence[str], types: Sequence[str]) -> Described:
    """Describe the query, for which Trino gives `names` and `types`. Raises `SqlInvalid`."""
    folded = [name.lower() for name in names]
    for name, count in Counter(folded).items():
        if count > 1:
            raise SqlInvalid(
                f"The query has two columns with the name {name!r}.",
                hint="Give each column its own name with AS.",
            )
    columns = tuple(_column(name, kind) for name, kind in zip(folded, types, strict=True))
    if not any(kind in _CASTS for kind in types):
        return Described(columns, sql)
    projected = (
        f"{_CASTS.get(kind, '{0}').format(quoted(name))} AS {quoted(name)}"
        for name, kind in zip(names, types, strict=True)
    )
    return Described(columns, f"SELECT {', '.join(projected)}\nFROM (\n{sql}\n) AS query")


def with_extra_columns(spec: ModelSpec, query: Described) -> Described:
    if not spec.extra_columns:
        return query
    names = [column.name for column in query.columns]
    sql = checks.with_extra_columns(spec.extra_columns, query.sql, names)
    columns = (
        Column(extra.name.lower(), MOMENT if extra.value is None else "varchar")
        for extra in spec.extra_columns
    )
    return Described((*query.columns, *columns), sql)


def first_rows(sql: str, limit: int) -> str:
    return f"SELECT * FROM (\n{sql}\n) AS query LIMIT {limit}"


def table_name(*parts: str) -> str:
    return ".".join(quoted(part) for part in parts)


def _column(name: str, kind: str) -> Column:
    try:
        held = "varchar" if kind == "unknown" else trino_type(iceberg_type(kind))
    except ValueError as error:
        raise not_held(name, kind) from error
    return Column(name, held)
