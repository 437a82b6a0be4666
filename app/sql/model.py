"""The results of the guard: text and names, never trees, so that they cross processes as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import SqlColumnUnnamed


@dataclass(frozen=True)
class TableName:
    """Names a table of the lake by the real name of its schema."""

    schema: str
    name: str

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @classmethod
    def parse(cls, qualified: str) -> "TableName":
        schema, _, name = qualified.partition(".")
        return cls(schema, name)


@dataclass(frozen=True)
class PathTable:
    """Names files that are read as a table. `path` is a normalised key prefix: `bronze/flights`."""

    format: str
    path: str


@dataclass(frozen=True)
class SqlPolicy:
    """Limits what clients' SQL may read."""

    catalog: str = "iceberg"
    silver_schema: str = "silver"
    gold_schema: str = "gold"
    bucket: str = "lake"
    allowed_prefixes: tuple[str, ...] = ("bronze/",)

    @property
    def schemas(self) -> tuple[str, ...]:
        return (self.silver_schema, self.gold_schema)

    def to_json(self) -> dict[str, Any]:
        return {
            "catalog": self.catalog,
            "silver_schema": self.silver_schema,
            "gold_schema": self.gold_schema,
            "bucket": self.bucket,
            "allowed_prefixes": list(self.allowed_prefixes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SqlPolicy":
        return cls(**{**value, "allowed_prefixes": tuple(value["allowed_prefixes"])})


@dataclass(frozen=True)
class GuardedQuery:
    """Holds one SELECT in Trino's dialect, with quoted names, real schemas and no catalog."""

    sql: str
    tables: tuple[TableName, ...]
    unnamed: Mapping[str, Any] | None = field(default=None, compare=False)
    """The first column without a name: its number `column`, from 1, and its `position`."""
    source: str = field(default="", compare=False, repr=False)
    """The text that was checked, as the caller wrote it."""

    def require_names(self) -> None:
        """Raise `SqlColumnUnnamed` if a column has no name: tables and views need names."""
        if self.unnamed is not None:
            raise SqlColumnUnnamed(
                f"Column {self.unnamed['column']} of the SELECT has no name.",
                hint="Name it with AS: a table's columns take their names from its query.",
                **self.unnamed,
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "sql": self.sql,
            "tables": [table.qualified for table in self.tables],
            "unnamed": self.unnamed,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "GuardedQuery":
        tables = tuple(TableName.parse(name) for name in value["tables"])
        return cls(value["sql"], tables, value["unnamed"])


@dataclass(frozen=True)
class GuardedScript:
    """Holds temporary views in their order and the final query, in Spark's dialect."""

    views: tuple[tuple[str, str], ...]
    select: str
    tables: tuple[TableName, ...]
    paths: tuple[PathTable, ...]
    reads_source: bool


@dataclass(frozen=True)
class BoundScript:
    """Holds a guarded script as Spark runs it. It reads `paths` through the views named there."""

    views: tuple[tuple[str, str], ...]
    select: str
    tables: tuple[TableName, ...]
    paths: tuple[tuple[PathTable, str], ...]
    reads_source: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "views": [list(view) for view in self.views],
            "select": self.select,
            "tables": [table.qualified for table in self.tables],
            "paths": [[path.format, path.path, view] for path, view in self.paths],
            "reads_source": self.reads_source,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BoundScript":
        return cls(
            views=tuple((name, sql) for name, sql in value["views"]),
            select=value["select"],
            tables=tuple(TableName.parse(name) for name in value["tables"]),
            paths=tuple((PathTable(format, path), view) for format, path, view in value["paths"]),
            reads_source=value["reads_source"],
        )
