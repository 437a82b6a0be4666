"""What a run's queries did to a table: Trino writes their ids into the snapshots they make."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from app.lakehouse.tables import table_info
from app.runs.model import RunOutput

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

QUERY_ID_PROPERTY = "trino_query_id"


def find_published(
    catalog: RestCatalog, table: str, query_ids: Collection[str]
) -> RunOutput | None:
    """By the newest snapshot of these queries, if the catalog shows it."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        found = catalog.load_table(table)
    except NoSuchTableError:
        return None
    snapshots = sorted(found.snapshots(), key=lambda s: s.sequence_number or 0, reverse=True)
    for snapshot in snapshots:
        if _property(snapshot, QUERY_ID_PROPERTY) in query_ids:
            return _output(found, table, snapshot)
    return None


def current(catalog: RestCatalog, table: str) -> RunOutput:
    """Of a table to which a run added nothing."""
    found = catalog.load_table(table)
    output = _output(found, table, found.current_snapshot())
    return output.model_copy(update={"rows_written": 0})


def delete_files(catalog: RestCatalog, table: str) -> int:
    snapshot = catalog.load_table(table).current_snapshot()
    return int(_property(snapshot, "total-delete-files") or 0)


def _output(found: Table, table: str, snapshot: Snapshot | None) -> RunOutput:
    info = table_info(table, found, snapshot)
    latest = snapshot is None or found.metadata.current_snapshot_id == snapshot.snapshot_id
    return RunOutput(
        table=table,
        table_uuid=info.table_uuid,
        snapshot_id=info.snapshot_id,
        metadata_location=info.metadata_location if latest else None,
        rows=info.rows,
        rows_written=int(_property(snapshot, "added-records") or 0),
        bytes=info.bytes,
        files=info.files,
    )


def _property(snapshot: Snapshot | None, name: str) -> str | None:
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return summary.get(name)
