"""Every change is recorded: at once over HTTP, after a kill -9, and in Iceberg for SQL engines."""

import asyncio
import json
from datetime import UTC, datetime

import httpx
import pytest

from app.audit import trail as trails
from app.audit.record import AuditOutcome, AuditRecord, ids_in
from app.audit.trail import PREFIX, AuditTrail
from app.config import AuthMode
from app.errors import EngineUnreachable
from tests.harnesses.gateway import bearer, gateway_harness, key_of, write_keys
from tests.live_gateway import live_gateway

PRODUCT = {
    "name": "Audited",
    "description": "d",
    "data_product_type": "CUSTOM",
    "owner": "o",
    "update_frequency": "daily",
    "sql_query": "SELECT 1 AS x",
}


@pytest.fixture(scope="module")
async def closed(lakehouse, tmp_path_factory):
    admin, reader = key_of("admin", name="root"), key_of("runs:read", name="reader")
    file = tmp_path_factory.mktemp("audit") / "keys.json"
    write_keys(file, admin[1], reader[1])
    async with gateway_harness(
        lakehouse.settings,
        auth_mode=AuthMode.API_KEY,
        auth_keys_file=file,
        trusted_proxies=("127.0.0.1",),
    ) as closed:
        closed.client.headers["X-Forwarded-For"] = "198.51.100.7"
        yield closed, admin[0], reader[0]


def record(**more) -> AuditRecord:
    fields = {
        "subject": "me",
        "method": "POST",
        "path": "/api/v1/x",
        "address": "192.0.2.1",
        "status": 201,
        "outcome": AuditOutcome.DONE,
        "request_id": "r",
    }
    return AuditRecord(**(fields | more))


async def stored(lakehouse) -> dict[str, AuditRecord]:
    found = {}
    for info in await lakehouse.store.list(PREFIX):
        held = await lakehouse.store.get(info.key)
        if held is not None:
            item = AuditRecord.model_validate_json(held.body)
            found[item.id] = item
    return found


async def in_iceberg(lakehouse) -> list[dict]:
    def read(catalog):
        return catalog.load_table(("asgard", "audit")).scan().to_arrow().to_pylist()

    return await lakehouse.catalog.run(read)


async def test_a_record_of_a_change_has_caller_action_time_address_and_outcome(closed, lakehouse):
    gateway, admin, _ = closed
    sent = {**bearer(admin), "X-Request-Id": "audited-1"}
    made = await gateway.client.post("/api/v1/data-products", json=PRODUCT, headers=sent)
    product = made.json()["id"]
    # It is an object first: the batch has not been written yet.
    objects = [item for item in (await stored(lakehouse)).values() if item.resource_id == product]
    assert [item.request_id for item in objects] == ["audited-1"]
    run = await gateway.client.post(f"/api/v1/data-products/{product}/run", headers=bearer(admin))
    bad = await gateway.client.put(
        f"/api/v1/data-products/{product}", json={"owner": 5}, headers=bearer(admin)
    )
    gone = await gateway.client.delete(f"/api/v1/data-products/{product}", headers=bearer(admin))
    assert (run.status_code, bad.status_code, gone.status_code) == (200, 422, 204)
    url = f"/api/v1/audit?resource_id={product}"
    page = (await gateway.client.get(url, headers=bearer(admin))).json()
    told = [
        (item["method"], item["path"].replace(product, "ID"), item["status"], item["outcome"])
        for item in page["records"]
    ]
    assert told == [
        ("DELETE", "/api/v1/data-products/ID", 204, "done"),
        ("PUT", "/api/v1/data-products/ID", 422, "failed"),
        ("POST", "/api/v1/data-products/ID/run", 200, "done"),
        ("POST", "/api/v1/data-products", 201, "done"),
    ]
    assert page["records"][2]["run_id"] == run.json()["run"]["run_id"]
    assert {item["subject"].split(":")[2] for item in page["records"]} == {"root"}
    assert {item["address"] for item in page["records"]} == {"198.51.100.7"}
    assert page["records"][0]["at"].endswith("Z")


async def test_an_invented_method_is_recorded_short(closed):
    gateway, admin, _ = closed
    sent = {**bearer(admin), "X-Request-Id": "invented"}
    answer = await gateway.client.request("X" * 5000, "/api/v1/runs", headers=sent)
    assert answer.status_code == 405
    page = (await gateway.client.get("/api/v1/audit", headers=bearer(admin))).json()
    [record] = [item for item in page["records"] if item["request_id"] == "invented"]
    assert record["method"] == "X" * 20


async def test_requests_that_change_nothing_are_not_recorded(closed):
    gateway, admin, _ = closed
    sent = {**bearer(admin), "X-Request-Id": "read-only"}
    sql = {"sql_query": "SELECT 1 AS x"}
    assert (await gateway.client.get("/api/v1/runs", headers=sent)).status_code == 200
    answer = await gateway.client.post("/api/v1/dbt/validate-sql", json=sql, headers=sent)
    assert answer.json()["is_valid"] is True
    assert "read-only" not in {item.request_id for item in await gateway.audit.all()}


async def test_refusals_are_counted_and_bounded(closed):
    gateway, _, reader = closed
    begun = datetime.now(UTC)
    for _ in range(5):
        refused = await gateway.client.post("/api/v1/dbt/transform", headers=bearer(reader))
        assert refused.status_code == 403
    for number in range(60):
        address = {"X-Forwarded-For": f"203.0.113.{number}"}
        assert (await gateway.client.post("/api/v1/runs/x", headers=address)).status_code == 401
        large = {**address, "Content-Length": "99999999"}
        assert (await gateway.client.post("/api/v1/runs/x", headers=large)).status_code == 413
    refusals = [
        item
        for item in await gateway.audit.all()
        if item.outcome is AuditOutcome.REFUSED and item.at >= begun
    ]
    by_reader = [item for item in refusals if item.subject.endswith(":reader")]
    assert {item.status for item in by_reader} == {403}
    assert sum(item.count for item in by_reader) == 5
    for status in (401, 413):
        assert sum(item.count for item in refusals if item.status == status) == 60
    # A minute may have ended in between.
    assert len(refusals) <= 2 * trails.MOST_REFUSALS


async def test_a_page_continues_where_the_previous_one_ended(closed):
    gateway, admin, _ = closed
    seen: list[str] = []
    cursor = None
    while True:
        params = {"page_size": 2} | ({"cursor": cursor} if cursor else {})
        answer = await gateway.client.get("/api/v1/audit", params=params, headers=bearer(admin))
        page = answer.json()
        seen += [item["id"] for item in page["records"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == page["total_count"] > 4
    bad = await gateway.client.get("/api/v1/audit?cursor=x", headers=bearer(admin))
    assert bad.status_code == 400


async def test_records_of_a_killed_replica_are_taken_over_once(lakehouse, monkeypatch):
    monkeypatch.setattr(trails, "BATCHING", 0.0)
    left = record(path="/api/v1/left")
    appended = record(path="/api/v1/appended")
    first = AuditTrail(lakehouse.store, lakehouse.catalog)
    await first.keep(appended)
    await first.close()
    # One was killed between its commit and the removal of the object, the other before its commit.
    for item in (left, appended):
        body = item.model_dump_json().encode()
        await lakehouse.store.put(f"{PREFIX}{item.id}.json", body)
    second = AuditTrail(lakehouse.store, lakehouse.catalog)
    second.open()
    async with asyncio.timeout(30):
        while {left.id, appended.id} & (await stored(lakehouse)).keys():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await second.close()
    rows = [row["id"] for row in await in_iceberg(lakehouse)]
    assert (rows.count(left.id), rows.count(appended.id)) == (1, 1)


async def test_sql_engines_find_the_fields_in_columns(lakehouse):
    trail = AuditTrail(lakehouse.store, lakehouse.catalog)
    item = record(run_id="0123456789ab", resource_id="thing")
    await trail.keep(item)
    assert item.id in await stored(lakehouse)
    await trail.close()
    (row,) = [row for row in await in_iceberg(lakehouse) if row["id"] == item.id]
    assert (row["created_by"], row["status"], row["run_id"]) == ("me", "201", "0123456789ab")
    assert row["created_at"] == item.at
    assert json.loads(row["doc"])["resource_id"] == "thing"
    assert item.id not in await stored(lakehouse)


async def test_records_that_arrive_during_a_commit_do_not_keep_the_loop_busy(
    lakehouse, monkeypatch
):
    monkeypatch.setattr(trails, "BATCHING", 0.0)
    monkeypatch.setattr(trails, "SWEPT_EVERY", 2.0)
    trail = AuditTrail(lakehouse.store, lakehouse.catalog)
    trail.open()
    items = [record() for _ in range(40)]
    loop, slowest = asyncio.get_running_loop(), 0.0
    for item in items:
        await trail.keep(item)
    async with asyncio.timeout(30):
        while {item.id for item in items} & (await stored(lakehouse)).keys():
            asked_at = loop.time()
            await asyncio.sleep(0.01)
            slowest = max(slowest, loop.time() - asked_at)
    for _ in range(20):
        asked_at = loop.time()
        await asyncio.sleep(0.01)
        slowest = max(slowest, loop.time() - asked_at)
    await trail.close()
    assert slowest < 0.8


class AwayCatalog:
    async def run(self, _):
        raise EngineUnreachable("the catalog is away", dependency="catalog")


async def test_without_the_catalog_nothing_waits_and_nothing_is_lost(lakehouse):
    trail = AuditTrail(lakehouse.store, AwayCatalog())  # type: ignore[arg-type]
    trail.open()
    item = record()
    async with asyncio.timeout(trails.WRITE_TIMEOUT):
        await trail.keep(item)
    with pytest.raises(EngineUnreachable):
        await trail.all()
    await trail.close()
    assert item.id in await stored(lakehouse)


@pytest.mark.parametrize(
    ("answer", "path", "found"),
    [
        ({"run_id": "r", "id": "x"}, {}, {"run_id": "r", "resource_id": "x"}),
        ({"id": "p", "run": {"run_id": "r"}}, {}, {"run_id": "r", "resource_id": "p"}),
        (
            {"id": "r", "run_id": "r"},
            {"ingestion_id": "i"},
            {"run_id": "r", "resource_id": "i"},
        ),
        (None, {"source_id": "s"}, {"resource_id": "s"}),
        ([1], {"run_id": "r"}, {"run_id": "r"}),
        ({"run": "text", "id": 5}, {}, {}),
        (None, {"run_id": "r" * 60_000}, {"run_id": "r" * 100}),
    ],
)
def test_ids_are_read_from_responses(answer, path, found):
    assert ids_in(answer, path) == found


async def test_a_killed_gateway_has_recorded_what_it_answered(tmp_path):
    with live_gateway(tmp_path / "home") as live:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
            sent = {"X-Request-Id": "before-the-kill"}
            made = await client.post("/api/v1/data-products", json=PRODUCT, headers=sent)
        assert made.status_code == 201
        live.process.kill()
        live.process.wait()
    found: list[dict] = []
    with live_gateway(tmp_path / "home") as live:
        async with httpx.AsyncClient(base_url=live.url) as client, asyncio.timeout(30):
            while not found:
                records = (await client.get("/api/v1/audit")).json()["records"]
                found = [item for item in records if item["request_id"] == "before-the-kill"]
    assert [(item["resource_id"], item["subject"]) for item in found] == [
        (made.json()["id"], "anonymous")
    ]
