"""The base of the source types that read files. A subclass says what is special about its type."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import anyio.to_thread

from app.airbyte.bronze_paths import bucket_key
from app.airbyte.engine import (
    CheckResult,
    ConfiguredStream,
    Connector,
    Stream,
    StreamColumn,
    SyncMode,
)
from app.airbyte.local.bronze_types import MOST_COLUMNS_OF_SOURCE
from app.airbyte.local.files.paths import SourceFile
from app.airbyte.local.source import LocalFile, ReadOrder, Report, Sink
from app.airbyte.secrets import secret_pointers
from app.bodies import Body
from app.errors import AsgardError, EngineFailed, SourceNotFound
from app.failure import FailureCause
from app.processes.handover import take_over
from app.secret_marks import Pointer

if TYPE_CHECKING:  # the worker imports this module, too
    from app.airbyte.local.sandbox import WorkDirectories, WorkDirectory
    from app.config import Settings
    from app.lakehouse.storage import ObjectStore

DISCOVER_SECONDS = 60.0
MODES = (SyncMode.FULL_REFRESH_OVERWRITE, SyncMode.FULL_REFRESH_APPEND)


class FileSource(ABC):
    """A type whose files are local or in the bucket. Each file is read in a sandboxed worker."""

    config: ClassVar[type[Body]]
    """The model of the source's config."""
    reader: ClassVar[str]
    """The module that reads a file, in the worker. It has the functions
    `read_file(job: FileJob) -> FileResult`, and `file_streams(job: FileJob)`, which returns the
    names of the file's streams and their columns."""

    def __init__(
        self,
        type_: str,
        settings: "Settings",
        roots: Sequence[Path],
        store: "ObjectStore",
        directories: "WorkDirectories",
    ) -> None:
        self.type_ = type_
        self.roots = roots
        self.home = settings.home
        self._prefixes = settings.s3_allowed_prefixes
        self._store = store
        self._directories = directories
        self._spec = self.config.model_json_schema()

    @abstractmethod
    async def files(self, config: dict[str, Any]) -> list[SourceFile]:
        """Returns the files, and opens none. Raises `PathRefused`, `SourceNotFound` and
        `InvalidRequest`."""

    async def bucket_keys(self, url: str) -> tuple[str, list[str]]:
        """Returns the key prefix that an `s3://` path names, and the keys that begin with it."""
        key = bucket_key(url, self._store.bucket, self._prefixes)
        return key, [info.key for info in await self._store.list(key)]

    def connectors(self) -> list[Connector]:
        return [Connector(type=self.type_, version=None, spec=self._spec, installed=True)]

    def is_installed(self, type_: str) -> bool:
        del type_
        return True

    async def install(self, type_: str, report: Report) -> dict[str, Any]:
        """There is nothing to install."""
        del type_, report
        return {}

    def secret_pointers(self, type_: str, config: dict[str, Any]) -> set[Pointer]:
        del type_
        return secret_pointers(self._spec, config)

    async def validate(self, type_: str, config: dict[str, Any]) -> None:
        del type_
        await self.files(config)

    async def check(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> CheckResult:
        try:
            streams = await self.discover(type_, config, secrets)
        except AsgardError as error:
            return CheckResult(succeeded=False, message=error.detail)
        names = ", ".join(stream.name for stream in streams)
        return CheckResult(succeeded=True, message=f"Readable streams: {names}.")

    async def discover(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        del type_, secrets
        streams: list[Stream] = []
        columns = 0
        for file in await self.files(config):
            described = await self._described(file)
            streams += described
            columns += sum(len(stream.columns) for stream in described)
            if columns > MOST_COLUMNS_OF_SOURCE:
                raise EngineFailed(
                    f"The source's files have more than {MOST_COLUMNS_OF_SOURCE} columns in total.",
                    hint="Create a source for a directory with fewer files.",
                )
        return tuple(streams)

    async def known_streams(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        """Returns the streams without their columns, and opens no file that is a stream itself."""
        files = await self.files(config)
        names = [file.stream for file in files if file.stream is not None]
        if len(names) < len(files):
            return await self.discover(type_, config, secrets)
        return tuple(Stream(name=name, sync_modes=MODES) for name in names)

    async def read(self, order: ReadOrder, sink: Sink) -> dict[str, str]:
        by_stream = {file.stream: file for file in await self.files(order.config)}
        found: list[tuple[SourceFile, ConfiguredStream]] = []
        for stream in order.streams:
            file = by_stream.get(stream.name) or by_stream.get(None)
            if file is None:
                raise SourceNotFound(f"The source has no file for the stream {stream.name}.")
            found.append((file, stream))
        for file, stream in found:
            await self._read(file, stream, order, sink)
        return {}

    async def _read(
        self, file: SourceFile, stream: ConfiguredStream, order: ReadOrder, sink: Sink
    ) -> None:
        sink.log(f"INFO reading {file.label} as {stream.path}")
        async with self._directories.for_file(order.run_id) as directory:
            message = await self._message(directory, file, stream.name)
            message["sync_id"] = order.run_id
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

    async def _described(self, file: SourceFile) -> list[Stream]:
        async with self._directories.for_file("discover") as directory:
            message = await self._message(directory, file, file.stream)
            result = await directory.call("file_streams", message, seconds=DISCOVER_SECONDS)
        if file.stream is not None:
            # The gateway has named the stream. A worker that a hostile file controls cannot.
            return [_stream(file.stream, result["streams"][0])]
        return [_stream(described["name"], described) for described in result["streams"]]

    async def _message(
        self, directory: "WorkDirectory", file: SourceFile, stream: str | None
    ) -> dict[str, Any]:
        path = file.path
        if file.key is not None:
            # The worker has no keys and no network, since the file may be hostile.
            path = directory.inbox / "downloaded"
            if not await self._store.download(file.key, path):
                raise SourceNotFound(f"{file.label} is not in the bucket.")
        return {
            "type": self.type_,
            "name": file.label,
            "path": str(path),
            "stream": stream,
            "options": dict(file.options),
        }


def _stream(name: str, described: dict[str, Any]) -> Stream:
    columns = tuple(StreamColumn(name=c["name"], type=c["type"]) for c in described["columns"])
    return Stream(name=name, columns=columns, sync_modes=MODES)


def _take_over(directory: "WorkDirectory", path: Path, target: Path) -> None:
    try:
        take_over(directory.directory, path, target)
    except (OSError, ValueError) as error:
        raise EngineFailed(
            "The process that read the source handed over a file that is not its own.",
            cause=FailureCause.INTERNAL,
        ) from error
