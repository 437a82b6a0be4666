# ruff: noqa: S608 — identifiers are quoted, and the SQL has passed the guard
"""Maps DuckDB's types to those that an Iceberg table holds, and to Trino's names for these."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from app.errors import SqlInvalid
from app.sql.quoting import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from duckdb.sqltypes import DuckDBPyType

_AS_HELD = {
    "boolean": ("BOOLEAN", "boolean"),
    "float": ("FLOAT", "real"),
    "double": ("DOUBLE", "double"),
    "blob": ("BLOB", "varbinary"),
    "date": ("DATE", "date"),
    "timestamp with time zone": ("TIMESTAMPTZ", "timestamp(6) with time zone"),
    **dict.fromkeys(("tinyint", "smallint", "utinyint", "usmallint"), ("INTEGER", "integer")),
    "integer": ("INTEGER", "integer"),
    # Sums of BIGINT are HUGEINT in DuckDB. One that does not fit fails, as it does in Trino.
    **dict.fromkeys(("uinteger", "bigint", "ubigint", "hugeint", "uhugeint"), ("BIGINT", "bigint")),
    **dict.fromkeys(("varchar", "enum", "json", "uuid", "bit", "sqlnull"), ("VARCHAR", "varchar")),
    **dict.fromkeys(("time", "time_ns"), ("TIME", "time(6)")),
    **dict.fromkeys(
        ("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"), ("TIMESTAMP", "timestamp(6)")
    ),
}


@dataclass(frozen=True)
class ResultColumn:
    name: str
    duckdb_type: str
    """The type that the query gives."""
    held_as: str
    """The type that the table holds, in DuckDB's spelling. Values are cast to it before writing."""
    trino_type: str

    @property
    def quoted(self) -> str:
        return quoted(self.name)

    @property
    def projection(self) -> str:
        if self.duckdb_type == self.held_as:
            return self.quoted
        return f"CAST({self.quoted} AS {self.held_as}) AS {self.quoted}"


def describe(connection: DuckDBPyConnection, sql: str) -> list[ResultColumn]:
    """Plan the SELECT without running it. Raises what DuckDB raises, and `SqlInvalid`."""
    # This comes first: DuckDB reports where a fault is in a statement, but not in a relation.
    names = [row[0] for row in connection.execute(f"DESCRIBE\n{sql}").fetchall()]
    relation = connection.sql(f"SELECT * FROM (\n{sql}\n) AS described LIMIT 0")
    counts = Counter(name.lower() for name in names)
    duplicates = {name for name in names if counts[name.lower()] > 1}
    if duplicates:
        raise SqlInvalid(
            f"The query has two columns with the name {sorted(duplicates)[0]!r}.",
            hint="Give each column its own name with AS.",
        )
    return [_column(name, kind) for name, kind in zip(names, relation.types, strict=True)]


def _column(name: str, kind: DuckDBPyType) -> ResultColumn:
    held_as, trino = _held(kind, name)
    return ResultColumn(name, str(kind), held_as, trino)


def _held(kind: DuckDBPyType, column: str) -> tuple[str, str]:
    if kind.id in _AS_HELD:
        return _AS_HELD[kind.id]
    match kind.id:
        case "decimal":
            precision, scale = (value for _, value in kind.children)
            return f"DECIMAL({precision},{scale})", f"decimal({precision},{scale})"
        case "list" | "array":
            held, trino = _held(_types(kind)[0][1], column)
            return f"{held}[]", f"array({trino})"
        case "map":
            key, value = (_held(child, column) for _, child in _types(kind))
            return f"MAP({key[0]}, {value[0]})", f"map({key[1]}, {value[1]})"
        case "struct":
            children = [(name, _held(child, column)) for name, child in _types(kind)]
            if not all(name for name, _ in children):
                raise not_held(column, f"row({', '.join(held[1] for _, held in children)})")
            fields = [(quoted(name), held) for name, held in children]
            held = ", ".join(f"{name} {types[0]}" for name, types in fields)
            trino = ", ".join(f"{name} {types[1]}" for name, types in fields)
            return f"STRUCT({held})", f"row({trino})"
        case _:
            raise not_held(column, str(kind))


def not_held(column: str, kind: str) -> SqlInvalid:
    """Return the error. `kind` is in Trino's spelling if it has one, else in DuckDB's."""
    hint = "Cast it in the SQL, for example to varchar."
    if "row(" in kind:
        hint = "Name the fields of rows, for example: CAST(ROW(1) AS ROW(id integer))."
    return SqlInvalid(
        f"Column {column!r} has the type {kind}, which an Iceberg table cannot hold.", hint=hint
    )


def _types(kind: DuckDBPyType) -> list[tuple[str, DuckDBPyType]]:
    return cast("list[tuple[str, DuckDBPyType]]", kind.children)
