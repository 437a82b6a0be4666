"""Snapshots: a full replacement as one of them, expiry of old ones, and the files of dead runs."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pyiceberg.manifest import DataFileContent, ManifestEntry, ManifestEntryStatus
from pyiceberg.table.snapshots import Summary
from pyiceberg.table.update.snapshot import _SnapshotProducer
from pyiceberg.typedef import EMPTY_DICT

from app.lakehouse.table_files import TableFiles

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

KEEP = 20
"""Snapshots that are always kept: states to go back to."""
KEEP_SECONDS = 600.0
"""Younger snapshots are kept too, for the sake of queries that are still reading them …"""
KEEP_AT_MOST = 100
"""… unless there are this many: commits slow down as they pile up."""


class ReplaceFiles(_SnapshotProducer["ReplaceFiles"]):
    """All files of the table give way to the added ones, in one snapshot.

    pyiceberg's own overwrite makes two snapshots (a delete, then an append) that both carry the
    run's id, and keeps the delete files that Trino or DuckDB may have left.
    """

    def _existing_manifests(self) -> list[ManifestFile]:
        return []

    def _deleted_entries(self) -> list[ManifestEntry]:
        metadata = self._transaction.table_metadata
        previous = metadata.snapshot_by_id(self._parent_snapshot_id or -1)
        if previous is None:
            return []
        return [
            ManifestEntry.from_args(
                status=ManifestEntryStatus.DELETED,
                snapshot_id=self._snapshot_id,
                sequence_number=entry.sequence_number,
                file_sequence_number=entry.file_sequence_number,
                data_file=entry.data_file,
            )
            for manifest in previous.manifests(self._io)
            if manifest.has_added_files() or manifest.has_existing_files()
            for entry in manifest.fetch_manifest_entry(self._io, discard_deleted=True)
            if entry.data_file.content == DataFileContent.DATA
        ]

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        summary = super()._summary(snapshot_properties)
        for total, added in (
            ("total-data-files", "added-data-files"),
            ("total-records", "added-records"),
            ("total-files-size", "added-files-size"),
        ):
            summary[total] = summary.get(added) or "0"
        for total in ("total-delete-files", "total-position-deletes", "total-equality-deletes"):
            summary[total] = "0"
        return summary


def expire(transaction: Transaction) -> list[Snapshot]:
    """Adds the removal of old snapshots to the commit; returns them."""
    from pyiceberg.table.update import RemoveSnapshotsUpdate

    metadata = transaction.table_metadata
    pinned = {ref.snapshot_id for ref in metadata.refs.values()}
    newest_first = sorted(metadata.snapshots, key=lambda s: s.sequence_number or 0, reverse=True)
    deadline = (time.time() - KEEP_SECONDS) * 1000
    old = [
        snapshot
        for position, snapshot in enumerate(newest_first)
        if position >= KEEP
        and snapshot.snapshot_id not in pinned
        and (snapshot.timestamp_ms < deadline or position >= KEEP_AT_MOST)
    ]
    # In batches: finding the files that nobody needs any more costs a read of every manifest.
    if len(old) < KEEP and len(newest_first) < KEEP_AT_MOST + KEEP:
        return []
    transaction._apply((RemoveSnapshotsUpdate(snapshot_ids=[s.snapshot_id for s in old]),))
    return old


def delete_unreachable(table: Table, expired: list[Snapshot]) -> None:
    """Deletes the files that only the expired snapshots knew, unless the catalog forbids it
    (Nessie sets `gc.enabled=false`: other branches may need them)."""
    if not expired or table.properties.get("gc.enabled", "true") == "false":
        return
    # The commit is made: that a file could not be removed is no failure of the run.
    with suppress(OSError):
        kept = _reachable(table.io, table.snapshots())
        for path in _reachable(table.io, expired) - kept:
            if _is_own(table, path):
                table.io.delete(path)


def _is_own(table: Table, path: str) -> bool:
    """A manifest may name any file: those of other tables, or of this machine."""
    return isinstance(table.io, TableFiles) and table.io.holds(path)


def _reachable(io: FileIO, snapshots: list[Snapshot]) -> set[str]:
    """Without the files that a snapshot only says it removed: it does not need them."""
    files: set[str] = set()
    manifests: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        files.add(snapshot.manifest_list)
        manifests.update({m.manifest_path: m for m in snapshot.manifests(io)})
    for path, manifest in manifests.items():
        files.add(path)
        entries: list[Any] = manifest.fetch_manifest_entry(io, discard_deleted=True)
        files.update(entry.data_file.file_path for entry in entries)
    return files


def delete_leftovers(table: Table, marks: tuple[str, ...]) -> None:
    """Deletes files of the table whose names hold one of the marks and that nothing refers to."""
    from pyarrow.fs import FileSelector
    from pyiceberg.io.pyarrow import PyArrowFileIO

    io = table.io
    if not isinstance(io, PyArrowFileIO):
        return
    scheme, netloc, path = PyArrowFileIO.parse_location(table.location())
    filesystem = io.fs_by_scheme(scheme, netloc)
    found = [
        f"{scheme}://{info.path}"
        for info in filesystem.get_file_info(
            FileSelector(path, recursive=True, allow_not_found=True)
        )
        if info.is_file and any(mark in info.base_name for mark in marks)
    ]
    if found:
        kept = _reachable(io, table.snapshots())
        for location in found:
            if location not in kept:
                io.delete(location)
