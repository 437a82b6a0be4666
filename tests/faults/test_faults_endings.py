"""Gateways that end on request, and requests that are repeated after a gateway was killed."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.fault_feeding import all_runs, ended_runs, hold_to_truth
from tests.faults.fault_gateway import Gateway, running
from tests.faults.fault_kinds import BASE, IDS, make_base
from tests.faults.fault_lake import LakeView

pytestmark = pytest.mark.timeout(600)

ROUNDS = int(os.environ.get("ASGARD_FAULT_REPLAYS", "1"))
CREATE_SECONDS = 0.6
"""Seconds that a create takes, roughly. A kill may come before, during and after."""
END_SECONDS = 15.0


def _creates(number: int) -> list[tuple[str, dict[str, Any], str]]:
    """Return path, body, and the member of the response that is the id."""
    product = {
        "name": f"replayed {number}",
        "description": "asked for twice",
        "data_product_type": "CUSTOM",
        "owner": "tests",
        "consumers": [],
        "update_frequency": "daily",
        "tags": [],
        "sql_query": f"SELECT id FROM {BASE}",
        "metadata": {},
    }
    table = {"name": f"replayed_{number}", "sql_query": f"SELECT {number} AS n, id FROM {BASE}"}
    return [
        ("/data-products", product, "id"),
        ("/airbyte/sink", {"name": f"sink {number}", "type": "s3"}, "id"),
        ("/dbt/transform", table, "run_id"),
        ("/spark/transform", {"sql": f"SELECT id FROM {BASE}"}, "run_id"),
    ]


async def _ask(gateway: Gateway, number: int) -> list[httpx.Response | Exception]:
    return await asyncio.gather(
        *(
            gateway.api.post(
                path,
                json=body,
                headers={"Idempotency-Key": f"{path}-{number}", "Prefer": "respond-async"},
            )
            for path, body, _ in _creates(number)
        ),
        return_exceptions=True,
    )


async def test_requests_repeated_after_kill_9_are_done_once_and_a_gateway_ends_on_request(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("ASGARD_FAULT_SEED", random.randrange(10**6)))
    print(f"ASGARD_FAULT_SEED={seed}")
    chance = random.Random(seed)
    gateway = Gateway(tmp_path / "home")
    async with running(gateway):
        await make_base(gateway)
        for number in range(ROUNDS):
            await _replays(gateway, number, chance.uniform(0, CREATE_SECONDS))
        await _graceful(gateway, signal.SIGTERM)
        await _graceful(gateway, signal.SIGINT)
        await hold_to_truth(gateway, [], LakeView(gateway.home))


async def _replays(gateway: Gateway, number: int, moment: float) -> None:
    asking = asyncio.create_task(_ask(gateway, number))
    await asyncio.sleep(moment)
    await gateway.kill()
    first = await asking
    await gateway.start()
    second = await _ask(gateway, number)
    third = await _ask(gateway, number)
    for (path, _, member), *answers in zip(_creates(number), first, second, third, strict=True):
        before, again, last = answers
        assert isinstance(again, httpx.Response), again
        assert isinstance(last, httpx.Response), last
        assert again.status_code in {200, 201, 202}, f"{path}: {again.text}"
        assert again.json()[member] == last.json()[member], path
        assert last.headers["idempotency-replayed"] == "true"
        if isinstance(before, httpx.Response):
            assert before.json()[member] == again.json()[member], path
            assert again.headers["idempotency-replayed"] == "true"
        else:
            assert isinstance(before, httpx.TransportError), before
    answered = [isinstance(answer, httpx.Response) for answer in first]
    print(f"killed after {moment:.2f} s, when {sum(answered)} of {len(answered)} were answered")
    products = (await gateway.api.get("/data-products", params={"page_size": 100})).json()
    named = [p for p in products["data_products"] if p["name"] == f"replayed {number}"]
    assert len(named) == 1
    sinks = (await gateway.api.get("/airbyte/sink")).json()["destinations"]
    assert [s["name"] for s in sinks].count(f"sink {number}") == 1
    for target in (f"gold.replayed_{number}",):
        assert len(await ended_runs(gateway, target=target)) == 1


async def _graceful(gateway: Gateway, number: signal.Signals) -> None:
    """End the gateway with a running run that a caller waits for, and one queued behind it."""
    name = f"until_{number.name.lower()}"

    async def ask(n: int, seconds: int) -> httpx.Response:
        body = {"name": name, "sql_query": f"SELECT {n} AS n, id FROM {BASE}"}
        return await gateway.api.post("/dbt/transform", params={"wait_seconds": seconds}, json=body)

    queued = [await ask(n, 0) for n in range(3)]
    waiting = asyncio.create_task(ask(3, 60))
    target = f"gold.{name}"
    while len(await all_runs(gateway, target=target)) <= len(queued):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    started = time.monotonic()
    code = await gateway.end(number, END_SECONDS)
    took = time.monotonic() - started
    answer = (await waiting).status_code
    print(f"{number.name}: exit code {code} after {took:.1f} s; who waited got {answer}")
    assert code in {0, -number, 128 + number}, gateway.log_tail()
    assert answer in {200, 202}
    assert "Traceback" not in gateway.log_tail(), gateway.log_tail()
    await gateway.start()
    runs = await ended_runs(gateway, target=f"gold.{name}")
    assert {answer.json()["run_id"] for answer in queued} <= {run["run_id"] for run in runs}
    for run in runs:
        assert run["state"] == "succeeded" or run["failure"]["cause"] == "lost", run
    lake = LakeView(gateway.home)
    succeeded = sorted(
        (run for run in runs if run["state"] == "succeeded"), key=lambda run: run["started_at"]
    )
    snapshots = await asyncio.to_thread(lake.run_ids, f"gold.{name}")
    assert snapshots == [run["run_id"] for run in succeeded]
    rows = await asyncio.to_thread(lake.rows, f"gold.{name}")
    assert sorted(row["id"] for row in rows) == list(IDS)
