"""Rewrites the small data files of a record table as one. Synchronous, for threads.

Every commit of records makes a data file, and a start reads all of them. A rewritten file has only
the newest version of each record, and the rows of recent commits without their documents.
"""

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

MOST_BYTES = 16 * 1024**2
"""Bytes, compressed, that one rewrite reads. A rewrite needs a multiple of this in memory."""
COMMIT_IDS_KEPT = timedelta(minutes=5)
"""A writer whose commit was not answered looks for its id, for at most 30 s (`WRITE_TIMEOUT`)."""
READERS = 8


@dataclass(frozen=True)
class Rewrite:
    """`written` has the rows of `replaced`. Nothing refers to `written` until it is committed."""

    replaced: Sequence["DataFile"]
    written: Sequence["DataFile"]


def rewrite(table: "Table") -> Rewrite | None:
    """Write the small files of the current snapshot as one, or return None if there are not
    enough."""
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    replaced = small_files(live_files(table))
    if not replaced:
        return None
    rows = newest_versions(_read(table.io, replaced), datetime.now(UTC))
    written = _dataframe_to_data_files(
        table_metadata=table.metadata, df=rows, io=table.io, write_uuid=uuid.uuid4()
    )
    return Rewrite(replaced, list(written))


def commit(table: "Table", done: Rewrite) -> int | None:
    """Replace the files in one commit, and return its sequence number if the table has them. Raises
    pyiceberg's `CommitFailedException` after a lost race, and `ValidationException` if another
    replica has replaced some of them."""
    transaction = table.transaction()
    with transaction.update_snapshot().overwrite() as producer:
        for file in done.replaced:
            producer.delete_data_file(file)
        for file in done.written:
            producer.append_data_file(file)
    snapshot = transaction.commit_transaction().current_snapshot()
    return snapshot.sequence_number if snapshot else None


def live_files(table: "Table") -> list["DataFile"]:
    snapshot = table.current_snapshot()
    manifests = snapshot.manifests(table.io) if snapshot is not None else []
    return [
        entry.data_file
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    ]


def small_files(files: Sequence["DataFile"]) -> list["DataFile"]:
    """Return the smallest files, up to the last one that is at most twice as large as all smaller
    ones together. A row is then rewritten about once each time that the table doubles, and few
    files remain."""
    ascending = sorted(files, key=lambda file: file.file_size_in_bytes)
    count = smaller = 0
    for number, file in enumerate(ascending, start=1):
        if smaller + file.file_size_in_bytes > MOST_BYTES:
            break
        if file.file_size_in_bytes <= 2 * smaller:
            count = number
        smaller += file.file_size_in_bytes
    return ascending[:count]


def newest_versions(rows: "pa.Table", now: datetime) -> "pa.Table":
    """Return the newest version of each record, and recent older ones. These and deletions lose
    their documents."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids, versions, times = (rows[name].to_pylist() for name in ("id", "version", "updated_at"))
    newest: dict[str, int] = {}
    for index, record_id in enumerate(ids):
        if record_id not in newest or versions[newest[record_id]] < versions[index]:
            newest[record_id] = index
    retained = sorted(newest.values())
    recent = [index for index, time in enumerate(times) if time > now - COMMIT_IDS_KEPT]
    older = sorted({*recent} - {*retained})
    # The newest come first: a replica of an earlier version skips versions older than it has.
    kept = rows.take(pa.array([*retained, *older], pa.int64()))
    is_newest = pa.array([True] * len(retained) + [False] * len(older))
    has_document = pc.and_(is_newest, pc.not_equal(kept["op"], "delete"))
    docs = pc.if_else(has_document, kept["doc"], pa.scalar("", kept["doc"].type))
    return kept.set_column(kept.column_names.index("doc"), kept.field("doc"), docs)


def _read(io: "FileIO", files: Sequence["DataFile"]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    def read(file: "DataFile") -> "pa.Table":
        with io.new_input(file.file_path).open() as source:
            return pq.ParquetFile(source).read()

    with ThreadPoolExecutor(min(READERS, len(files))) as pool:
        return pa.concat_tables(pool.map(read, files), promote_options="permissive")
