"""The gateway's own Prometheus series. `docs/observability.md` has the same table."""

import importlib.metadata
import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# They double the series of each counter, and nothing reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
RUN_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 300)


class Metrics:
    """Has its own registry, so that a process can hold two apps. No label contains an id, a name
    that a client chose, or free text, so the number of series does not grow with the number of
    runs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge(
            "asgard_build_info", "1, with the versions of this process", "version", "python_version"
        ).labels(importlib.metadata.version("asgard"), platform.python_version()).set(1)
        self.requests = self._counter(
            "asgard_http_requests_total", "Completed requests", "method", "route", "status"
        )
        self.latency = self._histogram(
            "asgard_http_request_seconds",
            "Time to respond to a request",
            LATENCY_BUCKETS,
            "method",
            "route",
        )
        self.runs = self._counter("asgard_runs_total", "Runs ended", "kind", "state", "cause")
        self.run_seconds = self._histogram(
            "asgard_run_seconds", "Time from a run's start to its end", RUN_BUCKETS, "kind"
        )
        self.run_rows = self._counter(
            "asgard_run_rows_written_total", "Rows that runs published", "kind"
        )
        self.runs_open = self._gauge(
            "asgard_runs_open", "Runs of this replica that have not ended", "kind", "state"
        )
        self.endings_waiting = self._gauge(
            "asgard_run_endings_waiting", "Ended runs that wait to be written to Iceberg"
        )
        self.oldest_ending = self._gauge(
            "asgard_run_endings_oldest_seconds", "Time that the oldest of them has waited"
        )
        self.audit_waiting = self._gauge(
            "asgard_audit_records_waiting", "Audit records that wait to be written to Iceberg"
        )
        self.calls = self._counter(
            "asgard_engine_calls_total",
            "Calls to engines, storage, catalog and worker processes",
            "engine",
            "operation",
            "outcome",
        )
        self.call_seconds = self._histogram(
            "asgard_engine_call_seconds",
            "Time that a call took",
            CALL_BUCKETS,
            "engine",
            "operation",
        )
        self.calls_waiting = self._gauge(
            "asgard_engine_calls_waiting",
            "Calls that wait for a free connection or worker process",
            "engine",
        )
        self.commit_retries = self._counter(
            "asgard_commit_retries_total",
            "Retried Iceberg commits: another writer was first, or the catalog did not respond",
            "table",
            "reason",
        )
        self.s3_bytes = self._counter(
            "asgard_s3_bytes_total",
            "Bytes of the gateway's own S3 requests, not including the files of tables",
            "direction",
        )
        self.s3_errors = self._counter(
            "asgard_s3_errors_total",
            "S3 requests that failed or were refused",
            "operation",
            "cause",
        )
        self.sandbox_layers = self._gauge(
            "asgard_sandbox_layer", "1 if this system has this layer of the sandbox", "layer"
        )
        self.products = self._gauge(
            "asgard_data_products", "Data products by the age of their table", "freshness"
        )
        self.oldest_product = self._gauge(
            "asgard_data_product_oldest_seconds",
            "Time since the last successful build of the oldest product with this update frequency",
            "update_frequency",
        )
        self.ready = self._gauge("asgard_ready", "1 while this process takes requests")

    def called(self, engine: str, operation: str, outcome: str, seconds: float) -> None:
        self.calls.labels(engine, operation, outcome).inc()
        self.call_seconds.labels(engine, operation).observe(seconds)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)
