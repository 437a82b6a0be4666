"""States of tables, and the outputs of runs."""

from typing import Self

from app.frozen import Frozen
from app.lakehouse.tables import TableInfo, ViewInfo


class TableState(Frozen):
    """A table (`schema.table`) at a published state. Snapshot ids are strings: 64 bits."""

    table: str
    table_uuid: str | None = None
    snapshot_id: str | None = None
    metadata_location: str | None = None
    catalog_ref: str | None = None

    @classmethod
    def of(cls, info: TableInfo | ViewInfo, catalog_ref: str) -> Self:
        if isinstance(info, ViewInfo):
            return cls(table=info.table, table_uuid=info.view_uuid, catalog_ref=catalog_ref)
        return cls(
            table=info.table,
            table_uuid=info.table_uuid,
            snapshot_id=info.snapshot_id,
            metadata_location=info.metadata_location,
            catalog_ref=catalog_ref,
        )


class StreamOutput(Frozen):
    """The output of a sync for one stream. `files` are keys in the bucket."""

    stream: str
    path: str
    rows: int
    bytes: int
    broken_rows: int = 0
    files: tuple[str, ...] = ()


class RunOutput(TableState):
    """The output of a run. `rows` counts the table's rows after the run, `rows_written` those that
    this run wrote (they differ for appends and merges). None means not verified."""

    rows: int | None = None
    rows_written: int | None = None
    bytes: int | None = None
    files: int | None = None
    streams: tuple[StreamOutput, ...] = ()
