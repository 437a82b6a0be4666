"""OpenTelemetry, exported over OTLP/HTTP. Imported only with OTEL_EXPORTER_OTLP_ENDPOINT set."""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | int | float | bool]
KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
EXPORT_SECONDS = 3.0
"""Including retries. An unreachable collector delays the end of the process by this time."""
NO_SPAN = trace.INVALID_SPAN


class Tracing:
    """The tracing of one gateway. The SDK's own variables (OTEL_TRACES_SAMPLER and others)
    apply."""

    def __init__(self, endpoint: str, headers: str, service: str, version: str) -> None:
        self._resource = Resource.create(
            {
                "service.name": service,
                "service.version": version,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "process.pid": os.getpid(),
            }
        )
        exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}/v1/traces", headers=_pairs(headers), timeout=EXPORT_SECONDS
        )
        self._processor = BatchSpanProcessor(exporter)
        self._provider = TracerProvider(resource=self._resource)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("asgard", version)
        self._wire = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: str, parent: str | None, attributes: Attributes
    ) -> Iterator[Span]:
        """Open a span under this traceparent, or the first span of a trace."""
        carrier = {"traceparent": parent} if parent else {}
        with self._tracer.start_as_current_span(
            name,
            context=self._wire.extract(carrier, context=trace.set_span_in_context(NO_SPAN)),
            kind=KINDS[kind],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def child(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """Open a child span, if there is a current trace. Background work does not start traces."""
        if not trace.get_current_span().is_recording():
            yield NO_SPAN
            return
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def record(self, name: str, seconds: float, error: str | None, attributes: Attributes) -> None:
        """Record a child span that has just ended."""
        if trace.get_current_span().is_recording():
            end = time.time_ns()
            span = self._tracer.start_span(
                name,
                kind=SpanKind.CLIENT,
                attributes=dict(attributes),
                start_time=end - int(seconds * 1e9),
            )
            if error:
                span.set_status(Status(StatusCode.ERROR, error))
            span.end(end)

    def end(self, span: Span, attributes: Attributes, error: str | None) -> None:
        """Set what is known only at the end. The code that opened the span ends it."""
        span.set_attributes(dict(attributes))
        if error:
            span.set_status(Status(StatusCode.ERROR, error))

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._wire.inject(carrier)
        return carrier.get("traceparent")

    def take(self, spans: Sequence[Mapping[str, Any]], process: str, pid: int) -> None:
        """Export spans that a worker measured, as part of the current trace."""
        current = trace.get_current_span()
        if not current.is_recording():
            return
        resource = self._resource.merge(Resource({"process.pid": pid, "asgard.process": process}))
        for measured in spans:
            status = Status(StatusCode.ERROR, measured["error"]) if measured["error"] else Status()
            self._processor.on_end(
                ReadableSpan(
                    name=measured["name"],
                    context=_within(current.get_span_context(), measured["span_id"]),
                    parent=_within(current.get_span_context(), measured["parent_id"]),
                    resource=resource,
                    kind=SpanKind.INTERNAL,
                    status=status,
                    start_time=measured["start"],
                    end_time=measured["end"],
                    attributes={"asgard.engine": process},
                )
            )

    def close(self) -> None:
        """Send the remaining spans. Blocks."""
        self._provider.shutdown()


def _within(context: SpanContext, span_id: str) -> SpanContext:
    return SpanContext(
        context.trace_id, int(span_id, 16), is_remote=False, trace_flags=context.trace_flags
    )


def _pairs(headers: str) -> dict[str, str]:
    """Parse `name=value,name=value`, the format of OTEL_EXPORTER_OTLP_HEADERS."""
    pairs = (pair.partition("=") for pair in headers.split(",") if "=" in pair)
    return {name.strip(): value.strip() for name, _, value in pairs}
