"""Manifests of files that another program writes and deletes: what lies there after a complete
sync is what counts, until the next one."""

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
"""Footers of Parquet files that are read at a time."""


class NothingWritten(Exception):
    """A sync that wrote rows has no file in its paths."""


class ExternalBronzeManifests(BronzeManifests):
    def __init__(self, store: "ObjectStore", connection: "S3Connection") -> None:
        super().__init__(store)
        self._connection = connection
        self._files: FileSystem | None = None
        self._limiter = anyio.CapacityLimiter(READERS)

    async def declare(
        self, ingestion_id: str, source: str, paths: Iterable[str], run_id: str | None = None
    ) -> None:
        """From now on these paths stand for complete syncs only. With `run_id` that run's sync
        has begun: nobody else takes it down."""
        held = await self._read(manifest_key(ingestion_id))
        former = held.manifest if held else Manifest(ingestion_id=ingestion_id, source=source)
        update: dict[str, object] = {
            "source": source,
            "streams": declared(former.streams, frozenset(paths)),
        }
        if run_id is not None:
            update["writing"] = ActiveSync(run_id=run_id, began_at=datetime.now(UTC))
        manifest = former.model_copy(update=update)
        if held is None or manifest != former:
            await self._write(manifest, held)

    async def release(self, ingestion_id: str, run_id: str) -> None:
        """That run's sync has ended without effect."""
        held = await self._read(manifest_key(ingestion_id))
        if held and held.manifest.writing and held.manifest.writing.run_id == run_id:
            await self._write(held.manifest.model_copy(update={"writing": None}), held)

    async def sweep(self, manifest: Manifest) -> None:
        """What lies there is not ours to delete."""

    async def record(
        self,
        ingestion_id: str,
        run_id: str,
        state: Mapping[str, int],
        streams: Mapping[str, str],
        *,
        wrote_rows: bool = False,
    ) -> Manifest:
        """Takes down what lies in the paths of `streams` (path → stream) now. Repeatable.

        Raises `Conflict` when somebody else recorded a sync in between, and `NothingWritten` when
        the sync `wrote_rows` and there is no new file. The manifest then stays unchanged.
        """
        held = await self._read(manifest_key(ingestion_id))
        if held is None:
            raise ValueError("a sync was recorded before its paths were declared")
        former = held.manifest
        if former.commit_of(run_id):
            return former
        found = {path: await self._found(former, run_id, path) for path in streams}
        outputs = tuple(_output(run_id, streams[path], path, found[path]) for path in streams)
        if wrote_rows and not any(output.files for output in outputs):
            raise NothingWritten
        commit = SyncCommit(run_id=run_id, at=datetime.now(UTC), streams=outputs)
        manifest = former.model_copy(
            update={
                "streams": {
                    **former.streams,
                    **{path: StreamFiles(files=files) for path, files in found.items()},
                },
                "state": dict(state),
                "writing": None,
                "commits": (*former.commits, commit)[-COMMITS_KEPT:],
            }
        )
        return (await self._write(manifest, held)).manifest

    async def _found(self, former: Manifest, run_id: str, path: str) -> tuple[BronzeFile, ...]:
        kept = former.streams.get(path, StreamFiles()).files
        known = {(file.key, file.bytes): file for file in kept}
        listed = sorted(await self._store.list(f"{path}/"), key=lambda info: info.key)
        # A stream whose path begins with this one lies deeper: it has its own files.
        mine = [info for info in listed if "/" not in info.key[len(path) + 1 :] and info.size]
        files = [known.get((i.key, i.size)) or await self._new(run_id, i) for i in mine]
        return tuple(file for file in files if file is not None)

    async def _new(self, run_id: str, info: "ObjectInfo") -> BronzeFile | None:
        """None: it is called Parquet and is none, and would break every reader of the path."""
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
