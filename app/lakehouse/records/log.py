"""An append-only Iceberg table of rows, and the record of which were read. Synchronous, for
threads.

Readers compare sets of data files, not snapshot chains: expiry, compaction and Nessie break those.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import EngineUnreachable
from app.lakehouse.records import compaction
from app.lakehouse.records.compaction import Rewrite
from app.lakehouse.tables import forbids_deletions

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

log = structlog.get_logger()

COMMIT_ID_PROPERTY = "asgard.commit_id"
KEPT_SNAPSHOTS = 20
EXPIRE_EVERY = 50
MOST_FILES = 100
BATCH_ROWS = 1_000
READERS_DONE_AFTER = 900.0
"""Seconds after which no reader uses the files of a former snapshot."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TABLE_PROPERTIES = {
    # A lost race must be checked again by us, not repeated blindly by pyiceberg.
    "commit.retry.num-retries": "0",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


@dataclass(frozen=True)
class Row:
    """One version of one record. `doc` is JSON, `op` is `put` or `delete`."""

    id: str
    version: int
    op: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    commit_id: str
    schema_version: int
    doc: str
    extra: Mapping[str, str | None] = field(default_factory=dict)
    """Columns that only this kind has, for filters in queries of the table."""

    @property
    def is_superseded(self) -> bool:
        """Return whether compaction removed the document because a newer version exists."""
        return not self.doc and self.op == "put"


COLUMNS = tuple(name for name in Row.__dataclass_fields__ if name != "extra")


@dataclass(frozen=True)
class Changes:
    """The changes that a refresh found. They count as read after `RecordLog.accept`."""

    rows: Sequence[Row] = ()
    reset: bool = False
    """Whether the rows are all rows of the table, because it is another table now."""
    table: "Table | None" = None
    manifests: "Mapping[str, frozenset[str]]" = field(default_factory=dict)
    """The paths of all manifests, with the data files that each one lists."""

    @property
    def files(self) -> set[str]:
        return set().union(*self.manifests.values())


class CommitResult(Enum):
    DONE = "done"
    STALE = "stale"
    UNKNOWN = "unknown"
    """The catalog did not answer. `refresh` shows whether the rows are in the table."""


@dataclass(frozen=True)
class ReplacedFiles:
    """Files that no snapshot after `sequence_number` refers to."""

    at: float
    sequence_number: int
    paths: Sequence[str]


class RecordLog:
    """`refresh`, `accept`, `append` and `replace` must not overlap, so their callers hold one lock
    for all. `replace` and `expire` must not overlap each other either."""

    def __init__(self, namespace: str, kind: str, extra: tuple[str, ...] = ()) -> None:
        self.identifier = (namespace, kind)
        self._extra = extra
        self._table: Table | None = None
        self._files: set[str] = set()
        self._manifests: Mapping[str, frozenset[str]] = {}
        self._replaced: list[ReplacedFiles] = []

    def refresh(self, catalog: "RestCatalog") -> Changes:
        """Return the rows that were not yet read."""
        from pyiceberg.exceptions import NoSuchTableError

        try:
            table = catalog.load_table(self.identifier)
        except NoSuchTableError:
            table = self._create(catalog)
        previous = self._table
        if previous is not None and previous.metadata_location == table.metadata_location:
            return Changes()
        reset = previous is None or previous.metadata.table_uuid != table.metadata.table_uuid
        manifests = _data_files(table, {} if reset else self._manifests)
        found = Changes((), reset, table, manifests)
        unseen = sorted(found.files if reset else found.files - self._files)
        return replace(found, rows=_read(table.io, unseen))

    def accept(self, changes: Changes) -> None:
        """Mark the changes as read. Call this only when nothing can fail any more: accepted rows
        are never read again."""
        if changes.table is None:
            return
        self._files, self._manifests = changes.files, changes.manifests
        self._table = changes.table

    def append(self, rows: Sequence[Row], commit_id: str) -> CommitResult:
        """Append the rows in one commit, but only to the state that the last `refresh` read."""
        from pyiceberg.io.pyarrow import _dataframe_to_data_files

        written: list[DataFile] = []

        def commit(table: "Table") -> None:
            transaction = table.transaction()
            with transaction.update_snapshot(
                snapshot_properties={COMMIT_ID_PROPERTY: commit_id}
            ).merge_append() as producer:
                written.extend(
                    _dataframe_to_data_files(
                        table_metadata=table.metadata,
                        df=self._arrow(rows),
                        io=table.io,
                        write_uuid=producer.commit_uuid,
                    )
                )
                for file in written:
                    producer.append_data_file(file)
            transaction.commit_transaction()

        result = self._commit(commit)
        if result is CommitResult.STALE and self._table is not None:
            self._discard(self._table.io, [file.file_path for file in written])
        if result is CommitResult.DONE:
            self._files |= {file.file_path for file in written}
        return result

    def _commit(self, commit: Callable[["Table"], None]) -> CommitResult:
        """Commit to the state that the last `refresh` read, and say what became of it."""
        from pyiceberg.exceptions import (
            CommitFailedException,
            CommitStateUnknownException,
            ServerError,
            ServiceUnavailableError,
            ValidationException,
        )
        from requests.exceptions import RequestException

        table = self._table
        if table is None:
            return CommitResult.STALE
        table.metadata = _without_history(table.metadata)
        try:
            commit(table)
        except (CommitFailedException, ValidationException):
            return CommitResult.STALE
        except (
            CommitStateUnknownException,
            ServerError,
            ServiceUnavailableError,
            RequestException,
        ) as error:
            log.warning("commit_unanswered", table=".".join(self.identifier), error=str(error))
            return CommitResult.UNKNOWN
        return CommitResult.DONE

    @property
    def is_crowded(self) -> bool:
        """Return whether the table has so many data files that a start slows down."""
        snapshot = self._table.current_snapshot() if self._table is not None else None
        if snapshot is None or snapshot.summary is None:
            return False
        return int(snapshot.summary.additional_properties.get("total-data-files", 0)) >= MOST_FILES

    def rewrite(self, catalog: "RestCatalog") -> Rewrite | None:
        """Write the small data files as one, for `replace`."""
        return compaction.rewrite(catalog.load_table(self.identifier))

    def has(self, rewrite: Rewrite) -> bool:
        """Return whether the files to be replaced are all in the state that was read last."""
        return {file.file_path for file in rewrite.replaced} <= self._files

    def replace(self, rewrite: Rewrite) -> CommitResult:
        """Replace the files in one commit, but only in the state that the last `refresh` read.
        Otherwise rows that this reader has not seen would count as read."""
        replaced = [file.file_path for file in rewrite.replaced]

        def commit(table: "Table") -> None:
            sequence_number = compaction.commit(table, rewrite)
            if sequence_number is not None and not forbids_deletions(table.properties):
                self._replaced.append(ReplacedFiles(time.monotonic(), sequence_number, replaced))

        result = self._commit(commit)
        if result is CommitResult.DONE:
            self._files -= set(replaced)
            self._files |= {file.file_path for file in rewrite.written}
        return result

    def discard(self, catalog: "RestCatalog", rewrite: Rewrite) -> None:
        """Delete the written files, except those that are in the table after all."""
        table = catalog.load_table(self.identifier)
        live = {file.file_path for file in compaction.live_files(table)}
        self._discard(table.io, [f.file_path for f in rewrite.written if f.file_path not in live])

    @property
    def is_long(self) -> bool:
        """Return whether the table has so many snapshots that commits slow down: 84 ms at 100, 651
        ms at 1,000."""
        table = self._table
        return table is not None and len(table.metadata.snapshots) >= KEPT_SNAPSHOTS + EXPIRE_EVERY

    def expire(self, catalog: "RestCatalog") -> None:
        """Expire old snapshots. May overlap with `refresh` and `append`, as it loads its own
        table."""
        from pyiceberg.exceptions import CommitFailedException, ValidationException

        table = catalog.load_table(self.identifier)
        newest_last = sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0)
        expired = [snapshot.snapshot_id for snapshot in newest_last[:-KEPT_SNAPSHOTS]]
        try:
            table.maintenance.expire_snapshots().by_ids(expired).commit()
        except (CommitFailedException, ValidationException):
            log.debug("expiry_lost_race", table=".".join(self.identifier))
        self._delete_replaced(table)

    def _delete_replaced(self, table: "Table") -> None:
        """Delete replaced files that no snapshot and no reader uses any more."""
        oldest = min(snapshot.sequence_number or 0 for snapshot in table.metadata.snapshots)
        before = time.monotonic() - READERS_DONE_AFTER
        unused = [
            files
            for files in self._replaced
            if files.at <= before and files.sequence_number <= oldest
        ]
        for files in unused:
            self._discard(table.io, list(files.paths))
            self._replaced.remove(files)

    def _create(self, catalog: "RestCatalog") -> "Table":
        from pyiceberg.exceptions import (
            CommitFailedException,
            CommitStateUnknownException,
            NoSuchTableError,
            TableAlreadyExistsError,
        )

        reason = ""
        try:
            # The same commit makes the first snapshot, because Nessie silently loses first commits.
            with (
                catalog.create_table_transaction(
                    self.identifier, self._schema(), properties=TABLE_PROPERTIES
                ) as creation,
                creation.update_snapshot().fast_append(),
            ):
                pass
        except (CommitFailedException, TableAlreadyExistsError):
            log.debug("table_created_by_another", table=".".join(self.identifier))
        except CommitStateUnknownException as error:
            reason = str(error)
        try:
            table: Table = catalog.load_table(self.identifier)
        except NoSuchTableError:
            name = ".".join(self.identifier)
            raise EngineUnreachable(
                f"The catalog did not create the table {name}. {reason}", dependency="catalog"
            ) from None
        return table

    def _schema(self) -> "Schema":
        from pyiceberg.schema import Schema
        from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

        kinds: dict[str, Any] = {
            "version": LongType(),
            "schema_version": LongType(),
            "created_at": TimestamptzType(),
            "updated_at": TimestamptzType(),
        }
        return Schema(
            *(
                NestedField(number, name, kinds.get(name, StringType()), required=name in COLUMNS)
                for number, name in enumerate((*COLUMNS, *self._extra), start=1)
            )
        )

    def _arrow(self, rows: Sequence[Row]) -> "pa.Table":
        import pyarrow as pa
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        values = [{name: getattr(row, name) for name in COLUMNS} | dict(row.extra) for row in rows]
        schema = schema_to_pyarrow(self._schema(), include_field_ids=False)
        return pa.Table.from_pylist(values, schema=schema)

    def _discard(self, io: "FileIO", paths: list[str]) -> None:
        for path in paths:
            try:
                io.delete(path)
            except OSError as error:
                log.warning("orphan_left", path=path, error=str(error))


def new_commit_id() -> str:
    return uuid.uuid4().hex


def _without_history(metadata: "TableMetadata") -> "TableMetadata":
    """Return the metadata with only the current snapshot. A commit needs no other, and pyiceberg
    makes a dozen deep copies of all of them. The request and the catalog's state stay the same."""
    current = metadata.current_snapshot()
    retained = [current] if current is not None else []
    return metadata.model_copy(update={"snapshots": retained, "snapshot_log": []})


def _data_files(table: "Table", known: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Return the paths of all manifests with their data files. Only unknown ones are read."""
    snapshot = table.current_snapshot()
    paths: dict[str, frozenset[str]] = {}
    for manifest in snapshot.manifests(table.io) if snapshot is not None else ():
        path = manifest.manifest_path
        paths[path] = known[path] if path in known else _listed(manifest, table.io)
    return paths


def _listed(manifest: "ManifestFile", io: "FileIO") -> frozenset[str]:
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    return frozenset(entry.data_file.file_path for entry in entries)


def _read(io: "FileIO", paths: list[str]) -> list[Row]:
    if len(paths) <= 1:
        return [row for path in paths for row in _read_file(io, path)]
    with ThreadPoolExecutor(min(8, len(paths))) as pool:
        return [row for rows in pool.map(lambda path: _read_file(io, path), paths) for row in rows]


def _read_file(io: "FileIO", path: str) -> list[Row]:
    import pyarrow.parquet as pq

    rows: list[Row] = []
    with io.new_input(path).open() as source:
        # In batches, because other threads wait while one becomes objects.
        for batch in pq.ParquetFile(source).iter_batches(batch_size=BATCH_ROWS):
            rows += _rows(batch)
    return rows


def _rows(batch: "pa.RecordBatch") -> Iterator[Row]:
    columns = {name: _values(batch.column(name)) for name in batch.schema.names}
    known = [columns.pop(name) for name in COLUMNS]
    extra = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ] or [{} for _ in range(batch.num_rows)]
    return map(Row, *known, extra)


def _values(column: "pa.Array") -> list[Any]:
    """Return the same values as `to_pylist`, which takes 7 µs for each time with a zone."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    microseconds = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if at is None else EPOCH + timedelta(microseconds=at) for at in microseconds]
