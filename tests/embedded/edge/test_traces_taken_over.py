"""A trace continues at the gateway that takes over a run from a killed one."""

import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.live_gateway import LiveGateway, live_gateway
from tests.otlp_collector import Collector, Span, collector
from tests.patience import until

CALLER = "00f067aa0ba902b7"
RUNNING, QUEUED = ("4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4737")
"""The traces of a run that was killed while running, and of one that waited for it."""
MANY = "SELECT id FROM (VALUES " + ", ".join(f"({n})" for n in range(200)) + ") AS t(id)"
ENDLESS = (
    f"WITH many AS ({MANY}) SELECT count(*) AS n FROM many x, many y, many z, many w "
    "WHERE x.id + y.id + z.id + w.id = -1"
)


async def transform(http: httpx.AsyncClient, owner: LiveGateway, sql: str, trace: str) -> str:
    answer = await http.post(
        f"{owner.url}/api/v1/dbt/transform",
        params={"wait_seconds": 0},
        json={"name": "handed_on", "sql_query": sql},
        headers={"traceparent": f"00-{trace}-{CALLER}-01"},
    )
    assert answer.status_code == 202, answer.text
    run_id: str = answer.json()["run_id"]
    return run_id


def request_of(found: Collector, trace: str) -> Span | None:
    spans = [span for span in found.of(trace) if span.name == "POST /dbt/transform"]
    return spans[0] if spans else None


def run_span(found: Collector, trace: str) -> Span:
    [span] = [span for span in found.of(trace) if span.name == "run dbt"]
    return span


def logged(gateway: LiveGateway, event: str) -> list[dict[str, Any]]:
    lines = [line for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


async def test_the_trace_of_a_run_that_was_taken_over_continues_in_its_new_owner(
    tmp_path: Path,
) -> None:
    with collector() as found:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": found.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "DBT_WORKERS": "1",
        }
        # The successor starts first, so that it owns the lake and only the run changes owners.
        with (
            live_gateway(tmp_path, **environment) as heir,
            live_gateway(tmp_path, **environment) as owner,
        ):
            async with httpx.AsyncClient(timeout=60) as http:

                async def state(run_id: str) -> str:
                    answer = await http.get(f"{heir.url}/api/v1/runs/{run_id}")
                    said: str = answer.json()["state"]
                    return said

                async def computes() -> bool:
                    return await state(killed) == "running"

                async def over() -> bool:
                    states = {await state(killed), await state(waiting)}
                    return states == {"failed", "succeeded"}

                killed = await transform(http, owner, ENDLESS, RUNNING)
                await until(computes)
                waiting = await transform(http, owner, "SELECT 1 AS n", QUEUED)
                await until(lambda: request_of(found, RUNNING) and request_of(found, QUEUED))
                assert await state(waiting) == "queued"
                owner.process.send_signal(signal.SIGKILL)
                owner.process.wait()
                await until(over, 120)

    one, other = owner.process.pid, heir.process.pid
    for trace, run_id, ended in (
        (RUNNING, killed, {"asgard.run.state": "failed", "asgard.run.cause": "lost"}),
        (QUEUED, waiting, {"asgard.run.state": "succeeded"}),
    ):
        post = request_of(found, trace)
        assert post is not None
        assert (post.parent, post.resource["process.pid"]) == (CALLER, one)
        run = run_span(found, trace)
        assert (run.parent, run.resource["process.pid"]) == (post.id, other)
        assert run.attributes.items() >= {"asgard.run.id": run_id, **ended}.items()
        assert run.failed == (trace == RUNNING)
        assert any(span.parent == run.id for span in found.of(trace))

    spans = found.of(QUEUED)
    run = run_span(found, QUEUED)
    for engine, operation in (("dbt", "build"), ("publisher", "publish")):
        [call] = [span for span in spans if span.name == f"{engine} {operation}"]
        [worker] = [span for span in spans if span.name == operation]
        assert (call.parent, call.resource["process.pid"]) == (run.id, other)
        assert (worker.parent, worker.resource["asgard.process"]) == (call.id, engine)
        assert worker.resource["process.pid"] not in {one, other}
    # Complete except for unfinished spans of the killed gateway, above all its own span of the run.
    ids = {span.id for span in spans}
    assert all(span.parent in ids for span in spans if span.resource["process.pid"] != one)
    assert {(line["run_id"], line["trace_id"]) for line in logged(heir, "run_ended")} == {
        (killed, RUNNING),
        (waiting, QUEUED),
    }
