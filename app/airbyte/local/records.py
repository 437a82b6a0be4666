"""The embedded engine's records of sources, destinations and ingestions, and their rules."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from app.airbyte import streams
from app.airbyte.bronze_paths import Writes, refuse_taken
from app.airbyte.engine import (
    ConfiguredStream,
    Destination,
    Ingestion,
    IngestionStatus,
    Schedule,
    Source,
    Stream,
    StreamSelection,
    SyncMode,
)
from app.airbyte.local.stream_keys import require_distinct_keys
from app.airbyte.secrets import masked
from app.errors import InvalidRequest, NotSupported, PathRefused
from app.frozen import Frozen
from app.lakehouse.records.state import Record
from app.shorten import shortened

SETTING = "AIRBYTE_BASE_URL"
BRONZE = "bronze"
LONGEST_PATH = 900
"""Bytes. A key has at most 1,024, with the name of a file."""
SHOWN = 100
EMBEDDED_MODES = frozenset(
    {
        SyncMode.FULL_REFRESH_OVERWRITE,
        SyncMode.FULL_REFRESH_APPEND,
        SyncMode.INCREMENTAL_APPEND,
    }
)


class SourceDoc(Frozen):
    """A source. The secrets in `config` are masked, and the file of secrets holds them. Records of
    old versions may hold secrets that no spec names, which `to_source` masks."""

    name: str
    type: str
    config: dict[str, Any]
    workspace: str


class DestinationDoc(Frozen):
    name: str
    config: dict[str, Any] = Field(default_factory=dict)
    workspace: str
    prefix: str = BRONZE
    """The key prefix below which its streams are written."""


class IngestionDoc(Frozen):
    name: str
    source_id: str
    destination_id: str
    schedule: Schedule
    status: IngestionStatus
    streams: tuple[ConfiguredStream, ...]


def stream_path(prefix: str, stream: StreamSelection) -> str:
    """Returns `bronze/{namespace}/{stream}`, as Airbyte's S3 destination does."""
    parts = [stream.namespace, stream.name] if stream.namespace else [stream.name]
    return "/".join((prefix, *(_plain(part) for part in parts)))


def _plain(name: str) -> str:
    """Returns the name as a part of a path, without separators, and not hidden: Spark ignores
    names that begin with `_` or `.`."""
    plain = re.sub(r"[^\w.-]", "_", name)
    return plain if plain and plain[0] not in "._" else f"x{plain}"


def configured(
    available: Iterable[Stream], requested: tuple[StreamSelection, ...] | None, prefix: str
) -> tuple[ConfiguredStream, ...]:
    """Returns the configured streams.

    Raises `NotSupported` for a mode that only Airbyte's own destinations have, `InvalidRequest`
    for streams that the engine cannot tell apart, and what `streams.configured` raises.
    """
    for selection in requested or ():
        if selection.sync_mode not in EMBEDDED_MODES:
            raise NotSupported(
                f"The embedded engine does not support {selection.sync_mode}. Append "
                "instead, and deduplicate in silver.",
                setting=SETTING,
            )
    chosen = streams.configured(available, requested, lambda s: stream_path(prefix, s))
    require_distinct_keys(chosen)
    for stream in chosen:
        if len(stream.path.encode()) > LONGEST_PATH:
            raise InvalidRequest(
                f"The path of the stream {shortened(stream.name, SHOWN)} has more than "
                f"{LONGEST_PATH} bytes. With a file's name, it is too long for S3.",
                hint="Leave it out of `streams`.",
                stream=shortened(stream.name, SHOWN),
            )
    return chosen


def refuse_taken_paths(
    doc: IngestionDoc, ingestions: Iterable[Record[IngestionDoc]], own_id: str | None
) -> None:
    """Raises `Conflict` when one of its bronze paths overlaps one of another ingestion."""
    others = (
        Writes(other.id, other.doc.name, (stream.path for stream in other.doc.streams))
        for other in ingestions
    )
    paths = (stream.path for stream in doc.streams)
    refuse_taken(
        paths, others, own_id, "Choose other streams, or give the file source a dataset_name."
    )


def refuse_schedule(schedule: Schedule) -> None:
    if schedule.type != "manual":
        raise NotSupported(
            "The embedded engine does not support schedules: start each sync with POST …/sync.",
            setting=SETTING,
        )


def destination_prefix(config: Mapping[str, Any] | None, bucket: str) -> str:
    """Returns where in the lake's bucket a destination writes, or raises if it is elsewhere."""
    if config is None:
        return BRONZE
    if config["s3_bucket_name"] != bucket:
        raise NotSupported(
            f"The embedded engine writes only into its own bucket ({bucket}).", setting=SETTING
        )
    path = str(config.get("s3_bucket_path") or "").strip("/") or BRONZE
    parts = path.split("/")
    if parts[0] != BRONZE or any(not re.fullmatch(r"[\w-][\w.-]*", part) for part in parts):
        raise PathRefused(
            f"s3_bucket_path {path} is not below {BRONZE}/, where transformations read.", path=path
        )
    return path


def _shown_config(record: Record[SourceDoc] | Record[DestinationDoc]) -> dict[str, Any]:
    return masked(record.doc.config)


def to_source(record: Record[SourceDoc]) -> Source:
    return Source(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        **record.doc.model_dump(exclude={"config"}),
        config=record.derive(_shown_config),
    )


def to_destination(record: Record[DestinationDoc]) -> Destination:
    return Destination(
        id=record.id,
        created_at=record.created_at,
        created_by=record.created_by,
        **record.doc.model_dump(exclude={"prefix", "config"}),
        config=record.derive(_shown_config),
    )


def to_ingestion(record: Record[IngestionDoc]) -> Ingestion:
    doc = record.doc
    return Ingestion(
        id=record.id,
        name=doc.name,
        source_id=doc.source_id,
        destination_id=doc.destination_id,
        schedule=doc.schedule,
        status=doc.status,
        streams=doc.streams,
        created_at=record.created_at,
        created_by=record.created_by,
    )
