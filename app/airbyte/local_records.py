"""What the embedded engine keeps of sources, destinations and ingestions, and the rules of it."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from app.airbyte.engine import (
    ConfiguredStream,
    Destination,
    Ingestion,
    IngestionStatus,
    Schedule,
    Source,
    Stream,
    StreamChoice,
    SyncMode,
)
from app.errors import Conflict, InvalidRequest, NotSupported, PathRefused
from app.lakehouse.records import Record
from app.runs.model import Frozen

SETTING = "AIRBYTE_BASE_URL"
BRONZE = "bronze"


class SourceDoc(Frozen):
    """`config` has its secrets masked; where they stand is in the file of secrets."""

    name: str
    type: str
    config: dict[str, Any]
    workspace: str


class DestinationDoc(Frozen):
    name: str
    config: dict[str, Any] = Field(default_factory=dict)
    workspace: str
    prefix: str = BRONZE
    """The key prefix that its streams are written below."""


class IngestionDoc(Frozen):
    name: str
    source_id: str
    destination_id: str
    schedule: Schedule
    status: IngestionStatus
    streams: tuple[ConfiguredStream, ...]


def stream_path(prefix: str, stream: StreamChoice) -> str:
    """`bronze/{namespace}/{stream}`, as Airbyte's S3 destination has it."""
    parts = [stream.namespace, stream.name] if stream.namespace else [stream.name]
    return "/".join((prefix, *(_plain(part) for part in parts)))


def _plain(name: str) -> str:
    """A part of a path: no separators, and not hidden (Spark ignores what begins with `_`, `.`)."""
    plain = re.sub(r"[^\w.-]", "_", name)
    return f"x{plain}" if plain[0] in "._" else plain


def configured(
    available: Iterable[Stream], wanted: tuple[StreamChoice, ...] | None, prefix: str
) -> tuple[ConfiguredStream, ...]:
    """Every wanted stream with what the source says of it; None: all of them.

    Raises:
        InvalidRequest: an unknown stream, a mode that it does not have, the same one twice.
        NotSupported: a mode that only Airbyte's own destinations have.
    """
    known = {(stream.namespace, stream.name): stream for stream in available}
    if wanted is None:
        wanted = tuple(StreamChoice(name=s.name, namespace=s.namespace) for s in known.values())
    if not wanted:
        raise InvalidRequest("An ingestion has at least one stream.")
    streams: dict[str, ConfiguredStream] = {}
    for choice in wanted:
        stream = _known(choice, known)
        path = stream_path(prefix, stream_choice(choice, stream))
        if path in streams:
            raise InvalidRequest(
                f"The streams {streams[path].name} and {choice.name} would both be written to "
                f"{path}."
            )
        streams[path] = _configured(choice, stream, path)
    return tuple(streams.values())


def stream_choice(choice: StreamChoice, stream: Stream) -> StreamChoice:
    return choice.model_copy(update={"namespace": stream.namespace})


def _known(choice: StreamChoice, known: Mapping[tuple[str | None, str], Stream]) -> Stream:
    named = [
        s
        for (space, name), s in known.items()
        if name == choice.name and choice.namespace in {None, space}
    ]
    if len(named) != 1:
        names = sorted(name for _, name in known)
        which = "has no stream" if not named else "has several streams"
        raise InvalidRequest(
            f"The source {which} {choice.name}.", missing=choice.name, streams=names[:100]
        )
    return named[0]


def _configured(choice: StreamChoice, stream: Stream, path: str) -> ConfiguredStream:
    mode = choice.sync_mode
    if mode is SyncMode.INCREMENTAL_DEDUPED_HISTORY:
        raise NotSupported(
            f"The embedded engine has no {mode}: append, and deduplicate in silver.",
            setting=SETTING,
        )
    if mode not in stream.sync_modes:
        raise InvalidRequest(
            f"The stream {stream.name} cannot be read as {mode}; it has "
            f"{', '.join(stream.sync_modes)}.",
            stream=stream.name,
        )
    incremental = mode.source_mode == "incremental"
    cursor = stream.cursor if stream.source_defined_cursor else choice.cursor_field or stream.cursor
    if incremental and not cursor and not stream.source_defined_cursor:
        raise InvalidRequest(
            f"The stream {stream.name} needs a cursor_field to be read incrementally.",
            stream=stream.name,
        )
    return ConfiguredStream(
        name=stream.name,
        namespace=stream.namespace,
        sync_mode=mode,
        cursor_field=cursor,
        primary_key=choice.primary_key or stream.primary_key,
        path=path,
        json_schema=stream.json_schema,
    )


def refuse_taken_paths(
    paths: Iterable[str], ingestions: Mapping[str, Record[IngestionDoc]], itself: str | None
) -> None:
    """Raises `Conflict` when another ingestion writes one of these bronze paths."""
    wanted = set(paths)
    for other in ingestions.values():
        taken = wanted.intersection(stream.path for stream in other.doc.streams)
        if other.id != itself and taken:
            raise Conflict(
                f"The ingestion {other.doc.name} writes {', '.join(sorted(taken))} already.",
                hint="Choose other streams, or give the file source a dataset_name.",
                conflicting_id=other.id,
            )


def refuse_schedule(schedule: Schedule) -> None:
    if schedule.type != "manual":
        raise NotSupported(
            "The embedded engine runs no schedules: syncs are started by POST …/sync.",
            setting=SETTING,
        )


def destination_prefix(config: Mapping[str, Any] | None, bucket: str) -> str:
    """Where in the lake's bucket a destination writes. Raises when it is not there."""
    if config is None:
        return BRONZE
    if config["s3_bucket_name"] != bucket:
        raise NotSupported(
            f"The embedded engine writes into its own bucket ({bucket}) only.", setting=SETTING
        )
    path = str(config.get("s3_bucket_path") or "").strip("/") or BRONZE
    parts = path.split("/")
    if parts[0] != BRONZE or any(not re.fullmatch(r"[\w-][\w.-]*", part) for part in parts):
        raise PathRefused(
            f"s3_bucket_path {path} is not below {BRONZE}/, where transformations read.", path=path
        )
    return path


def to_source(record: Record[SourceDoc]) -> Source:
    return Source(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        **record.doc.model_dump(),
    )


def to_destination(record: Record[DestinationDoc]) -> Destination:
    return Destination(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        **record.doc.model_dump(exclude={"prefix"}),
    )


def to_ingestion(record: Record[IngestionDoc]) -> Ingestion:
    return Ingestion(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        **record.doc.model_dump(),
    )
