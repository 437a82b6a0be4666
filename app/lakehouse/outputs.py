"""States of tables, and the outputs of runs."""

from typing import Self

from pydantic import Field

from app.frozen import Frozen
from app.lakehouse.tables import TableInfo, ViewInfo


class TableState(Frozen):
    """A table (`schema.table`) at a published state. Snapshot ids are strings: 64 bits."""

    table: str = Field(description="The table as `schema.table`, or a bronze path.")
    table_uuid: str | None = Field(None, description="Iceberg's id of the table.")
    snapshot_id: str | None = Field(
        None, description="Iceberg's id of the snapshot. A string, since it has 64 bits."
    )
    metadata_location: str | None = Field(
        None, description="Location of the table's metadata file."
    )
    catalog_ref: str | None = Field(None, description="Branch or commit of the catalog.")

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

    stream: str = Field(description="Name of the stream.")
    path: str = Field(description="Path of its files, as path tables name it.")
    rows: int | None = Field(description="Rows that the sync wrote. Null if not verified.")
    bytes: int = Field(description="Bytes that the sync wrote.")
    broken_rows: int = Field(0, description="Rows of the source that could not be read.")
    files: tuple[str, ...] = Field((), description="Keys of the files in the bucket.")


class RunOutput(TableState):
    """The output of a run. `rows` counts the table's rows after the run, `rows_written` those that
    this run wrote (they differ for appends and merges). None means not verified."""

    rows: int | None = Field(
        None, description="Rows of the table after the run. Null if not verified."
    )
    rows_written: int | None = Field(
        None, description="Rows that this run wrote. Null if not verified."
    )
    bytes: int | None = Field(
        None,
        description="Size of the table after the run, in bytes. For an ingestion, the bytes that "
        "it wrote.",
    )
    files: int | None = Field(
        None,
        description="Data files of the table after the run. For an ingestion, the files that it "
        "wrote.",
    )
    streams: tuple[StreamOutput, ...] = Field(
        (), description="The output of each stream, if the run is an ingestion."
    )
