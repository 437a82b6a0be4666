"""Finds what a run's queries did to a table: Trino writes their ids into the table's snapshots."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.lakehouse.outputs import RunOutput
from app.lakehouse.tables import table_info

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

QUERY_ID_PROPERTY = "trino_query_id"


@dataclass(frozen=True)
class Written:
    output: RunOutput
    """Describes the newest snapshot of the queries, or else the current snapshot."""
    is_visible: bool
    """Whether the catalog shows a snapshot of the queries."""
    delete_files: int
    """Number of delete files in the current snapshot."""


def written(
    catalog: RestCatalog, table: str, query_ids: Collection[str], ref: str | None
) -> Written:
    """Return what the queries wrote, from one answer of the catalog."""
    loaded = catalog.load_table(table)
    current = loaded.current_snapshot()
    deletes = int(_property(current, "total-delete-files") or 0)
    snapshots = sorted(loaded.snapshots(), key=lambda s: s.sequence_number or 0, reverse=True)
    for snapshot in snapshots:
        if _property(snapshot, QUERY_ID_PROPERTY) in query_ids:
            return Written(_output(loaded, table, snapshot, ref), True, deletes)
    output = _output(loaded, table, current, ref)
    return Written(output.model_copy(update={"rows_written": 0}), False, deletes)


def _output(loaded: Table, table: str, snapshot: Snapshot | None, ref: str | None) -> RunOutput:
    info = table_info(table, loaded, snapshot)
    is_latest = snapshot is None or loaded.metadata.current_snapshot_id == snapshot.snapshot_id
    return RunOutput(
        table=table,
        table_uuid=info.table_uuid,
        snapshot_id=info.snapshot_id,
        metadata_location=info.metadata_location if is_latest else None,
        rows=info.rows,
        rows_written=int(_property(snapshot, "added-records") or 0),
        bytes=info.bytes,
        files=info.files,
        catalog_ref=ref,
    )


def _property(snapshot: Snapshot | None, name: str) -> str | None:
    summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    return summary.get(name)
