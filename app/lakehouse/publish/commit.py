"""Implements the commits of `publish`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, UUID, uuid5

from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    ServerError,
    ServiceUnavailableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles, _MergeAppendFiles
from requests import RequestException

from app.errors import EngineUnreachable, InvalidRequest, NotSupported
from app.lakehouse.catalog import RUN_ID_PROPERTY
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish.columns import (
    add_columns,
    aligned,
    lake_schema,
    refuse_paths,
    refuse_spellings,
    set_schema,
)
from app.lakehouse.publish.data_files import write_data_files
from app.lakehouse.publish.published import ExpectedSnapshot, target_changed
from app.lakehouse.publish.snapshots import (
    ReplaceFiles,
    delete_leftovers,
    delete_unreachable,
    expire,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, Transaction
    from pyiceberg.table.snapshots import Snapshot

UNKNOWN_OUTCOME = (
    CommitStateUnknownException,
    ServerError,
    ServiceUnavailableError,
    RequestException,
)
"""Errors after which it is unknown whether the commit was made."""

WRITABLE_VERSION = 2
"""pyiceberg reads the format version 3, but writes no manifests of it."""
TABLE_PROPERTIES = {
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "20",
}


def replace(
    catalog: RestCatalog,
    table: str,
    reader: pa.RecordBatchReader,
    run_id: str,
    properties: Mapping[str, str],
    base: ExpectedSnapshot | None,
) -> RunOutput:
    target = _load(catalog, table)
    if target is None:
        if base is not None and base.snapshot_id is not None:
            raise target_changed(table)
        return _create(catalog, table, reader, run_id, properties)
    if published := _find_published(target, table, run_id):
        return published
    current = target.metadata.current_snapshot_id
    if base is not None and base.snapshot_id != (str(current) if current else None):
        raise target_changed(table)

    transaction = _transaction(target, properties)
    if fields := target.spec().fields:
        with transaction.update_spec() as update:
            for field in fields:
                update.remove_field(field.name)
    set_schema(transaction, lake_schema(reader.schema))
    producer = partial(ReplaceFiles, operation=Operation.OVERWRITE)
    return _commit(catalog, table, transaction, producer, iter(reader), run_id)


def append(
    catalog: RestCatalog,
    table: str,
    reader: pa.RecordBatchReader,
    run_id: str,
    properties: Mapping[str, str],
    may_add_columns: bool,
) -> RunOutput:
    target = _load(catalog, table)
    if target is None:
        return _create(catalog, table, reader, run_id, properties)
    if published := _find_published(target, table, run_id):
        return published
    if target.spec().fields:
        raise NotSupported(
            f"{table} is partitioned. Rows can be appended only to unpartitioned tables."
        )

    transaction = _transaction(target, properties)
    # `Schema.column_names` also has the nested ones: a column "s.a" is not the field a of s.
    existing = {field.name for field in target.schema().fields}
    new_columns = [field for field in lake_schema(reader.schema) if field.name not in existing]
    refuse_paths((field.name for field in new_columns), target.schema().column_names)
    if new_columns and not may_add_columns:
        names = [field.name for field in new_columns]
        raise InvalidRequest(
            f"{table} has no column {', '.join(names)}. Appending does not add columns.",
            hint="Omit these columns, or overwrite the table, which replaces its columns.",
            unknown_columns=names,
        )
    if new_columns:
        add_columns(transaction, new_columns)
    batches = aligned(reader, transaction.table_metadata.schema())
    producer = partial(_MergeAppendFiles, operation=Operation.APPEND)
    return _commit(catalog, table, transaction, producer, batches, run_id)


def find(catalog: RestCatalog, table: str, run_id: str) -> RunOutput | None:
    target = _load(catalog, table)
    return _find_published(target, table, run_id) if target else None


def sweep(catalog: RestCatalog, table: str, run_ids: Collection[str]) -> None:
    if target := _load(catalog, table):
        delete_leftovers(target, {*run_ids, *(str(_commit_uuid(run_id)) for run_id in run_ids)})


def _create(
    catalog: RestCatalog,
    table: str,
    reader: pa.RecordBatchReader,
    run_id: str,
    properties: Mapping[str, str],
) -> RunOutput:
    try:
        transaction = catalog.create_table_transaction(
            table,
            schema=lake_schema(reader.schema),
            properties={**TABLE_PROPERTIES, **properties},
        )
    except TableAlreadyExistsError as error:
        raise target_changed(table) from error
    producer = partial(_FastAppendFiles, operation=Operation.APPEND)
    return _commit(catalog, table, transaction, producer, iter(reader), run_id)


def _commit(
    catalog: RestCatalog,
    table: str,
    transaction: Transaction,
    new_producer: Callable[..., Any],
    batches: Iterator[pa.RecordBatch],
    run_id: str,
) -> RunOutput:
    target = transaction._table
    refuse_spellings(field.name for field in transaction.table_metadata.schema().fields)
    producer = new_producer(
        transaction=transaction,
        io=target.io,
        commit_uuid=_commit_uuid(run_id),
        snapshot_properties={RUN_ID_PROPERTY: run_id},
    )
    written: list[DataFile] = []
    try:
        for file in write_data_files(target.io, transaction.table_metadata, batches, run_id):
            written.append(file)
            producer.append_data_file(file)
        producer.commit()
        expired = expire(transaction)
    except BaseException:
        _delete(target, written)
        raise
    try:
        transaction.commit_transaction()
    except (CommitFailedException, ValidationException) as error:
        # Only after these is it certain that nothing was committed. After any other error, the
        # files may be those of the current snapshot.
        _delete(target, written)
        raise target_changed(table) from error
    except UNKNOWN_OUTCOME as error:
        if published := find(catalog, table, run_id):
            return published
        raise EngineUnreachable(f"The catalog did not confirm the commit to {table}.") from error
    delete_unreachable(target, expired)
    if target.metadata_location.startswith("http"):
        # Nessie answers a commit with its own address. Only a load returns that of the file.
        loaded = _load(catalog, table)
        if loaded and loaded.snapshot_by_id(producer.snapshot_id):
            target = loaded
    snapshot = target.snapshot_by_id(producer.snapshot_id)
    if snapshot is None:
        raise EngineUnreachable(f"The catalog accepted a commit to {table} but does not show it.")
    return _published(target, table, snapshot)


def _delete(target: Table, files: list[DataFile]) -> None:
    with suppress(OSError):
        for file in files:
            target.io.delete(file.file_path)


def _commit_uuid(run_id: str) -> UUID:
    """Return the id that pyiceberg puts into the names of the manifests that it writes."""
    return UUID(run_id) if len(run_id) == 32 else uuid5(NAMESPACE_OID, run_id)


def _published(target: Table, table: str, snapshot: Snapshot) -> RunOutput:
    summary: Mapping[str, str] = snapshot.summary or {}
    current = target.metadata.current_snapshot_id == snapshot.snapshot_id

    def number(key: str) -> int:
        return int(summary.get(key) or 0)

    return RunOutput(
        table=table,
        table_uuid=str(target.metadata.table_uuid),
        snapshot_id=str(snapshot.snapshot_id),
        metadata_location=target.metadata_location if current else None,
        rows=number("total-records"),
        rows_written=number("added-records"),
        bytes=number("total-files-size"),
        files=number("total-data-files"),
    )


def _load(catalog: RestCatalog, table: str) -> Table | None:
    try:
        loaded: Table = catalog.load_table(table)
    except NoSuchTableError:
        return None
    return loaded


def _find_published(target: Table, table: str, run_id: str) -> RunOutput | None:
    for snapshot in reversed(target.snapshots()):
        if snapshot.summary and snapshot.summary.get(RUN_ID_PROPERTY) == run_id:
            return _published(target, table, snapshot)
    return None


def _require_writable(target: Table) -> None:
    if (version := target.metadata.format_version) > WRITABLE_VERSION:
        name = ".".join(target.name())
        raise NotSupported(
            f"{name} uses Iceberg format version {version}: expected at most {WRITABLE_VERSION}, "
            "because Asgard cannot write rows to later versions.",
            hint="Write to another table. If you do not need its rows, drop the table and start "
            "the run again.",
        )


def _transaction(target: Table, properties: Mapping[str, str]) -> Transaction:
    _require_writable(target)
    changed = {k: v for k, v in properties.items() if target.properties.get(k) != v}
    # Only in this copy of the metadata: a stale commit must fail, because pyiceberg's own retry
    # would publish contents that were computed from another state of the table.
    target.metadata.properties["commit.retry.num-retries"] = "0"
    transaction = target.transaction()
    if changed:
        transaction.set_properties(changed)
    return transaction
