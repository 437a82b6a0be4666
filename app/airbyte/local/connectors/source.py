"""Sources of the embedded engine that are Airbyte connectors."""

import asyncio
import hashlib
import json
from pathlib import Path
from time import monotonic
from typing import Any

import anyio.to_thread

from app.airbyte.engine import (
    CheckResult,
    ConfiguredStream,
    Connector,
    Stream,
    StreamColumn,
    SyncMode,
)
from app.airbyte.local.connectors.config import config_refusal
from app.airbyte.local.connectors.installer import ConnectorInstaller
from app.airbyte.local.connectors.packages import ConnectorPackage
from app.airbyte.local.sandbox import READER, Message, WorkDirectories
from app.airbyte.local.source import LocalFile, ReadOrder, Report, Sink
from app.airbyte.local.source_types import SOURCE_TYPES
from app.airbyte.local.stream_keys import stream_key
from app.airbyte.secrets import every_pointer, secret_pointers
from app.errors import AsgardError, EngineFailed, EngineUnreachable, NotSupported
from app.failure import FailureCause
from app.secret_marks import Pointer

SETTING = "AIRBYTE_BASE_URL"
COMMAND_SECONDS = 120.0
RETRY_SECONDS = 5
DISCOVERED_SECONDS = 120.0
CHECKPOINT_ROWS = 50_000
CHECKPOINT_SECONDS = 15.0


class LocalAirbyte:
    """The sources that are connectors. `checkpoint_rows` and `checkpoint_seconds` limit what an
    incremental sync may lose when it is killed."""

    def __init__(
        self,
        home: Path,
        directories: WorkDirectories,
        packages: dict[str, ConnectorPackage],
        *,
        checkpoint_rows: int,
        checkpoint_seconds: float,
    ) -> None:
        self._directories = directories
        self._packages = packages
        self._installer = ConnectorInstaller(home, self._spec_of)
        self._discovered: dict[str, tuple[float, tuple[Stream, ...]]] = {}
        self._checkpoint = {
            "checkpoint_rows": checkpoint_rows,
            "checkpoint_seconds": checkpoint_seconds,
        }

    def connectors(self) -> list[Connector]:
        return [
            Connector(
                type=package.name,
                version=package.version,
                spec=self._installer.spec(package),
                installed=self._installer.program(package) is not None,
            )
            for package in self._packages.values()
        ]

    def is_installed(self, type_: str) -> bool:
        return self._installer.program(self._package(type_)) is not None

    async def install(self, type_: str, report: Report) -> Message:
        return dict(await self._installer.install(self._package(type_), report))

    def secret_pointers(self, type_: str, config: dict[str, Any]) -> set[Pointer]:
        spec = self._installer.spec(self._package(type_))
        return every_pointer(config) if spec is None else secret_pointers(spec, config)

    async def validate(self, type_: str, config: dict[str, Any]) -> None:
        """Checks the config. Any is valid until a connector without a shipped spec is installed."""
        spec = self._installer.spec(self._package(type_))
        if spec is None:
            return
        if refusal := await anyio.to_thread.run_sync(config_refusal, spec, config):
            raise refusal

    async def check(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> CheckResult:
        try:
            answer = await self._run_command("check", type_, config, secrets)
        except AsgardError as error:
            if isinstance(error, EngineUnreachable):
                raise
            return CheckResult(succeeded=False, message=error.detail)
        return CheckResult(succeeded=answer["succeeded"], message=answer["message"])

    async def discover(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        answer = await self._run_command("discover", type_, config, secrets)
        streams = await anyio.to_thread.run_sync(_streams, answer["streams"])
        self._discovered = {
            key: entry
            for key, entry in self._discovered.items()
            if monotonic() - entry[0] < DISCOVERED_SECONDS
        }
        self._discovered[self._fingerprint(type_, config)] = (monotonic(), streams)
        return streams

    async def known_streams(
        self, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> tuple[Stream, ...]:
        """Returns the streams, if possible as discovered recently: a discovery takes seconds."""
        at, streams = self._discovered.get(self._fingerprint(type_, config), (0.0, ()))
        if streams and monotonic() - at < DISCOVERED_SECONDS:
            return streams
        return await self.discover(type_, config, secrets)

    def _fingerprint(self, type_: str, config: dict[str, Any]) -> str:
        identity = [self._package(type_).directory, config]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    async def read(self, order: ReadOrder, sink: Sink) -> dict[str, str]:
        await self.validate(order.source_type, order.config)
        reading = _Reading(order, sink)
        message = {
            **self._program(order.source_type, order.secrets),
            **self._checkpoint,
            "config": order.config,
            "streams": [_configured(stream) for stream in order.streams],
            "states": dict(order.states),
            "sync_id": order.run_id,
        }
        async with self._directories.for_connector(order.run_id) as directory:
            follower = asyncio.create_task(reading.follow(), name="connector events")
            call = asyncio.create_task(directory.call("read_connector", message, reading.put))
            try:
                # A follower that ends first has failed, and further reading would be useless.
                await asyncio.wait({follower, call}, return_when=asyncio.FIRST_COMPLETED)
                if follower.done():
                    follower.result()
                # What was read before a failure counts, so its checkpoints are still written.
                reading.end()
                await follower
                result = call.result()
            finally:
                follower.cancel()
                call.cancel()
                await asyncio.gather(follower, call, return_exceptions=True)
        await sink.progress(result["rows"])
        return {**order.states, **reading.states, **_states(result["states"])}

    async def _run_command(
        self, command: str, type_: str, config: dict[str, Any], secrets: tuple[str, ...]
    ) -> Message:
        await self.validate(type_, config)
        message = {**self._program(type_, secrets), "command": command, "config": config}
        async with self._directories.for_connector(command) as directory:
            return await directory.call("connector", message, seconds=COMMAND_SECONDS)

    async def _spec_of(self, program: Path) -> dict[str, Any]:
        async with self._directories.for_connector("spec") as directory:
            message = {"program": str(program), "command": "spec"}
            answer = await directory.call("connector", message, seconds=COMMAND_SECONDS)
        spec: dict[str, Any] = answer["spec"]
        return spec

    def _program(self, type_: str, secrets: tuple[str, ...]) -> Message:
        program = self._installer.program(self._package(type_))
        if program is None:
            raise EngineUnreachable(
                f"The connector {type_} is not installed yet.", retry_after=RETRY_SECONDS
            )
        return {"program": str(program), "secrets": list(secrets)}

    def _package(self, type_: str) -> ConnectorPackage:
        try:
            return self._packages[type_]
        except KeyError:
            known = ", ".join((*SOURCE_TYPES, *self._packages))
            raise NotSupported(
                f"The embedded engine has no connector {type_}. It has {known}. "
                "CONNECTORS_ALLOWED can name more.",
                setting=SETTING,
            ) from None


class _Reading:
    """Handles the worker's events one after the other, so that a checkpoint is written only when
    all of the files before it are uploaded."""

    def __init__(self, order: ReadOrder, sink: Sink) -> None:
        self._paths = {_key(stream): stream.path for stream in order.streams}
        self._sink = sink
        self._events: asyncio.Queue[Message | None] = asyncio.Queue()
        self.states: dict[str, str] = {}

    def put(self, event: Message) -> None:
        self._events.put_nowait(event)

    def end(self) -> None:
        self._events.put_nowait(None)

    async def follow(self) -> None:
        while (event := await self._events.get()) is not None:
            for kind, content in event.items():
                await self._handle(kind, content)

    async def _handle(self, kind: str, content: Any) -> None:
        match kind:
            case "log":
                self._sink.log(str(content))
            case "file":
                await self._sink.file(
                    LocalFile(
                        bronze_path=self._paths[content["stream"]],
                        path=Path(content["path"]),
                        part=content["part"],
                        rows=content["rows"],
                        bytes=content["bytes"],
                    )
                )
            case "checkpoint":
                states = _states(content)
                self.states |= states
                paths = {self._paths[key] for key in states if key in self._paths}
                await self._sink.checkpoint(states, frozenset(paths or self._paths.values()))
            case "progress":
                await self._sink.progress(content)
            case "config":
                await self._sink.config_changed(content)


def _key(stream: ConfiguredStream) -> str:
    return stream_key(stream.name, stream.namespace)


def _states(content: Any) -> dict[str, str]:
    if all(isinstance(state, str) for state in content.values()):
        return dict(content)
    raise EngineFailed(f"{READER} sent a state that is not a text.", cause=FailureCause.INTERNAL)


def _streams(streams: list[Message]) -> tuple[Stream, ...]:
    return tuple(_stream(stream) for stream in streams)


def _stream(wire: Message) -> Stream:
    """Converts an AirbyteStream of the protocol."""
    supported = wire.get("supported_sync_modes") or ["full_refresh"]
    modes = [SyncMode.FULL_REFRESH_OVERWRITE, SyncMode.FULL_REFRESH_APPEND]
    if "incremental" in supported:
        modes.append(SyncMode.INCREMENTAL_APPEND)
    schema: Message = wire.get("json_schema") or {}
    return Stream(
        name=wire["name"],
        namespace=wire.get("namespace") or None,
        columns=tuple(
            StreamColumn(name=name, type=_type(column))
            for name, column in (schema.get("properties") or {}).items()
        ),
        sync_modes=tuple(modes),
        primary_key=tuple(tuple(path) for path in wire.get("source_defined_primary_key") or ()),
        cursor=tuple(wire.get("default_cursor_field") or ()),
        source_defined_cursor=bool(wire.get("source_defined_cursor")),
        json_schema=schema,
    )


def _type(column: Any) -> str:
    declared = column.get("type") if isinstance(column, dict) else None
    names = [declared] if isinstance(declared, str) else list(declared or ())
    type_ = "|".join(name for name in names if name != "null") or "any"
    return str(column["format"]) if type_ == "string" and "format" in column else type_


def _configured(stream: ConfiguredStream) -> Message:
    """Returns a ConfiguredAirbyteStream of the protocol, with its schema as a text."""
    airbyte: Message = {
        "name": stream.name,
        "json_schema": stream.json_schema,
        "supported_sync_modes": [stream.sync_mode.source_mode],
    }
    if stream.namespace:
        airbyte["namespace"] = stream.namespace
    return {
        "stream": airbyte,
        "sync_mode": stream.sync_mode.source_mode,
        "destination_sync_mode": stream.sync_mode.destination_mode,
        "cursor_field": list(stream.cursor_field),
        "primary_key": [list(path) for path in stream.primary_key],
    }
