"""A whole trace of one data-product run, as a collector gets it over OTLP/HTTP."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pydantic import SecretStr

from app.telemetry.tracing import EXPORT_SECONDS, Tracing
from tests.harnesses.gateway import gateway_harness
from tests.otlp_collector import Span, collector

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from tests.conftest import Lakehouse

ORDERS = "silver.traced_orders"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def product(name: str, sql: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Followed",
        "data_product_type": "CUSTOM",
        "owner": "traces",
        "consumers": ["traces"],
        "update_frequency": "daily",
        "sql_query": sql,
    }


async def test_the_trace_of_a_data_product_run_is_complete(
    lakehouse: "Lakehouse", capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pa.table({"id": [1, 2, 3], "note": ["1", "2", "no number"]})

    def make(catalog: "RestCatalog") -> None:
        catalog.create_table(ORDERS, rows.schema).append(rows)

    await lakehouse.catalog.run(make)
    with collector() as found:
        settings = {
            "otel_exporter_otlp_endpoint": found.url,
            "otel_exporter_otlp_headers": SecretStr("x-key=let-me-in"),
        }
        async with gateway_harness(lakehouse.settings, **settings) as traced:
            api = "/api/v1/data-products"
            made = await traced.client.post(api, json=product("Traced", f"SELECT id FROM {ORDERS}"))
            bad = f"SELECT cast(note AS integer) AS n FROM {ORDERS}"
            broken = await traced.client.post(api, json=product("Traced Bad", bad))
            answer = await traced.client.post(
                f"{api}/{made.json()['id']}/run",
                headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
            )
            failed = await traced.client.post(f"{api}/{broken.json()['id']}/run")
            await traced.client.get("/metrics")
            await traced.client.get("/health/ready")
    run = answer.json()["run"]
    assert run["state"] == "succeeded"
    spans = found.of(TRACE)
    by_id = {span.id: span for span in spans}

    def only(name: str) -> Span:
        [span] = [span for span in spans if span.name == name and span.id in by_id]
        return span

    post = only("POST /data-products/{product_id}/run")
    assert post.parent == CALLER
    assert post.attributes["http.response.status_code"] == 200
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{post.id}-01"
    of_run = only("run data_product")
    assert of_run.parent == post.id
    assert of_run.attributes["asgard.run.id"] == run["run_id"]
    assert of_run.attributes["asgard.run.state"] == "succeeded"
    gateway = of_run.resource["process.pid"]
    assert gateway == os.getpid()
    assert of_run.resource["service.name"] == "asgard"

    for engine, operation, inside in (
        ("dbt", "build", "dbt run"),
        ("dbt", "send", None),
        ("publisher", "publish", "commit"),
    ):
        [call] = [span for span in spans if span.name == f"{engine} {operation}"]
        [worker] = [span for span in spans if span.name == operation and span.parent == call.id]
        inner = only(inside) if inside else worker
        assert call.parent == of_run.id
        assert call.resource["process.pid"] == gateway
        assert inner is worker or inner.parent == worker.id
        assert worker.resource["process.pid"] == inner.resource["process.pid"] != gateway
        assert worker.resource["asgard.process"] == engine
        assert call.start <= worker.start <= inner.start < inner.end <= worker.end <= call.end
    under_run = {span.name for span in spans if span.parent == of_run.id}
    assert {"s3 PutObject", "catalog GET table", "sql-judge check_query", "dbt build"} <= under_run
    # Linked from end to end: every parent is a received span or the caller's own.
    assert {span.parent for span in spans} - by_id.keys() == {CALLER}
    assert len(by_id) == len(spans)
    assert not [span.name for span in spans if span.failed]

    [bad_trace] = {span.trace for span in found.spans if span.name == "run data_product"} - {TRACE}
    errors = {span.name for span in found.of(bad_trace) if span.failed}
    assert errors == {"run data_product", "build", "dbt run"}  # the call itself was only refused
    assert failed.headers["traceresponse"].split("-")[1] == bad_trace

    # Background work and requests of machines make no traces.
    roots = {span.name for span in found.spans if span.parent in {"", CALLER}}
    assert roots == {"POST /data-products", "POST /data-products/{product_id}/run"}
    assert found.keys == {"let-me-in"}
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["event"] for line in logged if line.get("trace_id") == TRACE} >= {
        "request",
        "run_ended",
    }


async def test_a_collector_that_does_not_answer_delays_no_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        tracing = Tracing(f"http://127.0.0.1:{mute.getsockname()[1]}", "", "asgard", "1")
        begun = time.monotonic()
        with tracing.span("POST /a", "server", None, {}):
            pass
        answered = time.monotonic()
        await asyncio.to_thread(tracing.close)
        closed = time.monotonic()
    assert answered - begun < 0.5
    assert closed - answered < EXPORT_SECONDS + 2


async def test_a_callers_trace_is_in_the_log_even_without_a_collector(
    lakehouse: "Lakehouse", capsys: pytest.CaptureFixture[str]
) -> None:
    async with gateway_harness(lakehouse.settings) as untraced:
        for given in (f"00-{TRACE}-{CALLER}-01", "00-nonsense"):
            answer = await untraced.client.get("/api/v1/runs", headers={"traceparent": given})
            assert answer.status_code == 200
            assert "traceresponse" not in answer.headers
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    trace_ids = [line.get("trace_id") for line in lines if line["event"] == "request"]
    assert trace_ids == [TRACE, None]


def test_nothing_is_imported_for_traces_unless_they_are_enabled() -> None:
    """FastAPI itself imports OpenTelemetry's API, which is small."""
    code = (
        "import sys, json; import app.main, app.warehouse.duckdb.builder;"
        "print(json.dumps([n for n in sys.modules if n.startswith('opentelemetry.')]))"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    output = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
    )
    parts = {name.split(".")[1] for name in json.loads(output.stdout.splitlines()[-1])}
    assert not parts & {"sdk", "exporter", "proto", "semconv"}
