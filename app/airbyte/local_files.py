"""The `file` source of the embedded engine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from app.airbyte.engine import CheckResult, Column, ConfiguredStream, Stream, SyncMode
from app.airbyte.file_formats import FileFormat
from app.airbyte.file_paths import (
    FileChoice,
    FileStream,
    bucket_key,
    bucket_streams,
    local_streams,
)
from app.airbyte.local_source import LocalFile, ReadOrder, Sink
from app.airbyte.workroom import Room, Workroom
from app.config import Settings
from app.errors import AsgardError, SourceNotFound
from app.secret_marks import Pointer

if TYPE_CHECKING:
    from app.lakehouse.connection import Lake
    from app.lakehouse.storage import ObjectStore

LOOK_SECONDS = 60.0
MODES = (SyncMode.FULL_REFRESH_OVERWRITE, SyncMode.FULL_REFRESH_APPEND)


class LocalFiles:
    def __init__(
        self, settings: Settings, lake: "Lake", store: "ObjectStore", workroom: Workroom
    ) -> None:
        self._roots = (settings.home / "data", *settings.ingestion_allowed_dirs)
        self._prefixes = settings.s3_allowed_prefixes
        self._lake = lake
        self._store = store
        self._workroom = workroom

    def secret_pointers(self, type_: str, config: dict[str, Any]) -> set[Pointer]:
        del type_, config
        return set()

    async def vet(self, type_: str, config: dict[str, Any]) -> None:
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
        return tuple([await self._described(file) for file in await self._files(config)])

    async def names(self, config: dict[str, Any]) -> tuple[Stream, ...]:
        """The streams without their columns: no file is opened."""
        return tuple(Stream(name=f.name, sync_modes=MODES) for f in await self._files(config))

    async def read(self, order: ReadOrder, sink: Sink) -> dict[str, Any]:
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
        async with self._workroom.for_file(order.run_id) as room:
            message = {**self._message(file), "sync_id": order.run_id}
            result = await room.call("read_file", message)
            broken = result["broken_rows"]
            for written in result["files"]:
                local = LocalFile(
                    bronze_path=stream.path,
                    path=Path(written["path"]),
                    part=written["part"],
                    rows=written["rows"],
                    bytes=written["bytes"],
                    broken_rows=broken,
                )
                broken = 0
                await sink.file(local)
        if result["broken_rows"]:
            sink.log(
                f"WARN {file.label}: {result['broken_rows']} broken lines were kept as rows of "
                "nulls; _airbyte_meta names each one's line, error and text"
            )
        await sink.progress({stream.name: result["rows"]})

    async def _described(self, file: FileStream) -> Stream:
        async with self._workroom.for_file("discover") as room:
            found = await self._columns(room, file)
        columns = tuple(Column(name=c["name"], type=c["type"]) for c in found)
        return Stream(name=file.name, columns=columns, sync_modes=MODES)

    async def _columns(self, room: Room, file: FileStream) -> list[dict[str, str]]:
        result = await room.call("file_columns", self._message(file), seconds=LOOK_SECONDS)
        columns: list[dict[str, str]] = result["columns"]
        return columns

    def _message(self, file: FileStream) -> dict[str, Any]:
        message: dict[str, Any] = {"name": file.label, "format": file.format}
        if file.path is not None:
            return message | {"path": str(file.path)}
        return message | {"key": file.key, "s3": asdict(self._lake.s3)}

    async def _files(self, config: dict[str, Any]) -> list[FileStream]:
        format_ = config.get("format")
        choice = FileChoice(
            url=config["url"],
            dataset_name=config.get("dataset_name"),
            format=FileFormat.named(format_) if format_ else None,
        )
        if choice.url.startswith(("s3://", "s3a://")):
            key = bucket_key(choice.url, self._lake.s3.bucket, self._prefixes)
            listed = [info.key for info in await self._store.list(key)]
            return bucket_streams(choice, key, listed)
        return await anyio.to_thread.run_sync(local_streams, choice, self._roots)
