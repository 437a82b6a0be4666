"""The rules for which of a source's streams an ingestion reads, and how, for every engine."""

from collections.abc import Callable, Iterable
from heapq import nsmallest

from app.airbyte.engine import ConfiguredStream, Stream, StreamSelection
from app.errors import InvalidRequest
from app.json_text import json_text

PathOf = Callable[[StreamSelection], str]
MOST_STREAMS = 1_000
"""The maximum number of streams of an ingestion: as many as a request can name. A source decides
how many it has, and each run and manifest lists them all."""
MOST_SHOWN = 100


def configured(
    available: Iterable[Stream], requested: tuple[StreamSelection, ...] | None, path_of: PathOf
) -> tuple[ConfiguredStream, ...]:
    """Returns every requested stream as the source describes it, or all of them for None.

    Raises:
        InvalidRequest: A stream is unknown, lacks the mode, or is requested twice.
    """
    offered = _Offered(available)
    selections = offered.all() if requested is None else requested
    if not selections:
        raise InvalidRequest("An ingestion needs at least one stream.")
    if len(selections) > MOST_STREAMS:
        raise InvalidRequest(
            f"The source has {len(selections)} streams: expected at most {MOST_STREAMS}.",
            hint="Name the streams to read in `streams`.",
        )
    streams: dict[str, ConfiguredStream] = {}
    for selection in selections:
        stream = offered.matching(selection)
        path = path_of(selection.model_copy(update={"namespace": stream.namespace}))
        if path in streams:
            raise InvalidRequest(
                f"The streams {streams[path].name} and {selection.name} would both be written to "
                f"{path}."
            )
        streams[path] = _configured(selection, stream, path)
    return tuple(streams.values())


class _Offered:
    """The streams of a source, found by name. Each lookup takes the same time, however many there
    are."""

    def __init__(self, available: Iterable[Stream]) -> None:
        self._exact = {(stream.namespace, stream.name): stream for stream in available}
        self._by_name: dict[str, list[Stream]] = {}
        for stream in self._exact.values():
            self._by_name.setdefault(stream.name, []).append(stream)

    def all(self) -> tuple[StreamSelection, ...]:
        return tuple(StreamSelection(name=s.name, namespace=s.namespace) for s in self._streams())

    def matching(self, selection: StreamSelection) -> Stream:
        """Return the only stream of that name. A namespace is optional if the name is unique."""
        if selection.namespace is None:
            matches = self._by_name.get(selection.name, [])
        else:
            exact = self._exact.get((selection.namespace, selection.name))
            matches = [exact] if exact else []
        if len(matches) != 1:
            which = "has no stream" if not matches else "has several streams named"
            raise InvalidRequest(
                f"The source {which} {selection.name}.",
                missing=selection.name,
                streams=nsmallest(MOST_SHOWN, (stream.name for stream in self._streams())),
            )
        return matches[0]

    def _streams(self) -> Iterable[Stream]:
        return self._exact.values()


def _configured(selection: StreamSelection, stream: Stream, path: str) -> ConfiguredStream:
    mode = selection.sync_mode
    if stream.sync_modes is not None and mode not in stream.sync_modes:
        raise InvalidRequest(
            f"The stream {stream.name} does not support {mode}. It supports "
            f"{', '.join(stream.sync_modes)}.",
            stream=stream.name,
        )
    incremental = mode.source_mode == "incremental"
    cursor = (
        stream.cursor if stream.source_defined_cursor else selection.cursor_field or stream.cursor
    )
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
        primary_key=selection.primary_key or stream.primary_key,
        path=path,
        json_schema=json_text(stream.json_schema),
    )
