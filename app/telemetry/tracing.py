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
"""With its repetitions; a collector that is away holds up the end of the process by as much."""
NOBODY = trace.INVALID_SPAN


class Tracing:
    """Of one gateway. What the SDK's own variables say (OTEL_TRACES_SAMPLER and others) holds."""

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
        """Under this traceparent, or the first of a trace."""
        carrier = {"traceparent": parent} if parent else {}
        with self._tracer.start_as_current_span(
            name,
            context=self._wire.extract(carrier, context=trace.set_span_in_context(NOBODY)),
            kind=KINDS[kind],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def child(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """Nothing where no trace is under way: what goes on by itself makes none of its own."""
        if not trace.get_current_span().is_recording():
            yield NOBODY
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
        """A child that has just ended."""
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
        """What is known of it only now; whoever opened it ends it."""
        span.set_attributes(dict(attributes))
        if error:
            span.set_status(Status(StatusCode.ERROR, error))

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._wire.inject(carrier)
        return carrier.get("traceparent")

    def take(self, spans: Sequence[Mapping[str, Any]], process: str, pid: int) -> None:
        """Spans that a worker measured, of the trace that is under way here."""
        here = trace.get_current_span()
        if not here.is_recording():
            return
        resource = self._resource.merge(Resource({"process.pid": pid, "asgard.process": process}))
        for told in spans:
            status = Status(StatusCode.ERROR, told["error"]) if told["error"] else Status()
            self._processor.on_end(
                ReadableSpan(
                    name=told["name"],
                    context=_within(here.get_span_context(), told["span_id"]),
                    parent=_within(here.get_span_context(), told["parent_id"]),
                    resource=resource,
                    kind=SpanKind.INTERNAL,
                    status=status,
                    start_time=told["start"],
                    end_time=told["end"],
                    attributes={"asgard.engine": process},
                )
            )

    def close(self) -> None:
        """Sends what is left. Blocks."""
        self._provider.shutdown()


def _within(context: SpanContext, span_id: str) -> SpanContext:
    return SpanContext(
        context.trace_id, int(span_id, 16), is_remote=False, trace_flags=context.trace_flags
    )


def _pairs(headers: str) -> dict[str, str]:
    """`name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS has them."""
    pairs = (pair.partition("=") for pair in headers.split(",") if "=" in pair)
    return {name.strip(): value.strip() for name, _, value in pairs}
