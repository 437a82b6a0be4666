"""Counts, times and traces requests, runs, and calls that leave the gateway.

Adapters get a `Telemetry`. Neither Prometheus nor OpenTelemetry is imported here.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.telemetry.outcomes import Outcome

if TYPE_CHECKING:
    from app.telemetry.metrics import Metrics
    from app.telemetry.tracing import Tracing

TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")


@dataclass
class Call:
    """A call in progress. Code that knows more than the exception shows sets the outcome."""

    outcome: Outcome | None = None


@dataclass
class Work:
    """A request or a run in progress. Its outcome is set before it ends."""

    traceparent: str | None = None
    """The traceparent of its own span, under which its child spans go."""
    trace_id: str | None = None
    name: str | None = None
    attributes: dict[str, str | int] = field(default_factory=dict)
    error: str | None = None


class Telemetry:
    """Counts nothing without metrics, and has no spans without tracing."""

    def __init__(self, metrics: "Metrics | None" = None, tracing: "Tracing | None" = None) -> None:
        self._metrics = metrics
        self._tracing = tracing

    @contextmanager
    def call(self, engine: str, operation: str) -> Iterator[Call]:
        """Measure a call. `operation` is one of a few values, without ids, names and addresses."""
        if self._tracing is None:
            with self._counted(engine, operation) as call:
                yield call
            return
        with self._tracing.child(
            f"{engine} {operation}", _call_attributes(engine, operation)
        ) as span:
            call = Call()
            try:
                with self._counted(engine, operation, call):
                    yield call
            finally:
                outcome = call.outcome or Outcome.OK
                self._tracing.end(
                    span, {"asgard.outcome": outcome}, None if outcome.is_fine else outcome
                )

    @contextmanager
    def _counted(self, engine: str, operation: str, call: Call | None = None) -> Iterator[Call]:
        call, started = call or Call(), time.perf_counter()
        try:
            yield call
        except BaseException as error:
            call.outcome = call.outcome or Outcome.of(error)
            raise
        finally:
            outcome = call.outcome or Outcome.OK
            if self._metrics:
                self._metrics.called(engine, operation, outcome, time.perf_counter() - started)

    def called(self, engine: str, operation: str, outcome: Outcome, seconds: float) -> None:
        """Record a call that has just ended."""
        if self._metrics:
            self._metrics.called(engine, operation, outcome, seconds)
        if self._tracing:
            attributes = {**_call_attributes(engine, operation), "asgard.outcome": outcome}
            error = None if outcome.is_fine else outcome
            self._tracing.record(f"{engine} {operation}", seconds, error, attributes)

    @contextmanager
    def work(
        self, name: str, kind: str, parent: str | None, attributes: Mapping[str, str]
    ) -> Iterator[Work]:
        """Trace a request (`server`) or a run (`internal`) under the caller's traceparent."""
        valid_parent = TRACEPARENT.match(parent or "")
        if self._tracing is None:
            yield Work(trace_id=valid_parent[1] if valid_parent else None)
            return
        with self._tracing.span(name, kind, parent if valid_parent else None, attributes) as span:
            work = Work(traceparent=self._tracing.traceparent())
            if own := TRACEPARENT.match(work.traceparent or ""):
                work.trace_id = own[1]
            try:
                yield work
            finally:
                if work.name:
                    span.update_name(work.name)
                self._tracing.end(span, work.attributes, work.error)

    def traceparent(self) -> str | None:
        """Return the traceparent of the current span."""
        return self._tracing.traceparent() if self._tracing else None

    def worker_spans(self, spans: Sequence[Mapping[str, Any]], process: str, pid: int) -> None:
        if self._tracing:
            self._tracing.take(spans, process, pid)

    @contextmanager
    def waiting(self, engine: str) -> Iterator[None]:
        """Count a call as waiting for a worker process."""
        if self._metrics is None:
            yield
            return
        with self._metrics.calls_waiting.labels(engine).track_inprogress():
            yield

    def commit_again(self, table: str, reason: str) -> None:
        """Count a repeated commit. `table` is `records` or `published`, `reason` is `stale` or
        `unknown`."""
        if self._metrics:
            self._metrics.commit_retries.labels(table, reason).inc()

    def s3_moved(self, direction: str, size: int) -> None:
        if self._metrics and size:
            self._metrics.s3_bytes.labels(direction).inc(size)

    def s3_failed(self, operation: str, cause: str) -> None:
        if self._metrics:
            self._metrics.s3_errors.labels(operation, cause).inc()


def in_log(work: Work) -> dict[str, str]:
    """Return the log fields that link log lines and the trace."""
    return {"trace_id": work.trace_id} if work.trace_id else {}


def _call_attributes(engine: str, operation: str) -> dict[str, str]:
    return {"asgard.engine": engine, "asgard.operation": operation}


SILENT = Telemetry()
