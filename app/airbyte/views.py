"""The response bodies of `/airbyte`. The mixed case is Airbyte's."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.airbyte.cron import next_time
from app.airbyte.engine import (
    ConfiguredStream,
    Connector,
    Destination,
    EngineJob,
    Ingestion,
    IngestionStatus,
    Source,
    Stream,
    StreamColumn,
    SyncMode,
)
from app.airbyte.schemas import ScheduleBody
from app.runs.model import Run, RunState
from app.runs.views import RunView


class SourceView(BaseModel):
    """A source. Secrets in `config` are shown as `**********`."""

    id: str
    name: str
    type: str
    config: dict[str, Any]
    workspaceId: str  # noqa: N815 — Airbyte's name
    created_at: datetime
    created_by: str
    run: RunView | None = Field(None, description="The run that installs the connector, if any.")

    @classmethod
    def of(cls, source: Source, run: RunView | None = None) -> "SourceView":
        fields = source.model_dump(exclude={"workspace"})
        return cls(**fields, workspaceId=source.workspace, run=run)


class SourceItem(BaseModel):
    sourceId: str  # noqa: N815
    name: str
    sourceName: str  # noqa: N815
    workspaceId: str  # noqa: N815


class SourceList(BaseModel):
    sources: list[SourceItem]
    total: int

    @classmethod
    def of(cls, sources: list[Source]) -> "SourceList":
        items = [
            SourceItem(sourceId=s.id, name=s.name, sourceName=s.type, workspaceId=s.workspace)
            for s in sources
        ]
        return cls(sources=items, total=len(items))


class CheckView(BaseModel):
    succeeded: bool
    message: str


class StreamView(BaseModel):
    name: str
    namespace: str | None
    columns: list[StreamColumn]
    sync_modes: list[SyncMode | str] | None = Field(
        description="null while Airbyte's workspace has no sink: without one, Airbyte does not say."
    )
    primary_key: list[list[str]]
    cursor: list[str]

    @classmethod
    def of(cls, stream: Stream) -> "StreamView":
        return cls(**stream.model_dump(include=set(cls.model_fields)))


class StreamList(BaseModel):
    streams: list[StreamView]

    @classmethod
    def of(cls, streams: Iterable[Stream]) -> "StreamList":
        return cls(streams=[StreamView.of(stream) for stream in streams])


class SinkView(BaseModel):
    id: str
    name: str
    type: Literal["s3"] = "s3"
    config: dict[str, Any]
    workspaceId: str  # noqa: N815
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, destination: Destination) -> "SinkView":
        fields = destination.model_dump(exclude={"workspace"})
        return cls(**fields, workspaceId=destination.workspace)


class SinkItem(BaseModel):
    destinationId: str  # noqa: N815
    name: str
    destinationName: str = "s3"  # noqa: N815
    workspaceId: str  # noqa: N815


class SinkList(BaseModel):
    destinations: list[SinkItem]
    total: int

    @classmethod
    def of(cls, destinations: list[Destination]) -> "SinkList":
        items = [
            SinkItem(destinationId=d.id, name=d.name, workspaceId=d.workspace) for d in destinations
        ]
        return cls(destinations=items, total=len(items))


class IngestionStream(BaseModel):
    name: str
    namespace: str | None
    sync_mode: SyncMode | str = Field(
        description="A mode that Asgard does not know is shown unchanged."
    )
    cursor_field: list[str]
    primary_key: list[list[str]]
    path: str = Field(description="The path of its files, as path tables name it.")

    @classmethod
    def of(cls, stream: ConfiguredStream) -> "IngestionStream":
        fields = stream.model_dump(include=set(cls.model_fields))
        return cls(**{**fields, "sync_mode": stream.other_mode or stream.sync_mode})


class IngestionView(BaseModel):
    connectionId: str  # noqa: N815
    sourceId: str  # noqa: N815
    destinationId: str  # noqa: N815
    name: str
    status: IngestionStatus
    schedule: ScheduleBody
    created: datetime
    created_by: str
    streams: list[IngestionStream]

    @classmethod
    def of(cls, ingestion: Ingestion) -> "IngestionView":
        return cls(
            connectionId=ingestion.id,
            sourceId=ingestion.source_id,
            destinationId=ingestion.destination_id,
            name=ingestion.name,
            status=ingestion.status,
            schedule=ScheduleBody.of(ingestion.schedule),
            created=ingestion.created_at,
            created_by=ingestion.created_by,
            streams=[IngestionStream.of(stream) for stream in ingestion.streams],
        )


class IngestionList(BaseModel):
    ingestions: list[IngestionView]
    total: int


class LastJob(BaseModel):
    id: str
    state: RunState
    rows: int | None
    bytes: int | None
    error: str | None

    @classmethod
    def of(cls, run: Run) -> "LastJob":
        output = run.output
        return cls(
            id=run.run_id,
            state=run.state,
            rows=output.rows_written if output else None,
            bytes=output.bytes if output else None,
            error=run.failure.message if run.failure else None,
        )

    @classmethod
    def of_engine(cls, job: EngineJob) -> "LastJob":
        return cls(**job.model_dump(exclude={"started_at"}), error=None)


class IngestionStatusView(BaseModel):
    ingestionId: str  # noqa: N815
    status: IngestionStatus
    lastSync: datetime | None = Field(description="When the last sync started.")  # noqa: N815
    nextSync: datetime | None  # noqa: N815
    schedule: ScheduleBody
    last_job: LastJob | None

    @classmethod
    def of(
        cls, ingestion: Ingestion, run: Run | None, job: EngineJob | None
    ) -> "IngestionStatusView":
        """Returns the status. `job` is a later sync that the engine started by itself."""
        last = LastJob.of(run) if run else None
        started = (run.started_at or run.created_at) if run else None
        active = ingestion.status is IngestionStatus.ACTIVE
        cron = ingestion.schedule.cron if active else None
        return cls(
            ingestionId=ingestion.id,
            status=ingestion.status,
            lastSync=job.started_at if job else started,
            nextSync=next_time(cron) if cron else None,
            schedule=ScheduleBody.of(ingestion.schedule),
            last_job=LastJob.of_engine(job) if job else last,
        )


class ConnectorView(BaseModel):
    type: str
    version: str | None
    installed: bool
    spec: dict[str, Any] | None = Field(
        description="The config's JSON Schema; null until a connector of CONNECTORS_ALLOWED is "
        "installed."
    )

    @classmethod
    def of(cls, connector: Connector) -> "ConnectorView":
        return cls(**connector.model_dump())


class ConnectorList(BaseModel):
    connectors: list[ConnectorView]
