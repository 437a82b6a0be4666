"""Converts Airbyte's JSON into the values of the port, and back."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, assert_never

from pydantic import AwareDatetime

from app.airbyte.cron import quartz
from app.airbyte.engine import (
    ConfiguredStream,
    Destination,
    Ingestion,
    IngestionStatus,
    Schedule,
    ScheduleType,
    Source,
    Stream,
    StreamColumn,
    SyncMode,
)
from app.airbyte.remote.configs import our_name
from app.airbyte.remote.errors import UNEXPECTED, not_understood
from app.airbyte.secrets import masked
from app.errors import NotSupported
from app.frozen import Frozen
from app.runs.model import RunState

Json = Mapping[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
PathOf = Callable[[str, str | None], str]
UNKNOWN_CALLER = "airbyte"
"""The creator of what was not created through this gateway."""
UNKNOWN_TYPE = "unknown"
"""Airbyte's public API names a stream's fields and not their types."""


OWN = frozenset({"name", "namespace", "syncMode", "cursorField", "primaryKey"})
"""The fields of a connection's stream that Asgard sets."""


def _reading(
    read: Callable[Concatenate[Json, P], T],
) -> Callable[Concatenate[Json, P], T]:
    """Let `read` raise `EngineFailed` for JSON of a form that Airbyte's API does not have."""

    @wraps(read)
    def reading(wire: Json, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(wire, *args, **kwargs)
        except UNEXPECTED as error:
            raise not_understood(error) from error

    return reading


class JobStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    INCOMPLETE = "incomplete"
    """An attempt failed, and Airbyte tries again."""
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self.run_state.is_terminal

    @property
    def run_state(self) -> RunState:
        match self:
            case JobStatus.PENDING | JobStatus.QUEUED:
                return RunState.QUEUED
            case JobStatus.RUNNING | JobStatus.INCOMPLETE:
                return RunState.RUNNING
            case JobStatus.SUCCEEDED:
                return RunState.SUCCEEDED
            case JobStatus.FAILED:
                return RunState.FAILED
            case JobStatus.CANCELLED:
                return RunState.CANCELLED
            case unknown:
                assert_never(unknown)


class AirbyteJob(Frozen):
    id: int
    connection_id: str
    type: str
    status: JobStatus
    started_at: AwareDatetime
    rows: int | None
    bytes: int | None

    @property
    def name(self) -> str:
        """The job's name in lineage and status, if no run of Asgard's started it."""
        return f"airbyte-job-{self.id}"


@_reading
def job_of(wire: Json) -> AirbyteJob:
    return AirbyteJob(
        id=wire["jobId"],
        connection_id=wire["connectionId"],
        type=wire["jobType"],
        status=JobStatus(wire["status"]),
        started_at=datetime.fromisoformat(wire["startTime"]),
        rows=wire.get("rowsSynced"),
        bytes=wire.get("bytesSynced"),
    )


@_reading
def source_of(wire: Json, created_by: str | None) -> Source:
    config = {k: v for k, v in wire["configuration"].items() if k != "sourceType"}
    return Source(
        id=wire["sourceId"],
        name=wire["name"],
        type=our_name(wire["sourceType"]),
        config=masked(config),
        workspace=wire["workspaceId"],
        created_at=_time(wire),
        created_by=created_by or UNKNOWN_CALLER,
    )


@_reading
def destination_of(wire: Json, created_by: str | None) -> Destination:
    config = {k: v for k, v in wire["configuration"].items() if k != "destinationType"}
    return Destination(
        id=wire["destinationId"],
        name=wire["name"],
        config=masked(config),
        workspace=wire["workspaceId"],
        created_at=_time(wire),
        created_by=created_by or UNKNOWN_CALLER,
    )


@_reading
def ingestion_of(wire: Json, path_of: PathOf, created_by: str | None) -> Ingestion:
    streams = (wire.get("configurations") or {}).get("streams") or ()
    return Ingestion(
        id=wire["connectionId"],
        name=wire["name"],
        source_id=wire["sourceId"],
        destination_id=wire["destinationId"],
        schedule=_schedule_of(wire["schedule"]),
        status=_status_of(wire),
        streams=tuple(_configured_of(stream, path_of) for stream in streams),
        created_at=_time(wire),
        created_by=created_by or UNKNOWN_CALLER,
    )


def streams_of(streams: Iterable[Json]) -> tuple[Stream, ...]:
    return tuple(stream_of(stream) for stream in streams)


@_reading
def stream_of(wire: Json) -> Stream:
    names = (".".join(path) for path in wire.get("propertyFields") or ())
    modes = wire.get("syncModes")
    return Stream(
        name=wire["streamName"],
        namespace=wire.get("streamnamespace") or None,
        columns=tuple(StreamColumn(name=name, type=UNKNOWN_TYPE) for name in names),
        sync_modes=None if modes is None else tuple(modes),
        primary_key=_paths(wire.get("sourceDefinedPrimaryKey")),
        cursor=tuple(wire.get("defaultCursorField") or ()),
        source_defined_cursor=bool(wire.get("sourceDefinedCursorField")),
    )


def streams_body(
    streams: tuple[ConfiguredStream, ...], connection: Json | None = None
) -> dict[str, Any]:
    """Returns the streams. Fields of `connection`'s existing streams that Asgard does not set are
    retained.

    Airbyte takes the streams as a whole. A stream sent without its mappers and selected fields
    would expose what Airbyte hashes or leaves out.
    """
    previous = ((connection or {}).get("configurations") or {}).get("streams") or ()
    retained = {_name_of(wire): _other_fields(wire) for wire in previous}
    return {"streams": [retained.get((s.namespace, s.name), {}) | _stream_body(s) for s in streams]}


def _other_fields(wire: Json) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if name not in OWN and value is not None}


def _name_of(wire: Json) -> tuple[str | None, str]:
    return wire.get("namespace") or None, wire["name"]


def schedule_body(schedule: Schedule) -> dict[str, Any]:
    match schedule.type:
        case ScheduleType.CRON:
            return {"scheduleType": "cron", "cronExpression": quartz(schedule.cron or "")}
        case ScheduleType.BASIC:
            raise NotSupported("Airbyte's API accepts only schedules of type manual or cron.")
        case _:
            return {"scheduleType": "manual"}


def _stream_body(stream: ConfiguredStream) -> dict[str, Any]:
    body: dict[str, Any] = {"name": stream.name, "syncMode": stream.sync_mode.value}
    if stream.namespace:
        body["namespace"] = stream.namespace
    if stream.cursor_field:
        body["cursorField"] = list(stream.cursor_field)
    if stream.primary_key:
        body["primaryKey"] = [list(path) for path in stream.primary_key]
    return body


def _configured_of(wire: Json, path_of: PathOf) -> ConfiguredStream:
    mode = str(wire.get("syncMode") or SyncMode.FULL_REFRESH_OVERWRITE)
    is_known = mode in {each.value for each in SyncMode}
    return ConfiguredStream(
        name=wire["name"],
        namespace=wire.get("namespace") or None,
        sync_mode=SyncMode(mode) if is_known else SyncMode.FULL_REFRESH_OVERWRITE,
        other_mode=None if is_known else mode,
        cursor_field=tuple(wire.get("cursorField") or ()),
        primary_key=_paths(wire.get("primaryKey")),
        path=path_of(wire["name"], wire.get("namespace") or None),
    )


def _status_of(wire: Json) -> IngestionStatus:
    is_known = wire["status"] in {each.value for each in IngestionStatus}
    return IngestionStatus(wire["status"]) if is_known else IngestionStatus.INACTIVE


def _schedule_of(wire: Json) -> Schedule:
    is_known = wire["scheduleType"] in {each.value for each in ScheduleType}
    kind = ScheduleType(wire["scheduleType"]) if is_known else ScheduleType.MANUAL
    return Schedule(
        type=kind, cron=wire.get("cronExpression"), basic_timing=wire.get("basicTiming")
    )


def _paths(wire: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(path) for path in wire or ())


def _time(wire: Json) -> datetime:
    try:
        return datetime.fromtimestamp(wire.get("createdAt") or 0, UTC)
    except OSError as error:  # a year that the system does not know
        raise ValueError("createdAt is not valid") from error
