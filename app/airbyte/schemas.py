"""The request bodies of `/airbyte`."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from app.airbyte.cron import is_cron
from app.airbyte.engine import (
    DEFAULT_WORKSPACE,
    DestinationDraft,
    IngestionChange,
    IngestionDraft,
    IngestionStatus,
    Schedule,
    ScheduleType,
    SourceDraft,
    StreamSelection,
    SyncMode,
)
from app.airbyte.source_configs import TYPED, S3Config
from app.airbyte.streams import MOST_STREAMS
from app.bodies import Body
from app.free_json import FreeJson, check_free_json
from app.nearest import nearest_name
from app.texts import Name

ConnectorName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=500)]
FieldPath = Annotated[list[FieldName], Field(max_length=100, fail_fast=True)]
MAX_PROBLEMS = 10
"""The maximum number of problems of a config that a response lists."""
RequestedStatus = Literal[IngestionStatus.ACTIVE, IngestionStatus.INACTIVE]
Workspace = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class SourceCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "airlines",
                    "type": "file",
                    "config": {"url": "s3://lake/bronze/airlines/"},
                },
                {"name": "users", "type": "faker", "config": {"count": 5000, "seed": 7}},
            ]
        }
    )

    name: Name = Field(description="A name for people, which also works wherever an id does.")
    type: ConnectorName = Field(
        description=f"{', '.join(TYPED)}, or a connector by its Airbyte name."
    )
    config: FreeJson = Field(
        description="GET /airbyte/connectors has the schemas of types that Asgard knows."
    )
    workspace: Workspace = Field(
        DEFAULT_WORKSPACE,
        description="Airbyte's workspace. The embedded engine has only the default one.",
    )

    @field_validator("config")
    @classmethod
    def _typed(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        model = TYPED.get(info.data.get("type", ""))
        if model is None:
            return config
        try:
            return {**config, **model.model_validate(config).model_dump(exclude_none=True)}
        except ValidationError as error:
            # pydantic's own text quotes the values, which may be secrets.
            raise ValueError("; ".join(_problems(error, model))) from None

    def draft(self) -> SourceDraft:
        return SourceDraft(**self.model_dump())


def _problems(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    for item in error.errors(include_url=False, include_input=False)[:MAX_PROBLEMS]:
        field = ".".join(map(str, item["loc"]))
        if item["type"] != "extra_forbidden":
            yield f"{field}: {item['msg']}"
        elif suggestion := nearest_name(field, model.model_fields):
            yield f'{field}: is not a known field; did you mean "{suggestion}"?'
        else:
            yield f"{field}: is not a known field; the fields are {', '.join(model.model_fields)}"


class SinkCreate(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "archive", "type": "s3"}]})

    name: Name = Field(description="A name for people, which also works wherever an id does.")
    type: Literal["s3"] = Field(description="The only type of destination.")
    config: S3Config | None = Field(None, description="Default: the gateway's own lake.")
    workspace: Workspace = Field(
        DEFAULT_WORKSPACE,
        description="Airbyte's workspace. The embedded engine has only the default one.",
    )

    @field_validator("config", mode="before")
    @classmethod
    def _free(cls, config: Any) -> Any:
        """Checks the config as free JSON, since S3Config also accepts any other fields."""
        return check_free_json(config) if isinstance(config, dict) else config

    def draft(self) -> DestinationDraft:
        config = self.config.model_dump() if self.config else None
        return DestinationDraft(name=self.name, config=config, workspace=self.workspace)


class ScheduleBody(Body):
    scheduleType: ScheduleType = Field(  # noqa: N815
        ScheduleType.MANUAL,
        description="`manual` syncs only on request, `cron` at the times of `cronExpression`.",
    )
    cronExpression: Annotated[str, StringConstraints(max_length=200)] | None = Field(  # noqa: N815
        None,
        description="Five fields as in crontab, or a Quartz expression. Only for a cron schedule.",
    )
    basicTiming: Annotated[str, StringConstraints(max_length=200)] | None = Field(  # noqa: N815
        None, description="Only for a basic schedule, which only Airbyte itself creates."
    )

    @model_validator(mode="after")
    def _cron(self) -> "ScheduleBody":
        if self.basicTiming is not None and self.scheduleType is not ScheduleType.BASIC:
            raise ValueError("basicTiming is only for schedules of type basic")
        if self.scheduleType is not ScheduleType.CRON:
            if self.cronExpression is not None:
                raise ValueError("cronExpression is only for schedules of type cron")
            return self
        if not is_cron(self.cronExpression or ""):
            raise ValueError(
                "cronExpression is not a valid cron expression: expected five fields, or a Quartz "
                "expression that begins with seconds"
            )
        return self

    def schedule(self) -> Schedule:
        return Schedule(
            type=self.scheduleType, cron=self.cronExpression, basic_timing=self.basicTiming
        )


class StreamBody(Body):
    name: FieldName = Field(description="Name of the stream, as the source lists it.")
    namespace: FieldName | None = Field(
        None, description="The stream's namespace, if several streams have this name."
    )
    sync_mode: SyncMode = Field(
        SyncMode.FULL_REFRESH_OVERWRITE,
        description="How a sync reads the source and what happens to the rows of earlier syncs.",
    )
    cursor_field: FieldPath = Field([], description="A field, or the path to a nested one.")
    primary_key: Annotated[list[FieldPath], Field(max_length=100, fail_fast=True)] = Field(
        [], description="Fields, or paths to nested ones."
    )

    @field_validator("cursor_field", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("primary_key", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [[value]]
        if isinstance(value, list):
            return [[item] if isinstance(item, str) else item for item in value]
        return value

    def selection(self) -> StreamSelection:
        return StreamSelection.model_validate(self.model_dump())


Streams = Annotated[list[StreamBody], Field(min_length=1, max_length=MOST_STREAMS)]


class IngestionCreate(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "purchases",
                    "sourceId": "faker-users",
                    "destinationId": "lake",
                    "streams": [{"name": "purchases"}],
                }
            ]
        }
    )

    name: Name = Field(description="A name for people, which also works wherever an id does.")
    sourceId: Name = Field(  # noqa: N815
        description="The source to read: its id or its name."
    )
    destinationId: Name = Field(  # noqa: N815
        description="The destination to write: its id or its name."
    )
    schedule: ScheduleBody | None = Field(None, description="Default: manual.")
    status: RequestedStatus = Field(
        IngestionStatus.ACTIVE, description="Only an active ingestion syncs."
    )
    streams: Streams | None = Field(
        None, description="Default: all of the source's streams, as full_refresh_overwrite."
    )

    def draft(self) -> IngestionDraft:
        return IngestionDraft(
            name=self.name,
            source_id=self.sourceId,
            destination_id=self.destinationId,
            schedule=(self.schedule or ScheduleBody()).schedule(),
            status=self.status,
            streams=_selections(self.streams),
        )


class IngestionPatch(Body):
    """Absent fields stay unchanged. Null means manual for `schedule`, and all streams for
    `streams`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "inactive"}]})

    name: Name = Field("", description="The new name.")
    status: RequestedStatus = Field(
        IngestionStatus.ACTIVE, description="Only an active ingestion syncs."
    )
    schedule: ScheduleBody | None = Field(None, description="The new schedule.")
    streams: Streams | None = Field(None, description="The streams to read from now on.")

    def change(self) -> IngestionChange:
        fields = self.model_fields_set
        schedule = (self.schedule or ScheduleBody()).schedule()
        return IngestionChange(
            name=self.name if "name" in fields else None,
            status=self.status if "status" in fields else None,
            schedule=schedule if "schedule" in fields else None,
            streams=_selections(self.streams),
            all_streams="streams" in fields and self.streams is None,
        )


def _selections(streams: list[StreamBody] | None) -> tuple[StreamSelection, ...] | None:
    return None if streams is None else tuple(stream.selection() for stream in streams)
