"""Replaces a table in one snapshot, expires old snapshots, and deletes the files of dead runs."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pyiceberg.manifest import DataFileContent, ManifestEntry, ManifestEntryStatus
from pyiceberg.table.snapshots import Summary
from pyiceberg.table.update.snapshot import _SnapshotProducer
from pyiceberg.typedef import EMPTY_DICT

from app.lakehouse.table_files import TableFiles
from app.lakehouse.tables import forbids_deletions

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

KEEP = 20
"""Snapshots that are always kept, as states to return to."""
KEEP_SECONDS = 600.0
"""Younger snapshots are also kept, for queries that still read them …"""
KEEP_AT_MOST = 100
"""… unless there are this many: commits slow down as they pile up."""


class ReplaceFiles(_SnapshotProducer["ReplaceFiles"]):
    """Replaces all files of the table with the added ones, in one snapshot.

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
    """Add the removal of old snapshots to the commit. Return these snapshots."""
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
    # In batches, because finding the unneeded files requires reading every manifest.
    if len(old) < KEEP and len(newest_first) < KEEP_AT_MOST + KEEP:
        return []
    transaction._apply((RemoveSnapshotsUpdate(snapshot_ids=[s.snapshot_id for s in old]),))
    return old


def delete_unreachable(table: Table, expired: list[Snapshot]) -> None:
    """Delete the files that only the expired snapshots referred to, unless the catalog forbids it
    (Nessie sets `gc.enabled=false`, because other branches may need them)."""
    if not expired or forbids_deletions(table.properties):
        return
    # The commit is made, so a file that cannot be removed does not fail the run.
    with suppress(OSError):
        needed = _reachable(table.io, table.snapshots())
        for path in _reachable(table.io, expired) - needed:
            if _is_own(table, path):
                table.io.delete(path)


def _is_own(table: Table, path: str) -> bool:
    """Return whether the file is the table's own. A manifest may name files of other tables or of
    this machine."""
    return isinstance(table.io, TableFiles) and table.io.holds(path)


def _reachable(io: FileIO, snapshots: list[Snapshot]) -> set[str]:
    """Return the files that the snapshots need, without those that they only list as removed."""
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


def delete_leftovers(table: Table, marks: Collection[str]) -> None:
    """Delete unreferenced files of the table whose names contain one of the marks, unless the
    catalog forbids it: Nessie does not show all snapshots that refer to files."""
    from pyarrow.fs import FileSelector
    from pyiceberg.io.pyarrow import PyArrowFileIO

    io = table.io
    if not isinstance(io, PyArrowFileIO) or forbids_deletions(table.properties):
        return
    scheme, netloc, path = PyArrowFileIO.parse_location(table.location())
    filesystem = io.fs_by_scheme(scheme, netloc)
    candidates = [
        f"{scheme}://{info.path}"
        for info in filesystem.get_file_info(
            FileSelector(path, recursive=True, allow_not_found=True)
        )
        if info.is_file and any(mark in info.base_name for mark in marks)
    ]
    if candidates:
        needed = _reachable(io, table.snapshots())
        for location in candidates:
            if location not in needed:
                io.delete(location)
