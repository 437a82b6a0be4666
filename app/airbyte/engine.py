"""The ingestion port: Airbyte's sources, destinations and connections, and their syncs.

The engine owns them: Airbyte has its own database, the embedded adapter keeps records. Both raise
`NotFound` for unknown ids, `InvalidRequest` for a configuration that is not valid and
`NotSupported` for a connector that they cannot run.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from pydantic import Field

from app.caller import Caller
from app.frozen import Frozen
from app.json_text import JsonText
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunState

DEFAULT_WORKSPACE = "default"
S3 = "s3"


class SyncMode(StrEnum):
    """Airbyte's names for how the source is read, and what happens to the existing rows."""

    FULL_REFRESH_OVERWRITE = "full_refresh_overwrite"
    FULL_REFRESH_OVERWRITE_DEDUPED = "full_refresh_overwrite_deduped"
    FULL_REFRESH_APPEND = "full_refresh_append"
    FULL_REFRESH_UPDATE = "full_refresh_update"
    FULL_REFRESH_SOFT_DELETE = "full_refresh_soft_delete"
    INCREMENTAL_APPEND = "incremental_append"
    INCREMENTAL_DEDUPED_HISTORY = "incremental_deduped_history"
    INCREMENTAL_UPDATE = "incremental_update"
    INCREMENTAL_SOFT_DELETE = "incremental_soft_delete"

    @property
    def source_mode(self) -> str:
        return "full_refresh" if self.name.startswith("FULL") else "incremental"

    @property
    def destination_mode(self) -> str:
        """Returns the connectors' name for this mode. Connectors have only three."""
        by_mode = {
            SyncMode.FULL_REFRESH_OVERWRITE: "overwrite",
            SyncMode.INCREMENTAL_DEDUPED_HISTORY: "append_dedup",
        }
        return by_mode.get(self, "append")


class IngestionStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    LOCKED = "locked"
    """Airbyte has locked it, and only Airbyte can unlock it."""


class ScheduleType(StrEnum):
    MANUAL = "manual"
    CRON = "cron"
    BASIC = "basic"


class Schedule(Frozen):
    type: ScheduleType = ScheduleType.MANUAL
    cron: str | None = None
    basic_timing: str | None = None
    """In Airbyte's form: `Every 24 HOURS`."""


class Connector(Frozen):
    """A type of source. `spec` is its config's JSON Schema, or None until it is installed."""

    type: str
    version: str | None
    spec: dict[str, Any] | None
    installed: bool


class SourceDraft(Frozen):
    name: str
    type: str
    config: dict[str, Any] = Field(repr=False)
    workspace: str = DEFAULT_WORKSPACE


class Source(Frozen):
    """A source. The secrets in `config` are masked."""

    id: str
    name: str
    type: str
    config: dict[str, Any]
    workspace: str
    created_at: datetime
    created_by: str


class DestinationDraft(Frozen):
    name: str
    config: dict[str, Any] | None = Field(default=None, repr=False)
    """None means the gateway's own lake. The type is always `s3`."""
    workspace: str = DEFAULT_WORKSPACE


class Destination(Frozen):
    id: str
    name: str
    config: dict[str, Any]
    workspace: str
    created_at: datetime
    created_by: str


class StreamColumn(Frozen):
    name: str = Field(description="Name of the column.")
    type: str = Field(description="Type of the column, as the source states it.")


class Stream(Frozen):
    """A stream of a source. `json_schema` is the connector's description of its records.

    `sync_modes` may have names that `SyncMode` lacks, and is None if the engine does not say.
    """

    name: str
    namespace: str | None = None
    columns: tuple[StreamColumn, ...] = ()
    sync_modes: tuple[str, ...] | None = ()
    primary_key: tuple[tuple[str, ...], ...] = ()
    cursor: tuple[str, ...] = ()
    source_defined_cursor: bool = False
    json_schema: dict[str, Any] = Field(default_factory=dict)


class StreamSelection(Frozen):
    """A stream that a client requests. Without cursor and key, the source's own are used."""

    name: str
    namespace: str | None = None
    sync_mode: SyncMode = SyncMode.FULL_REFRESH_OVERWRITE
    cursor_field: tuple[str, ...] = ()
    primary_key: tuple[tuple[str, ...], ...] = ()


class ConfiguredStream(StreamSelection):
    """A stream of an ingestion. Its files are at `path`: `bronze/{namespace}/{name}`."""

    path: str
    other_mode: str | None = None
    """The engine's name for a mode that `SyncMode` lacks. `sync_mode` then has no meaning."""
    json_schema: JsonText = "{}"
    """As the source describes its records. Every list of ingestions holds all of them."""


class IngestionDraft(Frozen):
    """A new ingestion. `streams` None means all of the source's streams, as
    full_refresh_overwrite."""

    name: str
    source_id: str
    destination_id: str
    schedule: Schedule = Schedule()
    status: IngestionStatus = IngestionStatus.ACTIVE
    streams: tuple[StreamSelection, ...] | None = None


class IngestionChange(Frozen):
    """A change of an ingestion. None leaves a field unchanged."""

    name: str | None = None
    schedule: Schedule | None = None
    status: IngestionStatus | None = None
    streams: tuple[StreamSelection, ...] | None = None
    all_streams: bool = False
    """Reset the ingestion to all of the source's streams."""


class Ingestion(Frozen):
    id: str
    name: str
    source_id: str
    destination_id: str
    schedule: Schedule
    status: IngestionStatus
    streams: tuple[ConfiguredStream, ...]
    created_at: datetime
    created_by: str


class CheckResult(Frozen):
    succeeded: bool
    message: str


class EngineJob(Frozen):
    """A sync that the engine started by itself. `rows` and `bytes` are None until its files have
    been counted, and it has failed if they are not valid."""

    id: str
    state: RunState
    started_at: datetime
    rows: int | None = None
    bytes: int | None = None
    error: str | None = None


class IngestionEngine(Protocol):
    async def connectors(self) -> tuple[Connector, ...]: ...

    async def missing_connector(self, source_type: str) -> str | None:
        """Returns the connector that `install` must install before such a source can be read."""

    async def validate_source(self, draft: SourceDraft) -> None:
        """Raises what `create_source` would raise, and changes nothing."""

    async def create_source(self, source_id: str, draft: SourceDraft, caller: Caller) -> Source: ...
    async def sources(self) -> list[Source]: ...
    async def source(self, source_id: str) -> Source: ...
    async def delete_source(self, source_id: str, caller: Caller) -> None: ...
    async def check_source(self, source_id: str) -> CheckResult: ...
    async def discover(self, source_id: str) -> tuple[Stream, ...]: ...

    async def validate_destination(self, draft: DestinationDraft) -> None: ...
    async def create_destination(
        self, destination_id: str, draft: DestinationDraft, caller: Caller
    ) -> Destination: ...
    async def destinations(self) -> list[Destination]: ...
    async def destination(self, destination_id: str) -> Destination: ...
    async def delete_destination(self, destination_id: str, caller: Caller) -> None: ...

    async def validate_ingestion(self, draft: IngestionDraft) -> None: ...
    async def create_ingestion(
        self, ingestion_id: str, draft: IngestionDraft, caller: Caller
    ) -> Ingestion:
        """Raises `Conflict` when another ingestion writes one of its paths."""

    async def ingestions(self) -> list[Ingestion]: ...
    async def ingestion(self, ingestion_id: str) -> Ingestion: ...
    async def update_ingestion(
        self, ingestion_id: str, change: IngestionChange, caller: Caller
    ) -> Ingestion: ...
    async def delete_ingestion(self, ingestion_id: str, caller: Caller) -> None:
        """Deletes the ingestion and keeps the files that it wrote."""

    async def later_job(self, ingestion_id: str, run: Run | None) -> EngineJob | None:
        """Returns the newest sync, if the engine started it by itself and later than that of
        `run`."""

    async def install(self, connector: str, control: RunControl) -> Mapping[str, Any]:
        """Installs a connector, and returns what the run records of it. It can be repeated."""

    async def sync(self, ingestion_id: str, control: RunControl) -> RunResult:
        """Reads the source into bronze. Either all of it becomes visible at once, or nothing."""

    async def reconcile_sync(self, run: Run, ingestion_id: str) -> RunResult | None:
        """Does what `RunHandler.reconcile` describes."""
