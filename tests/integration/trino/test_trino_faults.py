"""If a server dies or stops answering, runs end with their true outcome, and work continues."""

import asyncio
import time

import pytest

from app.caller import ANONYMOUS
from app.errors import EngineUnreachable
from app.runs.model import RunState
from app.sql.model import GuardedQuery
from tests.harnesses.warehouse import ENDLESS, WarehouseHarness, unique
from tests.integration.servers.nessie import Nessie
from tests.integration.servers.trino import Trino
from tests.patience import until


async def test_a_nessie_that_stops_answering_blocks_nothing(
    harness: WarehouseHarness, nessie: Nessie
) -> None:
    name = unique("silent")
    await harness.built(name, "SELECT 1 AS n")
    run = await harness.start(name, ENDLESS)
    await until(lambda: _has_query(harness, run.run_id))
    nessie.process.pause()
    try:
        started = time.monotonic()
        with pytest.raises(EngineUnreachable):
            await harness.lakehouse.catalog.table(f"gold.{name}")
        assert time.monotonic() - started < 25
        cancel = asyncio.create_task(harness.runs.cancel(run.run_id, ANONYMOUS))
        await asyncio.wait_for(cancel, 25)
    finally:
        nessie.process.go_on()
    ended = await harness.runs.wait(run.run_id, 60)
    assert ended.state is RunState.CANCELLED
    assert await harness.rows(name) == [{"n": 1}]
    await harness.built(name, "SELECT 2 AS n")


async def test_a_killed_trino_fails_the_run_and_the_next_run_succeeds(
    harness: WarehouseHarness, trino: Trino
) -> None:
    name = unique("dead")
    await harness.built(name, "SELECT 1 AS n")
    run = await harness.start(name, ENDLESS)
    await until(lambda: _has_query(harness, run.run_id))
    trino.process.kill()
    ended = await harness.runs.wait(run.run_id, 90)
    assert ended.failure is not None
    assert (ended.failure.cause, ended.failure.retryable) == ("engine_unreachable", True)
    assert unreached(harness, "query") >= 1
    before = unreached(harness, "ask")
    with pytest.raises(EngineUnreachable):
        await harness.engine.validate(GuardedQuery("SELECT 1 AS a", ()))
    assert unreached(harness, "ask") > before
    again = await harness.build(name, "SELECT 2 AS n")
    assert again.failure is not None
    assert again.failure.cause == "engine_unreachable"
    await asyncio.to_thread(trino.start_again)
    assert await harness.rows(name) == [{"n": 1}]
    await harness.built(name, "SELECT 3 AS n")
    assert await harness.rows(name) == [{"n": 3}]


def unreached(harness: WarehouseHarness, operation: str) -> float:
    labels = {"engine": "trino", "operation": operation, "outcome": "unreachable"}
    return harness.metrics.registry.get_sample_value("asgard_engine_calls_total", labels) or 0


async def _has_query(harness: WarehouseHarness, run_id: str) -> bool:
    return "query_ids" in (await harness.runs.get(run_id)).engine
