"""Descriptions of tables and views from the catalog's metadata. Nothing here reads data files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from app.lakehouse.types import iceberg_type, trino_type

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.view import View

DIALECT = "trino"
NESSIE_OWN = "nessie."
"""The prefix of properties that Nessie adds to all tables and views."""
DELETES = ("total-position-deletes", "total-equality-deletes", "total-delete-files")


@dataclass(frozen=True)
class Column:
    """A column. `type` is in Trino's spelling: `bigint`, `varchar`, `timestamp(6)`, `decimal(10,2)`
    …"""

    name: str
    type: str
    nullable: bool = True


def to_pairs(columns: Iterable[Column]) -> list[list[str]]:
    """Return the columns as a run records them in JSON: names and types."""
    return [[column.name, column.type] for column in columns]


def from_pairs(pairs: Iterable[Sequence[str]]) -> list[Column]:
    """Return the columns that `to_pairs` has recorded."""
    return [Column(name, type_) for name, type_ in pairs]


@dataclass(frozen=True)
class TableInfo:
    """`table` is `schema.name`. Figures come from the snapshot, and are None if it has none."""

    table: str
    table_uuid: str
    snapshot_id: str | None
    metadata_location: str
    columns: tuple[Column, ...]
    rows: int | None
    bytes: int | None
    files: int | None
    created_at: datetime | None
    last_updated: datetime
    location: str
    partition_spec: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ViewInfo:
    table: str
    view_uuid: str
    sql: str
    """SQL in Trino's dialect. Empty if the view has no such representation."""
    columns: tuple[Column, ...]
    properties: dict[str, str]
    last_updated: datetime

    @property
    def own_properties(self) -> dict[str, str]:
        """Return the properties that a writer has set, without those of Nessie."""
        return {k: v for k, v in self.properties.items() if not k.startswith(NESSIE_OWN)}


def table_info(name: str, table: "Table", snapshot: "Snapshot | None" = None) -> TableInfo:
    """Describe the table at the current snapshot, or at the given one."""
    metadata = table.metadata
    schema = _schema_at(table, snapshot)
    snapshot = snapshot or table.current_snapshot()
    rows, size, files = _figures(snapshot)
    changed = snapshot.timestamp_ms if snapshot else metadata.last_updated_ms
    return TableInfo(
        table=name,
        table_uuid=str(metadata.table_uuid),
        snapshot_id=str(snapshot.snapshot_id) if snapshot else None,
        metadata_location=table.metadata_location,
        columns=columns_of(schema),
        rows=rows,
        bytes=size,
        files=files,
        created_at=_created_at(table),
        last_updated=_time(changed),
        location=table.location(),
        partition_spec=_partitions(table),
        properties=dict(metadata.properties),
    )


def view_info(name: str, view: "View") -> ViewInfo:
    representation = view.sql_for(DIALECT)
    return ViewInfo(
        table=name,
        view_uuid=view.metadata.view_uuid,
        sql=representation.sql if representation else "",
        columns=columns_of(view.schema()),
        properties=dict(view.properties),
        last_updated=_time(view.current_version().timestamp_ms),
    )


def forbids_deletions(properties: Mapping[str, str]) -> bool:
    """Return whether the catalog forbids deleting a table's files. Nessie does so because other
    branches may need them."""
    return properties.get("gc.enabled", "true") == "false"


def columns_of(schema: "Schema") -> tuple[Column, ...]:
    return tuple(
        Column(part.name, trino_type(part.field_type), nullable=not part.required)
        for part in schema.fields
    )


def schema_of(columns: Sequence[Column]) -> "Schema":
    from pyiceberg.schema import Schema, assign_fresh_schema_ids
    from pyiceberg.types import NestedField

    fields = (
        NestedField(number, column.name, iceberg_type(column.type), required=not column.nullable)
        for number, column in enumerate(columns, start=1)
    )
    return assign_fresh_schema_ids(Schema(*fields))


def _figures(snapshot: "Snapshot | None") -> tuple[int | None, int | None, int | None]:
    """Return rows, bytes and files. With delete files the number of rows is unknown, because a row
    may be deleted twice."""
    if snapshot is None:
        return 0, 0, 0
    summary = snapshot.summary.additional_properties if snapshot.summary else {}

    def figure(name: str) -> int | None:
        value = summary.get(name)
        return int(value) if value is not None and value.isdigit() else None

    deletes = any(figure(name) for name in DELETES)
    rows = None if deletes else figure("total-records")
    return rows, figure("total-files-size"), figure("total-data-files")


def _schema_at(table: "Table", snapshot: "Snapshot | None") -> "Schema":
    if snapshot is None or snapshot.schema_id is None:
        return table.schema()
    return table.schemas().get(snapshot.schema_id, table.schema())


def _created_at(table: "Table") -> datetime | None:
    """Return the time of the first snapshot, unless that has expired."""
    first = min(table.snapshots(), key=lambda snapshot: snapshot.timestamp_ms, default=None)
    if first is None or first.parent_snapshot_id is not None:
        return None
    return _time(first.timestamp_ms)


def _partitions(table: "Table") -> list[str]:
    schema = table.schema()
    described = []
    for part in table.spec().fields:
        column, transform = schema.find_column_name(part.source_id), str(part.transform)
        described.append(str(column) if transform == "identity" else f"{transform}({column})")
    return described


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
