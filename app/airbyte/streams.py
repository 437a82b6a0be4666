"""Which of a source's streams an ingestion reads, and how: the same rules for every engine."""

from collections.abc import Callable, Iterable, Mapping

from app.airbyte.engine import ConfiguredStream, Stream, StreamSelection
from app.errors import InvalidRequest

PathOf = Callable[[StreamSelection], str]


def configured(
    available: Iterable[Stream], wanted: tuple[StreamSelection, ...] | None, path_of: PathOf
) -> tuple[ConfiguredStream, ...]:
    """Every wanted stream with what the source says of it; None: all of them.

    Raises:
        InvalidRequest: an unknown stream, a mode that it does not have, the same one twice.
    """
    known = {(stream.namespace, stream.name): stream for stream in available}
    if wanted is None:
        wanted = tuple(StreamSelection(name=s.name, namespace=s.namespace) for s in known.values())
    if not wanted:
        raise InvalidRequest("An ingestion has at least one stream.")
    streams: dict[str, ConfiguredStream] = {}
    for choice in wanted:
        stream = _known(choice, known)
        path = path_of(choice.model_copy(update={"namespace": stream.namespace}))
        if path in streams:
            raise InvalidRequest(
                f"The streams {streams[path].name} and {choice.name} would both be written to "
                f"{path}."
            )
        streams[path] = _configured(choice, stream, path)
    return tuple(streams.values())


def _known(choice: StreamSelection, known: Mapping[tuple[str | None, str], Stream]) -> Stream:
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


def _configured(choice: StreamSelection, stream: Stream, path: str) -> ConfiguredStream:
    mode = choice.sync_mode
    if stream.sync_modes is not None and mode not in stream.sync_modes:
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
