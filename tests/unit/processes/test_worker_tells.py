"""Calls of a worker are counted, and what it does on its own is traced, by its gateway."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from app.processes import WorkerProcess
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from tests.otlp_collector import collector
from tests.unit.processes.workers import WORKER


async def test_calls_are_counted_and_spans_are_not_events_of_the_caller(tmp_path: Path) -> None:
    metrics = Metrics()
    worker = await start(tmp_path, Telemetry(metrics))
    events: list[dict[str, Any]] = []
    await worker.call({"op": "tell"}, on_event=events.append)
    await worker.close()
    assert events == [{"number": 1}]

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    calls = "asgard_engine_calls_total"
    assert value(calls, engine="worker", operation="tell", outcome="ok") == 1


async def test_spans_of_a_worker_have_the_right_parents(tmp_path: Path) -> None:
    with collector() as found:
        tracing = Tracing(found.url, "", "asgard", "1")
        worker = await start(tmp_path, Telemetry(None, tracing))
        with tracing.span("run dbt", "internal", None, {}):
            await worker.call({"op": "tell"})
        await worker.close()
        tracing.close()
    by_name = {span.name: span for span in found.spans}
    chain = ["run dbt", "worker tell", "tell", "outer", "inner"]
    assert by_name.keys() == set(chain)
    for parent, child in pairwise(chain):
        assert by_name[child].parent == by_name[parent].id
    assert by_name["inner"].resource["process.pid"] == worker.pid


async def start(folder: Path, telemetry: Telemetry) -> WorkerProcess:
    log_path = folder / "worker.log"
    return await WorkerProcess.start(
        WORKER, name="worker", log_path=log_path, handshake={}, telemetry=telemetry
    )
