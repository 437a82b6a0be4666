"""The rules for which of a source's streams an ingestion reads, and how, for every engine."""

from collections.abc import Callable, Iterable, Mapping

from app.airbyte.engine import ConfiguredStream, Stream, StreamSelection
from app.errors import InvalidRequest

PathOf = Callable[[StreamSelection], str]


def configured(
    available: Iterable[Stream], requested: tuple[StreamSelection, ...] | None, path_of: PathOf
) -> tuple[ConfiguredStream, ...]:
    """Returns every requested stream as the source describes it, or all of them for None.

    Raises:
        InvalidRequest: A stream is unknown, lacks the mode, or is requested twice.
    """
    by_name = {(stream.namespace, stream.name): stream for stream in available}
    if requested is None:
        requested = tuple(
            StreamSelection(name=s.name, namespace=s.namespace) for s in by_name.values()
        )
    if not requested:
        raise InvalidRequest("An ingestion needs at least one stream.")
    streams: dict[str, ConfiguredStream] = {}
    for selection in requested:
        stream = _matching(selection, by_name)
        path = path_of(selection.model_copy(update={"namespace": stream.namespace}))
        if path in streams:
            raise InvalidRequest(
                f"The streams {streams[path].name} and {selection.name} would both be written to "
                f"{path}."
            )
        streams[path] = _configured(selection, stream, path)
    return tuple(streams.values())


def _matching(
    selection: StreamSelection, by_name: Mapping[tuple[str | None, str], Stream]
) -> Stream:
    matches = [
        s
        for (space, name), s in by_name.items()
        if name == selection.name and selection.namespace in {None, space}
    ]
    if len(matches) != 1:
        names = sorted(name for _, name in by_name)
        which = "has no stream" if not matches else "has several streams"
        raise InvalidRequest(
            f"The source {which} {selection.name}.", missing=selection.name, streams=names[:100]
        )
    return matches[0]


def _configured(selection: StreamSelection, stream: Stream, path: str) -> ConfiguredStream:
    mode = selection.sync_mode
    if stream.sync_modes is not None and mode not in stream.sync_modes:
        raise InvalidRequest(
            f"The stream {stream.name} cannot be read as {mode}; it has "
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
        json_schema=stream.json_schema,
    )
