"""Each measure: what Asgard takes, what the peer takes in the same run, and what was to reach."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.gateway import Gateway

SMALL = "SELECT carrier, count(*) AS flights FROM silver.bench_flights GROUP BY carrier"


@dataclass(frozen=True)
class Row:
    what: str
    measured: str
    beside: str
    reach: str
    ok: bool


def files_into_bronze(gateway: Gateway) -> Row:
    source = _source(gateway, "bench_flights", "file", {"url": str(peers.flights_zip())})
    ingestion = _ingestion(gateway, "bench_flights", source)
    with tempfile.TemporaryDirectory() as folder:
        raw = min(peers.duckdb_copy(Path(folder)) for _ in range(3))
    ours = min(_sync(gateway, ingestion) for _ in range(3))
    return Row(
        "flights CSV → bronze (336,776 rows)",
        f"{ours:.2f} s",
        f"DuckDB COPY {raw:.2f} s",
        "≤ 3×",
        ours <= 3 * raw,
    )


def connector_sync(gateway: Gateway) -> Row:
    users = 100_000
    config = {"count": users, "seed": 7}
    source = _source(gateway, "bench_faker", "faker", config)
    ingestion = _ingestion(gateway, "bench_faker", source)
    executable = next((gateway.home / "connectors").glob("*/bin/source-faker"))
    with tempfile.TemporaryDirectory() as folder:
        alone = peers.connector_read(executable, Path(folder), users)
    ours = _sync(gateway, ingestion)
    return Row(
        "connector sync (faker, 100,000 users)",
        f"{ours:.1f} s",
        f"its own read {alone:.1f} s",
        "≤ 1.15×",
        ours <= 1.15 * alone,
    )


def spark_run(gateway: Gateway) -> Row:
    ours = median(9, lambda: _spark(gateway, "SELECT 1 AS id, 'a' AS name", "bench_small"))
    fresh = min(peers.fresh_sail() for _ in range(3))
    return Row(
        "Spark run of a small SQL, submit → COMPLETED",
        f"{ours:.2f} s",
        f"fresh Sail process {fresh:.2f} s",
        "≤ 1.2 s",
        ours <= 1.2,
    )


def dbt_transform(gateway: Gateway) -> list[Row]:
    flights = "SELECT * FROM parquet.`bronze/flights`"
    _spark(gateway, flights, "bench_flights")
    body = {"name": "bench_carriers", "sql_query": SMALL, "materialization": "table"}
    gateway.post("/dbt/transform", body)
    parts: list[dict[str, Any]] = []
    ours = median(9, lambda: parts.append(gateway.post("/dbt/transform", body)))
    inside = statistics.median(part["execution_time_seconds"] for part in parts)
    project = gateway.home / "dbt"
    cli = min(peers.dbt_cli(project, project, "bench_carriers") for _ in range(2))
    raw = peers.duckdb_ctas(gateway.home, SMALL)
    return [
        Row(
            "POST /dbt/transform, small table, warm",
            f"{ours:.2f} s (its run {inside:.2f} s)",
            f"dbt CLI {cli:.2f} s",
            "≤ 0.25×",
            ours <= 0.25 * cli,
        ),
        Row(
            "the same above raw DuckDB",
            f"+{ours - raw:.2f} s",
            f"raw CTAS {raw:.3f} s",
            "≤ +0.6 s",
            ours - raw <= 0.6,
        ),
    ]


def reads(gateway: Gateway) -> list[Row]:
    product = gateway.post(
        "/data-products/",
        {
            "name": "Bench",
            "description": "measured",
            "data_product_type": "CUSTOM",
            "owner": "bench",
            "update_frequency": "daily",
            "sql_query": SMALL,
        },
    )
    ran = gateway.post(f"/data-products/{product['id']}/run")
    stats = median(200, lambda: gateway.get(f"/data-products/{product['id']}"))
    status = median(200, lambda: gateway.get(f"/runs/{ran['run']['run_id']}"))
    return [
        _reading("GET of a data product, p50", stats, 0.012),
        _reading("GET of a run's status, p50", status, 0.010),
    ]


def process(gateway: Gateway, ready: float) -> list[Row]:
    imported = peers.import_seconds("app.main")
    memory = gateway.memory() / 1024**2
    return [
        Row("gateway ready, embedded, warm disk", f"{ready:.1f} s", "", "≤ 6 s", ready <= 6),
        Row("import of app.main", f"{imported:.2f} s", "", "≤ 1.0 s", imported <= 1),
        Row("memory of the idle gateway", f"{memory:.0f} MB", "", "≤ 250 MB", memory <= 250),
    ]


def _reading(what: str, seconds: float, reach: float) -> Row:
    ok = seconds <= reach
    return Row(what, f"{seconds * 1000:.1f} ms", "", f"≤ {reach * 1000:.0f} ms", ok)


def _source(gateway: Gateway, name: str, kind: str, config: dict[str, Any]) -> str:
    made = gateway.post("/airbyte/datasource", {"name": name, "type": kind, "config": config})
    return str(made["id"])


def _ingestion(gateway: Gateway, name: str, source: str) -> str:
    sink = gateway.post("/airbyte/sink", {"name": name, "type": "s3"})["id"]
    body = {"name": name, "sourceId": source, "destinationId": sink}
    return str(gateway.post("/airbyte/ingestion", body)["connectionId"])


def _sync(gateway: Gateway, ingestion: str) -> float:
    started = time.perf_counter()
    run = gateway.post(f"/airbyte/ingestion/{ingestion}/sync", wait_seconds=300)
    _require_success(gateway, run["run_id"])
    return time.perf_counter() - started


def _spark(gateway: Gateway, sql: str, table: str) -> None:
    body = {"sql": sql, "destination_table": table}
    run = gateway.post("/spark/transform", body, wait_seconds=120)
    _require_success(gateway, run["run_id"])


def _require_success(gateway: Gateway, run_id: str) -> None:
    run = gateway.get(f"/runs/{run_id}")
    if run["state"] != "succeeded":
        raise RuntimeError(f"run {run_id} ended {run['state']}: {run['failure']}")


def median(times: int, work: Callable[[], object]) -> float:
    """Median wall seconds of `times` calls, after one that is not counted."""
    work()
    measured: list[float] = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        measured.append(time.perf_counter() - started)
    return statistics.median(measured)
