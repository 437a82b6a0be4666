"""A collector of traces: OTLP over HTTP, on a real port."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import Asked, Reply, replying


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    failed: bool
    start: int
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    url: str
    spans: list[Span] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]


def values(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    def take(asked: Asked) -> Reply:
        compressed = asked.headers["Content-Encoding"] == "gzip"
        body = gzip.decompress(asked.body) if compressed else asked.body
        assert (asked.method, asked.path) == ("POST", "/v1/traces")
        found.keys.add(asked.headers["x-key"])
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in of_resource.scope_spans:
                found.spans.extend(
                    Span(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        failed=span.status.code == 2,
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        attributes=values(span.attributes),
                        resource=values(of_resource.resource.attributes),
                    )
                    for span in scope.spans
                )
        return Reply(200)

    with replying(take) as port:
        found = Collector(f"http://127.0.0.1:{port}")
        yield found
