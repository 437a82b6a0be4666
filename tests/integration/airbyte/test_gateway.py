"""The gateway as users start it, beside Airbyte: Spark reads the files of a sync, and a sync whose
gateway is killed still ends."""

import re
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.integration.servers.airbyte import AirbyteServer
from tests.live_gateway import live_gateway
from tests.otlp_collector import Collector, Span, collector
from tests.patience import until_now
from tests.scrapes import counted

EMBEDDED = "spark,sql,lake"
TAKEN_OVER_WITHIN = 120.0
"""Seconds. A gateway counts as dead after thirty."""


def create_ingestion(client: httpx.Client, stream: str, **config: Any) -> str:
    source = post(
        client, "datasource", name=stream, type="toy", config={"stream": stream, **config}
    )
    sink = post(client, "sink", name="lake", type="s3")
    ingestion = post(
        client,
        "ingestion",
        name=stream,
        sourceId=source["id"],
        destinationId=sink["id"],
        streams=[{"name": stream}],
    )
    id_: str = ingestion["connectionId"]
    return id_


def post(client: httpx.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/airbyte/{path}", json=body)
    assert answer.status_code == 201, answer.text
    resource: dict[str, Any] = answer.json()
    return resource


def spark_counts(client: httpx.Client, stream: str) -> list[dict[str, Any]]:
    """Return silver's rows of the stream, as Spark read them from bronze, and its inputs."""
    run = client.post(
        "/spark/transform",
        params={"wait_seconds": 120},
        json={
            "sql": f"SELECT n, `inner` FROM parquet.`bronze/{stream}`",
            "destination_table": f"of_{stream}",
        },
    ).json()
    result = client.get(f"/runs/{run['run_id']}").json()
    assert result["state"] == "succeeded", result
    assert result["output"]["rows"] == 25
    inputs: list[dict[str, Any]] = result["inputs"]
    return inputs


def calls(url: str) -> dict[str, Counter[str]]:
    """Return the calls of Airbyte that the gateway counted, by outcome."""
    text = httpx.get(f"{url}/metrics").text
    samples = counted(text, "asgard_engine_calls_total", "engine", "outcome", "operation")
    by_outcome: dict[str, Counter[str]] = {}
    for (engine, outcome, operation), number in samples.items():
        if engine == "airbyte":
            by_outcome.setdefault(outcome, Counter())[operation] = int(number)
    return by_outcome


def received(airbyte: AirbyteServer) -> Counter[str]:
    """Return the requests that Airbyte itself received."""
    return Counter(re.sub(r"^(\w+ )/([^/?]+).*", r"\1\2", line) for line in airbyte.seen)


def ended_trace(traces: Collector, trace: str) -> list[Span]:
    spans = traces.of(trace)
    names = {span.name for span in spans}
    return spans if any(name.startswith("POST /airbyte") for name in names) else []


def test_spark_reads_what_airbyte_wrote(airbyte: AirbyteServer, tmp_path: Path) -> None:
    environment = {"AIRBYTE_BASE_URL": airbyte.url, "ASGARD_EMBEDDED": EMBEDDED}
    with (
        collector() as traces,
        live_gateway(
            tmp_path,
            **environment,
            OTEL_EXPORTER_OTLP_ENDPOINT=traces.url,
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as gateway,
        httpx.Client(base_url=f"{gateway.url}/api/v1", timeout=180) as client,
    ):
        ready = httpx.get(f"{gateway.url}/health/ready").json()
        assert ready["dependencies"]["airbyte"]["status"] == "ok"
        ingestion = create_ingestion(client, "events", rows=25)
        synced = client.post(f"/airbyte/ingestion/{ingestion}/sync")
        run = synced.json()
        assert (run["state"], run["output"]["rows"]) == ("succeeded", 25), run
        [read] = spark_counts(client, "events")
        assert (read["table"], read["run_ids"]) == ("bronze/events", [run["run_id"]])
        status = client.get(f"/airbyte/ingestion/{ingestion}/status").json()
        assert status["last_job"]["rows"] == 25
        assert status["last_job"]["bytes"] > 0
        assert client.get(f"/airbyte/datasource/{uuid4()}").status_code == 404
        airbyte.fail("GET /sources.*", status=500, times=3)
        assert client.get("/airbyte/datasource").status_code == 424

        counted_calls = calls(gateway.url)
        assert counted_calls.keys() == {"ok", "refused", "failed"}
        assert sum(counted_calls.values(), Counter()) == received(airbyte)
        assert counted_calls["refused"] == {"GET sources": 1}
        assert counted_calls["failed"] == {"GET sources": 3}
        assert counted_calls["ok"]["POST jobs"] == 1

        trace = synced.headers["traceresponse"].split("-")[1]
        spans = until_now(lambda: ended_trace(traces, trace))
        [of_run] = [span for span in spans if span.name == "run ingestion"]
        [made_job] = [span for span in spans if span.name == "airbyte POST jobs"]
        assert made_job.parent == of_run.id
        assert made_job.attributes == {
            "asgard.engine": "airbyte",
            "asgard.operation": "POST jobs",
            "asgard.outcome": "ok",
        }
        assert [span.parent for span in spans if span.name == "airbyte GET jobs"]


def test_a_sync_whose_gateway_is_killed_ends(airbyte: AirbyteServer, tmp_path: Path) -> None:
    environment = {"AIRBYTE_BASE_URL": airbyte.url, "ASGARD_EMBEDDED": EMBEDDED}
    with (
        live_gateway(tmp_path, **environment) as gateway,
        httpx.Client(base_url=f"{gateway.url}/api/v1", timeout=180) as client,
    ):
        ingestion = create_ingestion(client, "killed", rows=25, hang_after=15)
        answer = client.post(f"/airbyte/ingestion/{ingestion}/sync", params={"wait_seconds": 0})
        run_id = answer.json()["run_id"]
        [job] = until_now(
            lambda: [j for j in airbyte.state.jobs.values() if j.connection_id == ingestion]
        )
        until_now(lambda: job.rows == 10)
        gateway.process.kill()
        gateway.process.wait()
    with (
        live_gateway(tmp_path, **environment) as gateway,
        httpx.Client(base_url=f"{gateway.url}/api/v1", timeout=180) as client,
    ):
        job.resumed.set()

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = client.get(f"/runs/{run_id}").json()
            return run if run["state"] not in {"queued", "running"} else None

        run = until_now(ended, TAKEN_OVER_WITHIN)
        assert (run["state"], run["output"]["rows"]) == ("succeeded", 25), run
        assert [read["run_ids"] for read in spark_counts(client, "killed")] == [[run_id]]
    assert airbyte.calls("POST /jobs") == 1
