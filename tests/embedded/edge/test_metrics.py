"""The figures of `/metrics` after a known amount of work."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from app.config import AuthMode, Settings
from app.errors import AsgardError
from app.lakehouse.catalog import Catalog
from app.lakehouse.records.table import RecordTable
from app.lakehouse.storage import ObjectStore, PreconditionFailed
from app.telemetry.calls import Telemetry
from app.telemetry.metrics import Metrics
from tests.harnesses.gateway import GatewayHarness, bearer, gateway_harness, key_of, write_keys

if TYPE_CHECKING:
    from pyiceberg.catalog.rest import RestCatalog

    from tests.conftest import Lakehouse

ORDERS = "silver.metric_orders"
CHART = Path(__file__).parents[3] / "helmchart"


class Scrape:
    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        return found


async def scrape(gateway: GatewayHarness) -> Scrape:
    answer = await gateway.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape(answer.text)


async def scraped(gateway: GatewayHarness, condition: Callable[[Scrape], bool]) -> Scrape:
    """Return the first scrape that fulfils the condition."""
    while True:
        current = await scrape(gateway)
        if condition(current):
            return current
        await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayHarness]:
    """A gateway with its own lake, because the work of others would also be counted."""
    rows = pa.table({"id": [1, 2, 3], "note": ["1", "2", "no number"]})

    def make(catalog: "RestCatalog") -> None:
        catalog.create_table(ORDERS, rows.schema).append(rows)

    home = tmp_path_factory.mktemp("metrics")
    async with gateway_harness(Settings(_env_file=None, asgard_home=home)) as opened:
        await opened.app.state.context.catalog.run(make)
        yield opened


def product(name: str, sql: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "Counted",
        "data_product_type": "CUSTOM",
        "owner": "metrics",
        "consumers": ["metrics"],
        "update_frequency": "hourly",
        "sql_query": sql,
    }


async def test_work_is_counted_by_kind_and_outcome(gateway: GatewayHarness) -> None:
    async def post(path: str, json: Any = None) -> Any:
        answer = await gateway.client.post(f"/api/v1/data-products{path}", json=json)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    before = await scrape(gateway)
    good = await post("", product("Counted Good", f"SELECT id FROM {ORDERS}"))
    bad = await post("", product("Counted Bad", f"SELECT cast(note AS integer) n FROM {ORDERS}"))
    assert (await post(f"/{good['id']}/run"))["run"]["state"] == "succeeded"
    assert (await post(f"/{bad['id']}/run"))["run"]["state"] == "failed"
    assert (await gateway.client.get("/api/v1/data-products/none")).status_code == 404
    products = before.sum("asgard_data_products") + 2
    after = await scraped(gateway, lambda now: now.sum("asgard_data_products") >= products)

    def more(name: str, **labels: str) -> float:
        return after.sum(f"asgard_{name}", **labels) - before.sum(f"asgard_{name}", **labels)

    runs = {"kind": "data_product"}
    assert more("runs_total", **runs, state="succeeded", cause="") == 1
    assert more("runs_total", **runs, state="failed", cause="sql_error") == 1
    assert more("runs_total") == more("run_seconds_count", **runs) == 2
    assert 0 < more("run_seconds_sum", **runs) < 120
    assert more("run_rows_written_total", **runs) == 3
    requests = {"route": "/data-products", "method": "POST"}
    assert more("http_requests_total", **requests, status="201") == 2
    assert more("http_request_seconds_count", **requests) == 2
    one = "/data-products/{product_id}"
    assert more("http_requests_total", route=f"{one}/run", status="200") == 2
    assert more("http_requests_total", route=one, status="404") == 1

    def calls(engine: str, operation: str, outcome: str) -> float:
        return more("engine_calls_total", engine=engine, operation=operation, outcome=outcome)

    assert calls("dbt", "build", "ok") == 1
    assert calls("dbt", "build", "refused") == 1
    assert calls("publisher", "publish", "ok") == 1
    assert calls("duckdb", "validate", "ok") == 2
    assert calls("sql-judge", "check_query", "ok") >= 6
    assert more("engine_call_seconds_count", engine="dbt", operation="build") == 2
    assert 0 < more("engine_call_seconds_sum", engine="dbt", operation="build") < 60
    # Each run is an object, created once and changed with every step.
    assert calls("s3", "PutObject", "ok") >= 6
    assert calls("catalog", "GET table", "ok") >= 2
    # The records. A worker creates a table.
    assert calls("catalog", "POST table", "ok") >= 2
    assert more("s3_bytes_total", direction="written") > 2000
    assert more("s3_bytes_total", direction="read") > 500
    assert more("s3_errors_total") == 0
    assert more("data_products", freshness="fresh") == 1
    assert more("data_products", freshness="never_built") == 1
    assert 0 <= after.sum("asgard_data_product_oldest_seconds", update_frequency="hourly") < 600
    assert after.sum("asgard_ready") == 1


async def test_s3_bytes_count_the_gateways_own_requests_and_not_tables(
    gateway: GatewayHarness,
) -> None:
    rows = (
        "SELECT n, to_hex(md5(to_utf8(CAST(n AS varchar)))) AS hash "
        "FROM UNNEST(sequence(1, 9999)) AS t(n)"
    )
    before = await scrape(gateway)
    answer = await gateway.client.post(
        "/api/v1/dbt/transform", json={"name": "metric_bytes", "sql_query": rows}
    )
    assert answer.json()["row_count"] == 9999, answer.text
    after = await scrape(gateway)
    run = (await gateway.client.get(f"/api/v1/runs/{answer.json()['run_id']}")).json()
    written = "asgard_s3_bytes_total"
    moved = after.sum(written, direction="written") - before.sum(written, direction="written")
    archived = await gateway.app.state.context.store.list(
        f"asgard/runs/artifacts/{answer.json()['run_id']}/"
    )
    assert run["output"]["bytes"] > 200_000
    assert sum(found.size for found in archived) < moved
    assert moved - sum(found.size for found in archived) < 50_000


async def test_values_that_a_client_invents_do_not_create_series(gateway: GatewayHarness) -> None:
    async def series() -> set[tuple[str, ...]]:
        # Without calls to engines, because workers that start meanwhile are counted.
        return {
            (sample.name, *sample.labels.values())
            for sample in (await scrape(gateway)).samples
            if not sample.name.startswith("asgard_engine_call")
        }

    async def make_up(number: int) -> None:
        await gateway.client.request(f"MADEUP{number}", "/api/v1/runs")
        await gateway.client.get(f"/api/v1/made-up-{number}")
        await gateway.client.get(f"/api/v1/data-products/made-up-{number}")

    await make_up(0)
    await scrape(gateway)  # which is also a series
    before = await series()
    for number in range(1, 10):
        await make_up(number)
    made_up = await series()
    assert made_up == before
    assert not [labels for labels in made_up if "made" in " ".join(labels).lower()]


async def test_open_runs_are_shown_until_they_end(gateway: GatewayHarness) -> None:
    many = "SELECT id FROM (VALUES " + ", ".join(f"({n})" for n in range(200)) + ") AS t(id)"
    endless = (
        f"WITH many AS ({many}) SELECT count(*) AS n FROM many x, many y, many z, many w "
        "WHERE x.id + y.id + z.id + w.id = -1"
    )
    answer = await gateway.client.post(
        "/api/v1/data-products", json=product("Counted Endless", endless)
    )
    path = f"/api/v1/data-products/{answer.json()['id']}/run"
    started = await gateway.client.post(path, headers={"Prefer": "respond-async"})
    assert started.status_code == 202
    open_now = {"kind": "data_product", "state": "running"}
    await scraped(gateway, lambda now: now.sum("asgard_runs_open", **open_now) == 1)
    run_id = started.json()["run"]["run_id"]
    await gateway.client.post(f"/api/v1/runs/{run_id}/cancel")
    now = await scraped(gateway, lambda now: now.sum("asgard_runs_open") == 0)
    assert now.sum("asgard_runs_total", kind="data_product", state="cancelled") == 1


async def test_alerts_and_dashboard_use_only_series_of_a_scrape(gateway: GatewayHarness) -> None:
    rule = (CHART / "templates" / "prometheusrule.yaml").read_text()
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = set(re.findall(r"\basgard_[a-z0-9_]+\b", " ".join([rule, *panels])))
    assert {"asgard_s3_errors_total", "asgard_runs_total", "asgard_http_requests_total"} <= named
    await fail_at_s3(gateway)
    there = (await scrape(gateway)).labels()
    assert named <= there.keys()
    for expression in panels:
        for name, matchers in re.findall(r"\b(asgard_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=", matchers)) - {"namespace"} <= there[name]
        for grouped in re.findall(r"by \(([^)]*)\) \((?:rate|increase)\((asgard_\w+)", expression):
            assert set(grouped[0].split(", ")) <= there[grouped[1]]


async def fail_at_s3(gateway: GatewayHarness) -> None:
    context = gateway.app.state.context
    metrics = gateway.app.state.metrics
    store = ObjectStore(replace(context.lake.s3, secret_key="wrong"), Telemetry(metrics))
    with pytest.raises(AsgardError):
        await store.get("test/object")
    await store.close()


async def test_only_faults_of_s3_are_errors(lakehouse: "Lakehouse", tmp_path: Path) -> None:
    metrics = Metrics()
    telemetry = Telemetry(metrics)

    def value(name: str, labels: Mapping[str, str]) -> float:
        return metrics.registry.get_sample_value(name, dict(labels)) or 0

    def errors(operation: str, cause: str) -> float:
        return value("asgard_s3_errors_total", {"operation": operation, "cause": cause})

    store = ObjectStore(lakehouse.lake.s3, telemetry)
    await store.put("test/metrics/one", b"x" * 1000)
    assert await store.get("test/metrics/none") is None
    with pytest.raises(PreconditionFailed):
        await store.create("test/metrics/one", b"other")
    assert (await store.get("test/metrics/one")).body == b"x" * 1000  # type: ignore[union-attr]
    (tmp_path / "file").write_bytes(b"x" * 3000)
    await store.upload(tmp_path / "file", "test/metrics/file")
    await store.close()
    calls = {
        outcome: [
            value(
                "asgard_engine_calls_total",
                {"engine": "s3", "operation": operation, "outcome": outcome},
            )
            for operation in ("GetObject", "PutObject")
        ]
        for outcome in ("ok", "refused", "failed")
    }
    assert calls == {"ok": [1, 2], "refused": [1, 1], "failed": [0, 0]}
    assert value("asgard_s3_bytes_total", {"direction": "written"}) == 4005
    assert 1000 <= value("asgard_s3_bytes_total", {"direction": "read"}) < 2500
    assert not next(iter(metrics.s3_errors.collect())).samples

    for broken, cause, times in (
        (replace(lakehouse.lake.s3, secret_key="wrong"), "denied", 1),
        (replace(lakehouse.lake.s3, endpoint="http://127.0.0.1:9"), "unreachable", 2),
    ):
        store = ObjectStore(broken, telemetry)
        with pytest.raises(AsgardError):
            await store.get("test/metrics/one")
        await store.close()
        assert errors("GetObject", cause) == times


class Doc(BaseModel):
    name: str


async def test_a_commit_that_loses_a_race_is_counted(lakehouse: "Lakehouse") -> None:
    metrics, kind = Metrics(), f"counted_{uuid4().hex[:8]}"
    catalogs = [Catalog(lakehouse.lake, Telemetry(metrics)) for _ in range(2)]
    tables = [RecordTable(catalog, kind, Doc) for catalog in catalogs]

    def retries() -> float:
        labels = {"table": "records", "reason": "stale"}
        return metrics.registry.get_sample_value("asgard_commit_retries_total", labels) or 0

    await tables[0].insert("first", Doc(name="first"), "me")
    assert retries() == 0
    for number in range(50):
        await asyncio.gather(
            *(
                table.insert(f"{number} {place}", Doc(name=str(number)), "me")
                for place, table in enumerate(tables)
            )
        )
        if retries():
            break
    assert retries() >= 1
    for catalog in catalogs:
        await catalog.close()


async def test_a_scrape_shows_version_and_memory_but_no_times_of_creation(
    gateway: GatewayHarness,
) -> None:
    now = await scrape(gateway)
    version = (await gateway.client.get("/health")).json()["version"]
    assert now.sum("asgard_build_info", version=version) == 1
    assert now.sum("process_resident_memory_bytes") > 2**20
    assert [sample.name for sample in now.samples if sample.name.endswith("_created")] == []


async def test_metrics_require_their_scope(lakehouse: "Lakehouse", tmp_path: Path) -> None:
    reader, admin = key_of("runs:read"), key_of("admin")
    write_keys(tmp_path / "keys.json", reader[1], admin[1])
    settings = {"auth_mode": AuthMode.API_KEY, "auth_keys_file": tmp_path / "keys.json"}
    async with gateway_harness(lakehouse.settings, **settings) as closed:
        statuses = [
            (await closed.client.get("/metrics", headers=headers)).status_code
            for headers in ({}, bearer(reader[0]), bearer(admin[0]))
        ]
    assert statuses == [401, 403, 200]
