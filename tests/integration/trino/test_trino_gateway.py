"""Whole gateways run on Trino and Nessie, as an operator starts them."""

import asyncio
import csv
import io
import os
import signal
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rich.console import Console

from app.config import Settings
from app.demo.client import Client
from app.demo.data import raw_data
from app.demo.story import Story
from tests.documents import blocks
from tests.integration.servers.nessie import Nessie
from tests.integration.servers.trino import Trino
from tests.live_gateway import LiveGateway, live_gateway
from tests.otlp_collector import Collector, Span, collector
from tests.scrapes import counted

SCRIPT = Path(__file__).parents[3] / "script" / "create-schemas.sh"


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives these settings."""
    lake = "s3_bucket s3_endpoint aws_access_key_id nessie_uri nessie_records_ref"
    names = [*lake.split(), "trino_host", "trino_port"]
    values = {name.upper(): str(getattr(settings, name)) for name in names}
    assert settings.aws_secret_access_key is not None
    return {
        **values,
        "AWS_SECRET_ACCESS_KEY": settings.aws_secret_access_key.get_secret_value(),
        "ASGARD_EMBEDDED": "ingestion,spark",
        "INGESTION_ALLOWED_DIRS": str(raw_data()),
    }


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as spans:
        yield spans


@pytest.fixture(scope="module")
def gateways(
    production: Settings, tmp_path_factory: pytest.TempPathFactory, traces: Collector
) -> Iterator[tuple[LiveGateway, LiveGateway]]:
    """Start two gateways that share only the lake."""
    one, two = (tmp_path_factory.mktemp("gateway") for _ in range(2))
    shared = {
        **environment(production),
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with (
        live_gateway(one, **shared, DBT_PROJECT_DIR=str(one / "dbt")) as first,
        live_gateway(two, **shared, DBT_PROJECT_DIR=str(two / "dbt")) as second,
    ):
        yield first, second


def product(name: str) -> dict[str, object]:
    return {
        "name": name,
        "description": "x",
        "data_product_type": "CUSTOM",
        "owner": "me",
        "update_frequency": "daily",
        "sql_query": "SELECT 1 AS a",
    }


async def test_none_of_200_colliding_creates_on_two_gateways_is_lost_or_duplicated(
    gateways: tuple[LiveGateway, LiveGateway],
) -> None:
    mark = uuid4().hex[:8]
    names = [f"Collision {mark} {number}" for number in range(100)]
    async with httpx.AsyncClient(timeout=180, limits=httpx.Limits(max_connections=200)) as http:

        async def create(gateway: LiveGateway, name: str) -> int:
            answer = await http.post(f"{gateway.url}/api/v1/data-products", json=product(name))
            if answer.status_code == 503:  # too busy: asked to retry, and nothing was created
                await asyncio.sleep(float(answer.headers["retry-after"]))
                return await create(gateway, name)
            return answer.status_code

        answers = await asyncio.gather(*(create(g, name) for name in names for g in gateways))
        assert Counter(answers) == {201: 100, 409: 100}
        for gateway in gateways:
            existing = await listed(http, gateway, mark)
            assert sorted(existing) == sorted(names)


async def listed(http: httpx.AsyncClient, gateway: LiveGateway, mark: str) -> list[str]:
    url = f"{gateway.url}/api/v1/data-products"
    answer = await http.get(url, params={"search": mark, "page_size": 100})
    return [item["name"] for item in answer.json()["data_products"]]


def test_records_go_back_to_a_tag_by_the_commands_of_the_document(
    production: Settings, nessie: Nessie, tmp_path: Path
) -> None:
    nessie.create_branch("kept")
    environ = {**environment(production), "NESSIE_RECORDS_REF": "kept"}
    tag, back = (
        block.commands
        for block in blocks("docs/operations.md", "console")
        if "$nessie/trees" in block.commands
    )
    address, *rest = tag.splitlines(keepends=True)
    assert address.startswith("nessie=")

    def names(gateway: LiveGateway) -> set[str]:
        answer = httpx.get(f"{gateway.url}/api/v1/data-products", timeout=60)
        return {item["name"] for item in answer.json()["data_products"]}

    def create(gateway: LiveGateway, name: str) -> None:
        answer = httpx.post(f"{gateway.url}/api/v1/data-products", json=product(name), timeout=60)
        assert answer.status_code == 201, answer.text

    def do(*commands: str) -> None:
        script = "".join([f"nessie={nessie.uri.replace('v1', 'v2')}\n", *commands])
        script = script.replace("trees/records", "trees/kept")
        script = script.replace("reference records", "reference kept")
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)

    before = uuid4().hex
    with live_gateway(tmp_path / "one", **environ, DBT_PROJECT_DIR=str(tmp_path / "d1")) as one:
        create(one, f"before {before}")
        do(*rest)
        create(one, f"after {before}")
        assert names(one) >= {f"before {before}", f"after {before}"}
    do(rest[0], back)
    with live_gateway(tmp_path / "two", **environ, DBT_PROJECT_DIR=str(tmp_path / "d2")) as two:
        assert f"before {before}" in names(two)
        assert f"after {before}" not in names(two)


def test_the_demo_carries_its_data_from_bronze_to_a_product(
    gateways: tuple[LiveGateway, LiveGateway], trino: Trino
) -> None:
    with Path(os.devnull).open("w") as nowhere:
        client = Client(gateways[0].url, Console(file=nowhere))
        story = Story(client, raw_data())
        try:
            story.run()
        finally:
            client.close()
    raw = punctuality()
    built = trino.execute(
        "SELECT carrier, flights, punctual FROM iceberg.gold.carrier_delays ORDER BY carrier"
    )
    assert {carrier: (flights, punctual) for carrier, flights, punctual in built} == raw
    (rows,) = trino.execute("SELECT count(*) FROM iceberg.gold.dp_carrier_punctuality_360")
    assert rows == [len(raw)]
    assert story.facts["product"]["run rows"] == len(raw)


def punctuality() -> dict[str, tuple[int, int]]:
    """Return each carrier's flights and those at most 15 minutes late, from the raw file."""
    totals: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(raw_data() / "flights.csv.zip") as archive:
        text = archive.read("flights.csv").decode()
    for row in csv.DictReader(io.StringIO(text)):
        flights, punctual = totals.get(row["carrier"], (0, 0))
        late = row["arr_delay"] == "NA" or int(row["arr_delay"]) > 15
        totals[row["carrier"]] = (flights + 1, punctual + (not late))
    return totals


def test_readiness_names_trino(gateways: tuple[LiveGateway, LiveGateway]) -> None:
    report = httpx.get(f"{gateways[0].url}/health/ready", timeout=10).json()
    assert report["status"] == "ready"
    assert {name: item["status"] for name, item in report["dependencies"].items()} == {
        "s3": "ok",
        "catalog": "ok",
        "trino": "ok",
    }
    text = httpx.get(f"{gateways[0].url}/metrics", timeout=10).text
    calls = counted(text, "asgard_engine_calls_total", "engine", "operation", "outcome")
    assert calls["trino", "info", "ok"] >= 1


def test_every_statement_of_a_run_is_counted_and_in_its_trace(
    gateways: tuple[LiveGateway, LiveGateway], trino: Trino, traces: Collector
) -> None:
    """Compare dbt's statements and the gateway's own with Trino's list of queries."""
    name, url = f"counted_{uuid4().hex[:8]}", gateways[0].url

    def calls() -> Counter[tuple[str, ...]]:
        text = httpx.get(f"{url}/metrics", timeout=30).text
        counts = counted(text, "asgard_engine_calls_total", "engine", "operation", "outcome")
        return Counter({call: number for call, number in counts.items() if call[0] == "trino"})

    def transform(sql: str) -> tuple[dict[str, Any], list[Span]]:
        answer = httpx.post(
            f"{url}/api/v1/dbt/transform",
            json={
                "name": name,
                "sql_query": sql,
                "materialization": "incremental",
                "incremental_strategy": "merge",
                "unique_key": ["k"],
            },
            timeout=120,
        )
        trace = answer.headers["traceresponse"].split("-")[1]
        _until(lambda: any(span.name.startswith("POST") for span in traces.of(trace)))
        return answer.json(), traces.of(trace)

    bad = "SELECT 1 / (k - k) AS k FROM (VALUES (1), (2)) AS t(k)"
    for sql, status, outcome, by_gateway in (
        ("SELECT 1 AS k", "completed", "ok", 2),  # the check of the keys and the table
        ("SELECT 2 AS k", "completed", "ok", 2),  # the check of the keys and the merge
        (bad, "failed", "refused", 0),
    ):
        before = calls()
        done, spans = transform(sql)
        assert done["status"] == status, done
        assert calls() - before == {
            ("trino", "ask", "ok"): 1,
            ("trino", "query", outcome): 1 + by_gateway,
        }
        assert len(_states(trino, done["run_id"])) == 1 + by_gateway
        [query] = [span for span in spans if span.name == "trino ask"]
        assert query.resource["process.pid"] == gateways[0].process.pid
        queries = sorted((s for s in spans if s.name == "trino query"), key=lambda s: s.start)
        assert [span.failed for span in queries] == [outcome == "failed"] + [False] * by_gateway
        [run] = [span for span in spans if span.name == "run dbt"]
        [model] = [span for span in spans if span.name == "dbt build"]
        assert [query.parent for query in queries] == [model.id] + [run.id] * by_gateway
        for query in queries:
            assert query.attributes["asgard.operation"] == "query"
            assert query.resource["process.pid"] == gateways[0].process.pid


def test_a_run_of_a_gateway_killed_in_a_ctas_is_ended_by_the_other_gateway(
    gateways: tuple[LiveGateway, LiveGateway],
    production: Settings,
    tmp_path: Path,
    trino: Trino,
) -> None:
    name = f"killed_{uuid4().hex[:8]}"
    sql = (
        "SELECT count(*) AS n FROM silver.flights a, silver.flights b, silver.flights c "
        "WHERE a.flight + b.flight + c.flight < 0"
    )
    body = {"name": name, "sql_query": sql}
    shared = environment(production)
    with live_gateway(tmp_path, **shared, DBT_PROJECT_DIR=str(tmp_path / "dbt")) as third:
        url = f"{third.url}/api/v1/dbt/transform?wait_seconds=0"
        run_id = httpx.post(url, json=body, timeout=60).json()["run_id"]
        runs = f"{gateways[0].url}/api/v1/runs/{run_id}"
        _until(lambda: _states(trino, run_id) == ["RUNNING"])
        third.process.send_signal(signal.SIGKILL)
        third.process.wait()
    _until(lambda: httpx.get(runs, timeout=30).json()["state"] in ("failed", "succeeded"), 180)
    ended = httpx.get(runs, timeout=30).json()
    assert (ended["state"], ended["failure"]["cause"]) == ("failed", "lost")
    assert _states(trino, run_id) == ["FAILED"]


@pytest.mark.parametrize(("strategy", "verb"), [("merge", "MERGE"), ("append", "INSERT")])
def test_a_gateway_killed_in_an_increment_duplicates_and_loses_no_row(
    gateways: tuple[LiveGateway, LiveGateway],
    production: Settings,
    tmp_path: Path,
    trino: Trino,
    strategy: str,
    verb: str,
) -> None:
    name = f"killed_{uuid4().hex[:8]}"
    body = {
        "name": name,
        "sql_query": "SELECT row_number() OVER () AS k, carrier FROM silver.flights",
        "materialization": "incremental",
        "incremental_strategy": strategy,
        "unique_key": ["k"] if strategy == "merge" else None,
    }
    first = httpx.post(f"{gateways[0].url}/api/v1/dbt/transform", json=body, timeout=120).json()
    assert first["status"] == "completed", first
    rows = first["row_count"]
    shared = environment(production)
    with live_gateway(tmp_path, **shared, DBT_PROJECT_DIR=str(tmp_path / "dbt")) as third:
        url = f"{third.url}/api/v1/dbt/transform?wait_seconds=0"
        run_id = httpx.post(url, json=body, timeout=60).json()["run_id"]
        runs = f"{gateways[0].url}/api/v1/runs/{run_id}"
        _until(lambda: bool(_states(trino, run_id, verb)))
        third.process.send_signal(signal.SIGKILL)
        third.process.wait()
    _until(lambda: httpx.get(runs, timeout=30).json()["state"] in ("failed", "succeeded"), 180)
    state = httpx.get(runs, timeout=30).json()["state"]
    grown = rows * 2 if strategy == "append" and state == "succeeded" else rows
    (counts,) = trino.execute(f"SELECT count(*), count(DISTINCT k) FROM iceberg.gold.{name}")
    assert counts == [grown, rows], state
    assert not trino.execute(f"SHOW TABLES FROM iceberg.asgard_staging LIKE 'run_{run_id}'")


def test_the_script_creates_the_schemas(production: Settings, trino: Trino) -> None:
    names = {"SILVER_SCHEMA": "scripted_silver", "GOLD_SCHEMA": "scripted_gold"}
    done = subprocess.run(
        [SCRIPT], env={**os.environ, **environment(production), **names}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    schemas = {row[0] for row in trino.execute("SHOW SCHEMAS FROM iceberg")}
    assert set(names.values()) <= schemas


def _states(trino: Trino, run_id: str, verb: str = "") -> list[str]:
    rows = trino.execute(
        "SELECT state FROM system.runtime.queries "
        f"WHERE query LIKE '/* asgard run {run_id} */%{verb}%'"
    )
    return [str(row[0]) for row in rows]


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
