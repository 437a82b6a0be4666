"""States of tables, and the outputs of runs."""

from app.frozen import Frozen


class TableState(Frozen):
    """A table (`schema.table`) at a published state. Snapshot ids are strings: 64 bits."""

    table: str
    table_uuid: str | None = None
    snapshot_id: str | None = None
    metadata_location: str | None = None
    catalog_ref: str | None = None


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
