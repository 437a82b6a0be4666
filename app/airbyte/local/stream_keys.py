"""The keys of streams in the messages of a connector's worker and in stored states."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.airbyte.engine import ConfiguredStream

GLOBAL, LEGACY = "global", "legacy"
"""The keys of states that belong to all streams."""


def stream_key(name: str, namespace: str | None) -> str:
    return f"{namespace}/{name}" if namespace else name


def require_distinct_keys(streams: Iterable["ConfiguredStream"]) -> None:
    """Raise `InvalidRequest` if two streams, or an incremental stream and a state of all streams,
    share a key. The rows and states of one would be taken for those of the other. The states of
    full-refresh streams are not stored."""
    seen: dict[str, str] = {}
    for stream in streams:
        key = stream_key(stream.name, stream.namespace)
        shown = f"{stream.name} of {stream.namespace}" if stream.namespace else stream.name
        if key in (GLOBAL, LEGACY) and stream.sync_mode.source_mode == "incremental":
            raise InvalidRequest(
                f"The embedded engine cannot distinguish the stream {shown} from the state of all "
                f"streams: both use the key {key}.",
                hint="Sync this stream with a full refresh, or use Airbyte.",
                stream=stream.name,
            )
        if other := seen.get(key):
            raise InvalidRequest(
                f"The embedded engine cannot distinguish the stream {shown} from {other}: both use "
                f"the key {key}.",
                hint="Leave one of them out, or use Airbyte.",
                stream=stream.name,
            )
        seen[key] = f"the stream {shown}"
