"""Two gateways on one ASGARD_HOME: nothing is lost or doubled, and a target has one run at a
time."""

import asyncio
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.fault_feeding import ended_runs
from tests.faults.fault_gateway import Gateway, problem, running
from tests.faults.fault_kinds import BASE, IDS, make_base
from tests.faults.fault_lake import LakeView

pytestmark = pytest.mark.timeout(600)

NAMES = 50
SPELLINGS = ("Fault {n}", "fault {n}", "FAULT_{n}", "fault-{n}")
"""Spellings of one table name, of which only one can be a data product."""
RUNS = 50
TARGET = "gold.contended"
TAKEOVER_SECONDS = 15.0
ANSWER_SECONDS = 11.0


async def test_two_gateways_share_one_lakehouse(tmp_path: Path) -> None:
    one, two = Gateway(tmp_path / "home"), Gateway(tmp_path / "home")
    async with running(one, two):
        assert len(one.children("lakehouse")) == 1
        assert two.children("lakehouse") == []
        await make_base(one)
        await _colliding_creates(one, two)
        await _runs_of_one_target(one, two)
        await _takeover(one, two)


def _product(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": "one of many",
        "data_product_type": "CUSTOM",
        "owner": "tests",
        "consumers": [],
        "update_frequency": "daily",
        "tags": [],
        "sql_query": f"SELECT id FROM {BASE}",
        "metadata": {},
    }


async def _colliding_creates(one: Gateway, two: Gateway) -> None:
    """Create all four spellings of each of 50 names at once, half of them at each gateway."""
    started = time.monotonic()
    names = [spelling.format(n=n) for n in range(NAMES) for spelling in SPELLINGS]
    answers = await asyncio.gather(
        *(
            (one, two)[number % 2].api.post("/data-products", json=_product(name))
            for number, name in enumerate(names)
        )
    )
    took = time.monotonic() - started
    print(f"{len(names)} creates in {took:.1f} s: {Counter(a.status_code for a in answers)}")
    created = {a.json()["id"]: a.json()["table_name"] for a in answers if a.status_code == 201}
    assert sorted(created.values()) == sorted(f"dp_fault_{n}" for n in range(NAMES))
    for answer in answers:
        if answer.status_code != 201:
            assert answer.status_code == 409, answer.text
            assert problem(answer)["conflicting_id"] in created
    for gateway in (one, two):
        tables = {}
        for page in (1, 2):
            params = {"page": page, "page_size": NAMES // 2}
            listed = (await gateway.api.get("/data-products", params=params)).json()
            assert listed["total_count"] == NAMES
            tables |= {p["id"]: p["table_name"] for p in listed["data_products"]}
        assert tables == created


async def _runs_of_one_target(one: Gateway, two: Gateway) -> None:
    """Start runs with different SQL, so that none joins another."""
    started = time.monotonic()

    async def transform(number: int) -> str:
        body = {"name": "contended", "sql_query": f"SELECT {number} AS number, id FROM {BASE}"}
        answer = await (one, two)[number % 2].api.post(
            "/dbt/transform", params={"wait_seconds": 0}, json=body
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["run_id"])

    run_ids = await asyncio.gather(*(transform(number) for number in range(RUNS)))
    assert len(set(run_ids)) == RUNS
    runs = await ended_runs(one, target=TARGET)
    print(f"{RUNS} runs of one target in {time.monotonic() - started:.1f} s")
    assert {run["run_id"] for run in runs} == set(run_ids)
    assert {run["state"] for run in runs} == {"succeeded"}, runs
    in_order = sorted(runs, key=lambda run: run["started_at"])
    for earlier, later in pairwise(in_order):
        assert earlier["finished_at"] <= later["started_at"]
    lake = LakeView(one.home)
    assert await asyncio.to_thread(lake.run_ids, TARGET) == [run["run_id"] for run in in_order]
    number = run_ids.index(in_order[-1]["run_id"])
    rows = await asyncio.to_thread(lake.rows, TARGET)
    assert sorted((row["number"], row["id"]) for row in rows) == [(number, n) for n in IDS]


async def _takeover(one: Gateway, two: Gateway) -> None:
    """Kill the owner of SeaweedFS: the other gateway returns 503 for a moment, then continues."""
    before = (await two.api.get("/data-products")).json()["total_count"]
    await one.kill()
    killed = time.monotonic()
    refused = 0
    while (answer := await _timed(two, "GET", "/data-products")).status_code != 200:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 0
        assert problem(answer)["detail"]
        refused += 1
        assert time.monotonic() - killed < TAKEOVER_SECONDS
        await asyncio.sleep(0.05)
    print(f"taken over in {time.monotonic() - killed:.1f} s, after {refused} answers 503")
    assert answer.json()["total_count"] == before
    assert len(two.children("lakehouse")) == 1
    created = await two.api.post("/data-products", json=_product("after the takeover"))
    assert created.status_code == 201, created.text
    await one.start()
    assert one.children("lakehouse") == []
    again = await one.api.get(f"/data-products/{created.json()['id']}")
    assert again.json()["name"] == "after the takeover"


async def _timed(gateway: Gateway, method: str, path: str) -> httpx.Response:
    started = time.monotonic()
    answer = await gateway.api.request(method, path)
    assert time.monotonic() - started < ANSWER_SECONDS, path
    return answer
