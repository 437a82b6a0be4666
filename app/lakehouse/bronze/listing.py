"""Manifests of files that another program writes and deletes. The files that exist after a complete
sync are valid until the next one."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio.to_thread
import structlog

from app.errors import EngineUnreachable
from app.lakehouse.bronze.manifests import (
    COMMITS_KEPT,
    ActiveSync,
    BronzeFile,
    BronzeManifests,
    Manifest,
    StreamFiles,
    SyncCommit,
    declared,
    manifest_key,
)
from app.lakehouse.outputs import StreamOutput

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

    from app.lakehouse.connection import S3Connection
    from app.lakehouse.storage import ObjectInfo, ObjectStore

log = structlog.get_logger()
PARQUET = ".parquet"
READERS = 8
"""Footers of Parquet files that are read concurrently."""


class NothingWritten(Exception):
    """A sync wrote rows, but its paths have no new file."""


class ExternalBronzeManifests(BronzeManifests):
    def __init__(self, store: "ObjectStore", connection: "S3Connection") -> None:
        super().__init__(store)
        self._connection = connection
        self._files: FileSystem | None = None
        self._limiter = anyio.CapacityLimiter(READERS)

    async def declare(
        self, ingestion_id: str, source: str, paths: Iterable[str], run_id: str | None = None
    ) -> None:
        """Declare paths, which from then on have only files of complete syncs. With `run_id`, that
        run's sync has started, and no other run records it."""
        current = await self._read(manifest_key(ingestion_id))
        previous = (
            current.manifest if current else Manifest(ingestion_id=ingestion_id, source=source)
        )
        update: dict[str, object] = {
            "source": source,
            "streams": declared(previous.streams, frozenset(paths)),
        }
        if run_id is not None:
            update["writing"] = ActiveSync(run_id=run_id, began_at=datetime.now(UTC))
        manifest = previous.model_copy(update=update)
        if current is None or manifest != previous:
            await self._write(manifest, current)

    async def release(self, ingestion_id: str, run_id: str) -> None:
        """Record that the run's sync has ended without effect."""
        current = await self._read(manifest_key(ingestion_id))
        if current and current.manifest.writing and current.manifest.writing.run_id == run_id:
            await self._write(current.manifest.model_copy(update={"writing": None}), current)

    async def sweep(self, manifest: Manifest) -> None:
        """Do nothing: another program deletes the files."""

    async def record(
        self,
        ingestion_id: str,
        run_id: str,
        state: Mapping[str, str],
        streams: Mapping[str, str],
        *,
        wrote_rows: bool = False,
    ) -> Manifest:
        """Record the files that are now in the paths of `streams` (path → stream). Repeatable.

        Raises `Conflict` when another writer recorded a sync first, and `NothingWritten` when the
        sync `wrote_rows` but there is no new file. The manifest then stays unchanged.
        """
        current = await self._read(manifest_key(ingestion_id))
        if current is None:
            raise ValueError("a sync was recorded before its paths were declared")
        previous = current.manifest
        if previous.commit_of(run_id):
            return previous
        files_by_path = {path: await self._files_of(previous, run_id, path) for path in streams}
        outputs = tuple(
            _output(run_id, streams[path], path, files_by_path[path]) for path in streams
        )
        if wrote_rows and not any(output.files for output in outputs):
            raise NothingWritten
        commit = SyncCommit(run_id=run_id, at=datetime.now(UTC), streams=outputs)
        manifest = previous.model_copy(
            update={
                "streams": {
                    **previous.streams,
                    **{path: StreamFiles(files=files) for path, files in files_by_path.items()},
                },
                "state": dict(state),
                "writing": None,
                "commits": (*previous.commits, commit)[-COMMITS_KEPT:],
            }
        )
        return (await self._write(manifest, current)).manifest

    async def _files_of(self, previous: Manifest, run_id: str, path: str) -> tuple[BronzeFile, ...]:
        recorded = previous.streams.get(path, StreamFiles()).files
        recorded_by_key = {(file.key, file.bytes): file for file in recorded}
        listed = sorted(await self._store.list(f"{path}/"), key=lambda info: info.key)
        # A stream whose path begins with this one is deeper, and has its own files.
        own = [info for info in listed if "/" not in info.key[len(path) + 1 :] and info.size]
        files = [
            recorded_by_key.get((i.key, i.size)) or await self._new_file(run_id, i) for i in own
        ]
        return tuple(file for file in files if file is not None)

    async def _new_file(self, run_id: str, info: "ObjectInfo") -> BronzeFile | None:
        """Return None if the file has a Parquet name but is not valid Parquet, which would break
        every reader of the path."""
        rows: int | None = 0
        if info.key.endswith(PARQUET):
            rows = await anyio.to_thread.run_sync(self._rows, info.key, limiter=self._limiter)
        if rows is None:
            log.warning("bronze_file_unreadable", key=info.key)
            return None
        return BronzeFile(key=info.key, rows=rows, bytes=info.size, run_id=run_id)

    def _rows(self, key: str) -> int | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = f"{self._connection.bucket}/{key}"
        try:
            rows: int = pq.read_metadata(path, filesystem=self._opened()).num_rows
        except pa.ArrowInvalid:
            return None
        except OSError as error:
            raise EngineUnreachable(f"S3 cannot be read: {error}") from None
        return rows

    def _opened(self) -> "FileSystem":
        from pyarrow.fs import S3FileSystem

        from app.lakehouse.timeouts import CONNECT_TIMEOUT

        if self._files is None:
            self._files = S3FileSystem(
                access_key=self._connection.access_key,
                secret_key=self._connection.secret_key,
                endpoint_override=self._connection.endpoint,
                region=self._connection.region,
                connect_timeout=CONNECT_TIMEOUT,
                request_timeout=self._connection.read_timeout,
            )
        return self._files


def _output(run_id: str, stream: str, path: str, files: tuple[BronzeFile, ...]) -> StreamOutput:
    new = [file for file in files if file.run_id == run_id]
    return StreamOutput(
        stream=stream,
        path=path,
        rows=sum(file.rows for file in new),
        bytes=sum(file.bytes for file in new),
        files=tuple(file.key for file in new),
    )
