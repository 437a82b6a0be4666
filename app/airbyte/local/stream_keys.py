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
    have one key. The rows and states of one would be taken for those of the other. Nothing keeps
    the states of other streams."""
    seen: dict[str, str] = {}
    for stream in streams:
        key = stream_key(stream.name, stream.namespace)
        shown = f"{stream.name} of {stream.namespace}" if stream.namespace else stream.name
        other = seen.get(key)
        if key in (GLOBAL, LEGACY) and stream.sync_mode.source_mode == "incremental":
            other = f"the state {key}"
        if other:
            raise InvalidRequest(
                f"The embedded engine cannot tell the stream {shown} from {other}: both are "
                f"known as {key}.",
                hint="Leave one of them out, or use Airbyte.",
                stream=stream.name,
            )
        seen[key] = f"the stream {shown}"
