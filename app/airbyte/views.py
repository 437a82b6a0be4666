"""The response bodies of `/airbyte`. The mixed case is Airbyte's."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.airbyte.cron import next_time
from app.airbyte.engine import (
    CheckResult,
    ConfiguredStream,
    Connector,
    Destination,
    EngineJob,
    Ingestion,
    IngestionStatus,
    Schedule,
    ScheduleType,
    Source,
    Stream,
    StreamColumn,
    SyncMode,
)
from app.redaction import clean, clean_value
from app.runs.model import Run, RunState
from app.runs.views import RunView


class SourceView(BaseModel):
    """A source. Secrets in `config` are shown as `**********`."""

    id: str = Field(description="Id of the source.")
    name: str = Field(description="Name of the source.")
    type: str = Field(description="One of the types that `GET /airbyte/connectors` lists.")
    config: dict[str, Any] = Field(
        description="Config of the connector. Secrets are shown as `**********`."
    )
    workspaceId: str = Field(  # noqa: N815 — Airbyte's name
        description="Airbyte's workspace."
    )
    created_at: datetime = Field(description="Time of creation.")
    created_by: str = Field(description="The caller that created it.")
    run: RunView | None = Field(None, description="The run that installs the connector, if any.")

    @classmethod
    def of(cls, source: Source, run: RunView | None = None) -> "SourceView":
        fields = source.model_dump(exclude={"workspace"})
        return cls(**fields, workspaceId=source.workspace, run=run)


class SourceItem(BaseModel):
    id: str = Field(description="Id of the source.")
    sourceId: str = Field(  # noqa: N815
        description="The same as `id`: its name in Airbyte."
    )
    name: str = Field(description="Name of the source.")
    sourceName: str = Field(  # noqa: N815
        description="Type of the source."
    )
    workspaceId: str = Field(  # noqa: N815
        description="Airbyte's workspace."
    )


class SourceList(BaseModel):
    items: list[SourceItem] = Field(
        description="The same list as `sources`: every list has `items`."
    )
    total_count: int = Field(description="The same number as `total`: every list has it.")
    sources: list[SourceItem] = Field(description="The sources.")
    total: int = Field(description="Number of sources.")

    @classmethod
    def of(cls, sources: list[Source]) -> "SourceList":
        items = [
            SourceItem(
                id=s.id, sourceId=s.id, name=s.name, sourceName=s.type, workspaceId=s.workspace
            )
            for s in sources
        ]
        return cls(items=items, sources=items, total_count=len(items), total=len(items))


class CheckView(BaseModel):
    succeeded: bool = Field(description="Whether the source could be reached and read.")
    message: str = Field(description="The connector's message, or the cause of the failure.")

    @classmethod
    def of(cls, result: CheckResult) -> "CheckView":
        """A connector may quote the config that it was given, in any spelling."""
        return cls(succeeded=result.succeeded, message=clean(result.message))


class StreamView(BaseModel):
    name: str = Field(description="Name of the stream.")
    namespace: str | None = Field(
        description="The stream's namespace, for example a schema of the database."
    )
    columns: list[StreamColumn] = Field(description="Columns of the stream.")
    sync_modes: list[SyncMode | str] | None = Field(
        description="Null while Airbyte's workspace has no sink: without one, Airbyte does not "
        "report the modes."
    )
    primary_key: list[list[str]] = Field(
        description="Fields of the source's own primary key, each as a path."
    )
    cursor: list[str] = Field(description="Path of the source's own cursor field.")

    @classmethod
    def of(cls, stream: Stream) -> "StreamView":
        """The names come from the connector, which may quote the config that it was given."""
        fields = stream.model_dump(mode="json", include=set(cls.model_fields))
        return cls(**clean_value(fields))


class StreamList(BaseModel):
    items: list[StreamView] = Field(
        description="The same list as `streams`: every list has `items`."
    )
    total_count: int = Field(description="Number of items.")
    streams: list[StreamView] = Field(description="The streams.")

    @classmethod
    def of(cls, streams: Iterable[Stream]) -> "StreamList":
        views = [StreamView.of(stream) for stream in streams]
        return cls(items=views, streams=views, total_count=len(views))


class SinkView(BaseModel):
    id: str = Field(description="Id of the destination.")
    name: str = Field(description="Name of the destination.")
    type: Literal["s3"] = Field("s3", description="The only type of destination.")
    config: dict[str, Any] = Field(
        description="Config of the destination. Secrets are shown as `**********`."
    )
    workspaceId: str = Field(  # noqa: N815
        description="Airbyte's workspace."
    )
    created_at: datetime = Field(description="Time of creation.")
    created_by: str = Field(description="The caller that created it.")

    @classmethod
    def of(cls, destination: Destination) -> "SinkView":
        fields = destination.model_dump(exclude={"workspace"})
        return cls(**fields, workspaceId=destination.workspace)


class SinkItem(BaseModel):
    id: str = Field(description="Id of the destination.")
    destinationId: str = Field(  # noqa: N815
        description="The same as `id`: its name in Airbyte."
    )
    name: str = Field(description="Name of the destination.")
    destinationName: str = Field(  # noqa: N815
        "s3", description="Type of the destination."
    )
    workspaceId: str = Field(  # noqa: N815
        description="Airbyte's workspace."
    )


class SinkList(BaseModel):
    items: list[SinkItem] = Field(
        description="The same list as `destinations`: every list has `items`."
    )
    total_count: int = Field(description="The same number as `total`: every list has it.")
    destinations: list[SinkItem] = Field(description="The destinations.")
    total: int = Field(description="Number of destinations.")

    @classmethod
    def of(cls, destinations: list[Destination]) -> "SinkList":
        items = [
            SinkItem(id=d.id, destinationId=d.id, name=d.name, workspaceId=d.workspace)
            for d in destinations
        ]
        return cls(items=items, destinations=items, total_count=len(items), total=len(items))


class IngestionStream(BaseModel):
    name: str = Field(description="Name of the stream.")
    namespace: str | None = Field(description="The stream's namespace.")
    sync_mode: SyncMode | str = Field(
        description="A mode that Asgard does not know is shown unchanged."
    )
    cursor_field: list[str] = Field(description="Path of the field that shows what is new.")
    primary_key: list[list[str]] = Field(description="Fields of the key, each as a path.")
    path: str = Field(description="The path of its files, as path tables name it.")

    @classmethod
    def of(cls, stream: ConfiguredStream) -> "IngestionStream":
        fields = stream.model_dump(include=set(cls.model_fields))
        return cls(**{**fields, "sync_mode": stream.other_mode or stream.sync_mode})


class ScheduleView(BaseModel):
    """A schedule as Airbyte has it: it may have a form that Asgard does not accept."""

    scheduleType: ScheduleType = Field(description="Type of the schedule.")  # noqa: N815
    cronExpression: str | None = Field(  # noqa: N815
        description="The times of a `cron` schedule, as Airbyte has them."
    )
    basicTiming: str | None = Field(  # noqa: N815
        description="The interval of a `basic` schedule, as Airbyte has it."
    )

    @classmethod
    def of(cls, schedule: Schedule) -> "ScheduleView":
        return cls(
            scheduleType=schedule.type,
            cronExpression=schedule.cron,
            basicTiming=schedule.basic_timing,
        )


class IngestionView(BaseModel):
    id: str = Field(description="Id of the ingestion.")
    connectionId: str = Field(  # noqa: N815
        description="The same as `id`: its name in Airbyte."
    )
    sourceId: str = Field(  # noqa: N815
        description="Id of its source."
    )
    destinationId: str = Field(  # noqa: N815
        description="Id of its destination."
    )
    name: str = Field(description="Name of the ingestion.")
    status: IngestionStatus = Field(description="Only an active ingestion syncs.")
    schedule: ScheduleView = Field(description="When it syncs by itself.")
    created: datetime = Field(description="Time of creation.")
    created_by: str = Field(description="The caller that created it.")
    streams: list[IngestionStream] = Field(description="The streams that it reads.")

    @classmethod
    def of(cls, ingestion: Ingestion) -> "IngestionView":
        return cls(
            id=ingestion.id,
            connectionId=ingestion.id,
            sourceId=ingestion.source_id,
            destinationId=ingestion.destination_id,
            name=ingestion.name,
            status=ingestion.status,
            schedule=ScheduleView.of(ingestion.schedule),
            created=ingestion.created_at,
            created_by=ingestion.created_by,
            streams=[IngestionStream.of(stream) for stream in ingestion.streams],
        )


class IngestionList(BaseModel):
    items: list[IngestionView] = Field(
        description="The same list as `ingestions`: every list has `items`."
    )
    total_count: int = Field(description="The same number as `total`: every list has it.")
    ingestions: list[IngestionView] = Field(description="The ingestions.")
    total: int = Field(description="Number of ingestions.")

    @classmethod
    def of(cls, ingestions: Iterable[Ingestion]) -> "IngestionList":
        views = [IngestionView.of(ingestion) for ingestion in ingestions]
        return cls(items=views, ingestions=views, total_count=len(views), total=len(views))


class LastJob(BaseModel):
    id: str = Field(description="Id of the run, or of the job that Airbyte started by itself.")
    state: RunState = Field(description="State of the sync.")
    rows: int | None = Field(
        description="Rows of the sync, as counted in its files. Null until Asgard has counted "
        "them, or if it cannot."
    )
    bytes: int | None = Field(
        description="Size of the sync's files, in bytes. Null until Asgard has verified them."
    )
    error: str | None = Field(description="Why it failed, if it did.")

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
        return cls(**job.model_dump(exclude={"started_at"}))


class IngestionStatusView(BaseModel):
    id: str = Field(description="Id of the ingestion.")
    ingestionId: str = Field(  # noqa: N815
        description="The same as `id`: its name in Airbyte."
    )
    status: IngestionStatus = Field(description="Only an active ingestion syncs.")
    lastSync: datetime | None = Field(description="When the last sync started.")  # noqa: N815
    nextSync: datetime | None = Field(  # noqa: N815
        description="When the next sync is due. Null without a cron schedule, while the "
        "ingestion is inactive, or if Asgard cannot read the expression."
    )
    schedule: ScheduleView = Field(description="When it syncs by itself.")
    last_job: LastJob | None = Field(description="The last sync. Null before the first one.")

    @classmethod
    def of(
        cls, ingestion: Ingestion, run: Run | None, job: EngineJob | None
    ) -> "IngestionStatusView":
        """Returns the status. `job` is a later sync that the engine started by itself."""
        last = LastJob.of(run) if run else None
        started = (run.started_at or run.created_at) if run else None
        active = ingestion.status is IngestionStatus.ACTIVE
        is_cron = active and ingestion.schedule.type is ScheduleType.CRON
        cron = ingestion.schedule.cron if is_cron else None
        return cls(
            id=ingestion.id,
            ingestionId=ingestion.id,
            status=ingestion.status,
            lastSync=job.started_at if job else started,
            nextSync=next_time(cron) if cron else None,
            schedule=ScheduleView.of(ingestion.schedule),
            last_job=LastJob.of_engine(job) if job else last,
        )


class ConnectorView(BaseModel):
    type: str = Field(description="Type of source, as `POST /airbyte/datasource` takes it.")
    version: str | None = Field(description="Version of the connector, if known.")
    installed: bool = Field(
        description="Whether the connector can run without being installed first."
    )
    spec: dict[str, Any] | None = Field(
        description="The config's JSON Schema. Null if Airbyte runs the connector and Asgard has "
        "no types for it, and until a connector of CONNECTORS_ALLOWED is installed."
    )

    @classmethod
    def of(cls, connector: Connector) -> "ConnectorView":
        return cls(**connector.model_dump())


class ConnectorList(BaseModel):
    items: list[ConnectorView] = Field(
        description="The same list as `connectors`: every list has `items`."
    )
    total_count: int = Field(description="Number of items.")
    connectors: list[ConnectorView] = Field(description="The types of sources.")
