"""What the guard hands on: text and names, never trees, so that it crosses processes as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.errors import SqlColumnUnnamed


@dataclass(frozen=True)
class TableName:
    """A table of the lake, by the real name of its schema."""

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
    """Files that are read as a table; `path` is a normalised key prefix: `bronze/flights`."""

    format: str
    path: str


@dataclass(frozen=True)
class SqlPolicy:
    """What clients' SQL may read."""

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
    """One reading query in Trino's dialect: every name quoted, real schemas, no catalog."""

    sql: str
    tables: tuple[TableName, ...]
    unnamed: Mapping[str, Any] | None = field(default=None, compare=False)
    """The first column that has no name: `column`, its number from 1, and `position`."""
    source: str = field(default="", compare=False, repr=False)
    """The text that was judged, as the caller wrote it."""

    def require_names(self) -> None:
        """Raises `SqlColumnUnnamed`: a table or view cannot be made of a column without name."""
        if self.unnamed is not None:
            raise SqlColumnUnnamed(
                f"Column {self.unnamed['column']} of the SELECT has no name.",
                hint="Give it one with AS: a table's columns are named by its query.",
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
    """Temporary views in their order and the final query, in Spark's dialect."""

    views: tuple[tuple[str, str], ...]
    select: str
    tables: tuple[TableName, ...]
    paths: tuple[PathTable, ...]
    reads_source: bool


@dataclass(frozen=True)
class BoundScript:
    """A guarded script as Spark runs it; `paths` are read through the views of these names."""

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
