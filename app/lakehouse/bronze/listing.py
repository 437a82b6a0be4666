"""Manifests of files that another program writes and deletes. The files that exist after a complete
sync are valid until the next one, if all of them can be read."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from app.concurrency.together import together
from app.lakehouse.bronze.footers import ParquetFooters
from app.lakehouse.bronze.manifests import (
    COMMITS_KEPT,
    ActiveSync,
    BronzeFile,
    BronzeManifests,
    Manifest,
    RefusedSync,
    StreamFiles,
    SyncCommit,
    declared,
    manifest_key,
    total_rows,
)
from app.lakehouse.outputs import StreamOutput
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.connection import S3Connection
    from app.lakehouse.storage import ObjectInfo, ObjectStore

PARQUET = ".parquet"
SinceNext = Callable[[], Awaitable[timedelta | None]]
"""Returns how long ago the next sync of the ingestion began, or None if none has begun."""
LISTINGS = 4
"""Paths that are listed concurrently. Other requests use the same connections to S3."""


class NothingWritten(Exception):
    """A sync wrote rows, but the new files in its paths have none."""


class FilesDamaged(Exception):
    """New files of a sync are empty, or have the name of a Parquet file and are not valid."""

    def __init__(self, files: Iterable["ObjectInfo"]) -> None:
        super().__init__()
        self.files = tuple(files)


class ExternalBronzeManifests(BronzeManifests):
    def __init__(
        self,
        store: "ObjectStore",
        connection: "S3Connection",
        logs: Path,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """`logs` is the folder for the log of the process that parses footers."""
        super().__init__(store)
        self._footers = ParquetFooters(connection, logs / "footers.log", telemetry)

    async def close(self) -> None:
        await self._footers.close()

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

    async def refuse(self, ingestion_id: str, refused: RefusedSync, run_id: str | None) -> None:
        """Record that the newest sync has no valid files. With `run_id`, that run has ended."""
        current = await self._read(manifest_key(ingestion_id))
        if current is None:
            return
        writing = current.manifest.writing
        if writing is not None and writing.run_id == run_id:
            writing = None
        manifest = current.manifest.model_copy(update={"refused": refused, "writing": writing})
        if manifest != current.manifest:
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
        since_next: SinceNext,
    ) -> Manifest:
        """Record the files that are now in the paths of `streams` (path → stream), except those
        that were written since the next sync began: they are that sync's. Repeatable.

        Raises `Conflict` when another writer recorded a sync first, `FilesDamaged`, and
        `NothingWritten` when the sync `wrote_rows` but no new file has any. The manifest then stays
        unchanged.
        """
        current = await self._read(manifest_key(ingestion_id))
        if current is None:
            raise ValueError("a sync was recorded before its paths were declared")
        previous = current.manifest
        if previous.commit_of(run_id):
            return previous
        listed = await self._listed(streams)
        if (age := await since_next()) is not None:
            before = await self._now(ingestion_id) - age
            listed = {path: _until(before, infos) for path, infos in listed.items()}
        files_by_path = await self._files_in(listed, previous, run_id)
        outputs = tuple(
            _output(run_id, streams[path], path, files_by_path[path]) for path in streams
        )
        if wrote_rows and not any(output.files and output.rows != 0 for output in outputs):
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
                "refused": None,
                "commits": (*previous.commits, commit)[-COMMITS_KEPT:],
            }
        )
        return (await self._write(manifest, current)).manifest

    async def _now(self, ingestion_id: str) -> datetime:
        """Return the time on the clock of S3, which dates the files."""
        stored = await self._store.get(manifest_key(ingestion_id))
        return stored.answered_at if stored else datetime.now(UTC)

    async def _files_in(
        self, listed: Mapping[str, list["ObjectInfo"]], previous: Manifest, run_id: str
    ) -> dict[str, tuple[BronzeFile, ...]]:
        """Return the listed files of each path. Raises `FilesDamaged` for new files that are
        empty or not valid: they would break every reader of the path."""
        recorded = [file for path in listed for file in _recorded(previous, path)]
        files = {(file.key, file.bytes): file for file in recorded}
        new = [i for infos in listed.values() for i in infos if (i.key, i.size) not in files]
        counted = await self._footers.rows(i for i in new if i.key.endswith(PARQUET))
        damaged = [i for i in new if not i.size or (i.key in counted and counted[i.key] is None)]
        if damaged:
            raise FilesDamaged(damaged)
        for info in new:
            files[info.key, info.size] = BronzeFile(
                key=info.key, rows=counted.get(info.key), bytes=info.size, run_id=run_id
            )
        return {path: tuple(files[i.key, i.size] for i in own) for path, own in listed.items()}

    async def _listed(self, paths: Iterable[str]) -> dict[str, list["ObjectInfo"]]:
        limit = asyncio.Semaphore(LISTINGS)

        async def listed(path: str) -> tuple[str, list["ObjectInfo"]]:
            async with limit:
                infos = await self._store.list(f"{path}/")
            return path, sorted((i for i in infos if _is_data(i, path)), key=lambda info: info.key)

        return dict(await together(listed(path) for path in paths))


def _until(time: datetime, infos: list["ObjectInfo"]) -> list["ObjectInfo"]:
    return [info for info in infos if info.last_modified <= time]


def _recorded(manifest: Manifest, path: str) -> tuple[BronzeFile, ...]:
    return manifest.streams.get(path, StreamFiles()).files


def _is_data(info: "ObjectInfo", path: str) -> bool:
    """Return whether the object is a data file of the path's own stream. A stream whose path begins
    with this one has its own files. Empty objects with no name, or with one that Spark skips, are
    other programs' markers."""
    name = info.key[len(path) + 1 :]
    is_marker = not info.size and (not name or name.startswith(("_", ".")))
    return "/" not in name and not is_marker


def _output(run_id: str, stream: str, path: str, files: tuple[BronzeFile, ...]) -> StreamOutput:
    new = [file for file in files if file.run_id == run_id]
    return StreamOutput(
        stream=stream,
        path=path,
        rows=total_rows(new),
        bytes=sum(file.bytes for file in new),
        files=tuple(file.key for file in new),
    )
