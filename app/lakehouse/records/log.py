"""An append-only Iceberg table of rows, and the record of which were read. Synchronous, for
threads.

Readers compare sets of data files, not snapshot chains: expiry, compaction and Nessie break those.
"""

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import EngineUnreachable

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

log = structlog.get_logger()

COMMIT_ID_PROPERTY = "asgard.commit_id"
KEPT_SNAPSHOTS = 20
EXPIRE_EVERY = 50
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


COLUMNS = tuple(name for name in Row.__dataclass_fields__ if name != "extra")


@dataclass(frozen=True)
class Changes:
    """The changes that a refresh found. They count as read after `RecordLog.accept`."""

    rows: Sequence[Row] = ()
    reset: bool = False
    """Whether the rows are all rows of the table, because it is another table now."""
    table: "Table | None" = None
    manifests: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


class CommitResult(Enum):
    DONE = "done"
    STALE = "stale"
    UNKNOWN = "unknown"
    """The catalog did not answer. `refresh` shows whether the rows are in the table."""


class RecordLog:
    """`refresh`, `accept` and `append` must not overlap, so their callers hold one lock for all."""

    def __init__(self, namespace: str, kind: str, extra: tuple[str, ...] = ()) -> None:
        self.identifier = (namespace, kind)
        self._extra = extra
        self._table: Table | None = None
        self._files: set[str] = set()
        self._manifests: set[str] = set()

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
        seen = set() if reset else self._manifests
        manifests, files = _data_files(table, seen)
        unseen = sorted(files if reset else files - self._files)
        rows = _read(table.io, unseen)
        return Changes(rows, reset, table, frozenset(manifests), frozenset(files))

    def accept(self, changes: Changes) -> None:
        """Mark the changes as read. Call this only when nothing can fail any more: accepted rows
        are never read again."""
        if changes.table is None:
            return
        self._files = set(changes.files) if changes.reset else self._files | changes.files
        self._manifests, self._table = set(changes.manifests), changes.table

    def append(self, rows: Sequence[Row], commit_id: str) -> CommitResult:
        """Append the rows in one commit, but only to the state that the last `refresh` read."""
        from pyiceberg.exceptions import (
            CommitFailedException,
            CommitStateUnknownException,
            ServerError,
            ServiceUnavailableError,
            ValidationException,
        )
        from pyiceberg.io.pyarrow import _dataframe_to_data_files
        from requests.exceptions import RequestException

        table = self._table
        if table is None:
            return CommitResult.STALE
        table.metadata = _without_history(table.metadata)
        transaction = table.transaction()
        written: list[DataFile] = []
        try:
            with transaction.update_snapshot(
                snapshot_properties={COMMIT_ID_PROPERTY: commit_id}
            ).merge_append() as producer:
                written += _dataframe_to_data_files(
                    table_metadata=table.metadata,
                    df=self._arrow(rows),
                    io=table.io,
                    write_uuid=producer.commit_uuid,
                )
                for file in written:
                    producer.append_data_file(file)
            transaction.commit_transaction()
        except (CommitFailedException, ValidationException):
            self._discard(table.io, [file.file_path for file in written])
            return CommitResult.STALE
        except (
            CommitStateUnknownException,
            ServerError,
            ServiceUnavailableError,
            RequestException,
        ) as error:
            log.warning("commit_unanswered", table=".".join(self.identifier), error=str(error))
            return CommitResult.UNKNOWN
        self._files |= {file.file_path for file in written}
        return CommitResult.DONE

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


def _data_files(table: "Table", seen: set[str]) -> tuple[set[str], set[str]]:
    """Return the paths of all manifests, and the data files listed in those not yet read."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return set(), set()
    manifests = snapshot.manifests(table.io)
    files: set[str] = set()
    for manifest in manifests:
        if manifest.manifest_path not in seen:
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            files.update(entry.data_file.file_path for entry in entries)
    return {manifest.manifest_path for manifest in manifests}, files


def _read(io: "FileIO", paths: list[str]) -> list[Row]:
    if len(paths) <= 1:
        return [row for path in paths for row in _read_file(io, path)]
    with ThreadPoolExecutor(min(8, len(paths))) as pool:
        return [row for rows in pool.map(lambda path: _read_file(io, path), paths) for row in rows]


def _read_file(io: "FileIO", path: str) -> list[Row]:
    import pyarrow.parquet as pq

    with io.new_input(path).open() as source:
        rows: list[dict[str, Any]] = pq.ParquetFile(source).read().to_pylist()
    return [
        Row(
            **{name: row.pop(name) for name in COLUMNS},
            extra=row,
        )
        for row in rows
    ]
