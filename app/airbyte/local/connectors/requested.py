"""Finds the requested stream to which a message of a connector belongs."""

from collections.abc import Iterable

from app.errors import EngineFailed

NamedStream = tuple[str | None, str]
"""Namespace and name of a stream."""


class RequestedStreams:
    def __init__(self, streams: Iterable[NamedStream]) -> None:
        self._streams = frozenset(streams)
        self._by_name: dict[str, list[NamedStream]] = {}
        for stream in self._streams:
            self._by_name.setdefault(stream[1], []).append(stream)

    def find(self, sent: NamedStream) -> NamedStream | None:
        """Return the stream, or None if it was not requested.

        A message without a namespace belongs to the only stream of its name: connectors of
        Airbyte's Python CDK leave the namespace out of their records.
        """
        namespace, name = sent[0] or None, sent[1]
        if (namespace, name) in self._streams:
            return namespace, name
        same_name = self._by_name.get(name, [])
        return same_name[0] if namespace is None and len(same_name) == 1 else None

    def of_record(self, sent: NamedStream) -> NamedStream:
        """Return the stream. Raises `EngineFailed` if it was not requested: Airbyte's destinations
        also refuse such a record, and without it the sync would succeed with rows missing."""
        stream = self.find(sent)
        if stream is not None:
            return stream
        namespace, name = sent
        shown = f"{name} of {namespace}" if namespace else name
        raise EngineFailed(
            f"The connector sent records of the stream {shown}, which was not requested.",
            hint="Choose the ingestion's streams again, as the source offers them now: GET "
            "/airbyte/datasource/{id}/streams, then PATCH /airbyte/ingestion/{id}. If the source "
            "does not offer this stream, use another version of the connector.",
        )
