"""The `file` source of the embedded engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from app.airbyte.bronze_paths import bucket_key
from app.airbyte.engine import CheckResult, ConfiguredStream, Stream, StreamColumn, SyncMode
from app.airbyte.file_formats import FileFormat
from app.airbyte.local.bronze_types import MOST_COLUMNS_OF_SOURCE
from app.airbyte.local.files.paths import (
    FileChoice,
    FileStream,
    bucket_streams,
    local_streams,
)
from app.airbyte.local.sandbox import WorkDirectories, WorkDirectory
from app.airbyte.local.source import LocalFile, ReadOrder, Sink
from app.config import Settings
from app.errors import AsgardError, EngineFailed, SourceNotFound
from app.failure import FailureCause
from app.processes.handover import take_over
from app.secret_marks import Pointer

if TYPE_CHECKING:
    from app.lakehouse.storage import ObjectStore

DISCOVER_SECONDS = 60.0
MODES = (SyncMode.FULL_REFRESH_OVERWRITE, SyncMode.FULL_REFRESH_APPEND)


class LocalFiles:
    def __init__(
        self,
        settings: Settings,
        roots: Sequence[Path],
        store: "ObjectStore",
        directories: WorkDirectories,
    ) -> None:
        self._roots = roots
        self._home = settings.home
        self._prefixes = settings.s3_allowed_prefixes
        self._store = store
        self._directories = directories

    def secret_pointers(self, type_: str, config: dict[str, Any]) -> set[Pointer]:
        del type_, config
        return set()

    async def validate(self, type_: str, config: dict[str, Any]) -> None:
        del type_
        await self._files(config)

    async def check(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> CheckResult:
        try:
            streams = await self.discover(type_, config, secrets)
        except AsgardError as error:
            return CheckResult(succeeded=False, message=error.detail)
        names = ", ".join(stream.name for stream in streams)
        return CheckResult(succeeded=True, message=f"Can be read: {names}.")

    async def discover(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        del type_, secrets
        streams: list[Stream] = []
        columns = 0
        for file in await self._files(config):
            streams.append(await self._described(file))
            columns += len(streams[-1].columns)
            if columns > MOST_COLUMNS_OF_SOURCE:
                raise EngineFailed(
                    f"The source's files have more than {MOST_COLUMNS_OF_SOURCE} columns in total.",
                    hint="Create a source for a directory with fewer files.",
                )
        return tuple(streams)

    async def streams(self, config: dict[str, Any]) -> tuple[Stream, ...]:
        """Returns the streams without their columns, and opens no file."""
        return tuple(Stream(name=f.name, sync_modes=MODES) for f in await self._files(config))

    async def read(self, order: ReadOrder, sink: Sink) -> dict[str, str]:
        files = {file.name: file for file in await self._files(order.config)}
        for stream in order.streams:
            if stream.name not in files:
                raise SourceNotFound(f"The source has no file for the stream {stream.name}.")
        for stream in order.streams:
            await self._read(files[stream.name], stream, order, sink)
        return {}

    async def _read(
        self, file: FileStream, stream: ConfiguredStream, order: ReadOrder, sink: Sink
    ) -> None:
        sink.log(f"INFO reading {file.label} as {stream.path}")
        async with self._directories.for_file(order.run_id) as directory:
            message = {**await self._message(directory, file), "sync_id": order.run_id}
            result = await directory.call("read_file", message)
            broken = result["broken_rows"]
            for number, written in enumerate(result["files"]):
                path = directory.private / f"{number}.parquet"
                await anyio.to_thread.run_sync(_take_over, directory, Path(written["path"]), path)
                local = LocalFile(
                    bronze_path=stream.path,
                    path=path,
                    part=number,
                    rows=int(written["rows"]),
                    bytes=path.stat().st_size,
                    broken_rows=broken,
                )
                broken = 0
                await sink.file(local)
        if result["broken_rows"]:
            sink.log(
                f"WARN {file.label}: {result['broken_rows']} broken lines became rows of nulls; "
                "_airbyte_meta names each one's line, error and text"
            )
        await sink.progress({stream.name: result["rows"]})

    async def _described(self, file: FileStream) -> Stream:
        async with self._directories.for_file("discover") as directory:
            described = await self._columns(directory, file)
        columns = tuple(StreamColumn(name=c["name"], type=c["type"]) for c in described)
        return Stream(name=file.name, columns=columns, sync_modes=MODES)

    async def _columns(self, directory: WorkDirectory, file: FileStream) -> list[dict[str, str]]:
        message = await self._message(directory, file)
        result = await directory.call("file_columns", message, seconds=DISCOVER_SECONDS)
        columns: list[dict[str, str]] = result["columns"]
        return columns

    async def _message(self, directory: WorkDirectory, file: FileStream) -> dict[str, Any]:
        path = file.path
        if file.key is not None:
            # The worker has no keys and no network, since the file may be hostile.
            path = directory.inbox / "downloaded"
            if not await self._store.download(file.key, path):
                raise SourceNotFound(f"{file.label} is not in the bucket.")
        return {"name": file.label, "format": file.format, "path": str(path)}

    async def _files(self, config: dict[str, Any]) -> list[FileStream]:
        format_ = config.get("format")
        choice = FileChoice(
            url=config["url"],
            dataset_name=config.get("dataset_name"),
            format=FileFormat.named(format_) if format_ else None,
        )
        if choice.url.startswith(("s3://", "s3a://")):
            key = bucket_key(choice.url, self._store.bucket, self._prefixes)
            listed = [info.key for info in await self._store.list(key)]
            return await anyio.to_thread.run_sync(bucket_streams, choice, key, listed)
        return await anyio.to_thread.run_sync(local_streams, choice, self._roots, self._home)


def _take_over(directory: WorkDirectory, path: Path, target: Path) -> None:
    try:
        take_over(directory.directory, path, target)
    except (OSError, ValueError) as error:
        raise EngineFailed(
            "The process that read the source handed over a file that is not its own.",
            cause=FailureCause.INTERNAL,
        ) from error
