"""Runs reach a correct end when the gateway dies at any moment, or the lake during a run."""

import asyncio
import os
import random
import signal
from collections import Counter

import pytest

from app.config import Settings
from app.failure import FailureCause
from app.lakehouse.embedded.lakehouse import embedded_lakehouse
from app.runs.locks import PREFIX as LOCKS
from app.runs.model import Run, RunState
from app.runs.replicas import PREFIX as REPLICAS
from app.runs.replicas import Replicas
from app.runs.store import OPEN_PREFIX
from tests.harnesses.runs import Idle, RowWriter, RunsHarness, request, running, runs_harness
from tests.harnesses.runs_processes import FORKS, serve_runs
from tests.patience import until

KILLS = 20
TARGETS = ("one", "two", "three")
LIFE = 0.6
"""Seconds that a process takes for all of its runs, roughly. A kill may come before or after."""

LONG = 200
"""Seconds. Runs that the kills left queued for one target run one at a time, on a busy machine."""


async def live_and_die(harness: RunsHarness, seed: int) -> set[str]:
    """Run a process, kill it at a random moment, and return the ids that it acknowledged."""
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=serve_runs, args=(harness.lake.to_json(), list(TARGETS), there))
    process.start()
    there.close()
    try:
        assert await asyncio.to_thread(here.recv) == "ready"
        await asyncio.sleep(random.Random(seed).uniform(0, LIFE))
    finally:
        process.kill()
        await asyncio.to_thread(process.join)
    answered = set()
    while here.poll():
        try:
            answered.add(here.recv())
        except EOFError:
            break
    return answered


async def ended_runs(service) -> list[Run] | None:
    page = await service.list(limit=1000)
    return list(page.runs) if all(run.state.is_terminal for run in page.runs) else None


@pytest.mark.timeout(600)
async def test_after_20_kills_every_run_has_a_correct_end_and_snapshots_match_records(
    lakehouse, monkeypatch
):
    monkeypatch.setattr("app.runs.archive.KEPT_ENDED", 0.1)
    harness = await runs_harness(lakehouse.lake)
    first_seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"seeds {first_seed} to {first_seed + KILLS - 1}")
    answered: set[str] = set()
    for seed in range(first_seed, first_seed + KILLS):
        answered |= await live_and_die(harness, seed)
    async with running(harness.service(RowWriter(harness), max_running_per_engine=4)) as service:
        runs = await until(lambda: ended_runs(service), LONG)
        assert answered <= {run.run_id for run in runs}
        for run in runs:
            if run.state is RunState.FAILED:
                assert run.failure.cause is FailureCause.LOST
            else:
                assert run.state is RunState.SUCCEEDED
        for target in TARGETS:
            succeeded = [r.run_id for r in runs if r.target == target and r.state == "succeeded"]
            assert Counter(await harness.rows(target)) == Counter(succeeded)
            assert Counter(await harness.snapshots(target)) == Counter(succeeded)
        print(f"{len(runs)} runs, {Counter(run.state.value for run in runs)}")
        assert len({run.run_id for run in runs}) == len(runs) >= len(answered)
        try:
            await until(lambda: is_clean(harness, service), LONG)
        except TimeoutError:
            assert await leftovers(harness, service) == []


async def is_clean(harness: RunsHarness, service) -> bool:
    return not await leftovers(harness, service)


async def leftovers(harness: RunsHarness, service) -> list[str]:
    left = [
        *await harness.store.list(OPEN_PREFIX),
        *await harness.store.list(LOCKS),
        *await harness.store.list(REPLICAS),
    ]
    return [found.key for found in left if not found.key.endswith(service._replicas.id)]


async def test_a_living_replica_takes_over_from_a_killed_one(lakehouse):
    harness = await runs_harness(lakehouse.lake)
    async with running(harness.service(RowWriter(harness))) as service:
        answered = await live_and_die(harness, seed=4)
        for run_id in answered:
            run = await service.wait(run_id, 30)
            assert run.state.is_terminal


async def test_a_replica_on_this_host_is_dead_when_its_process_is(lakehouse):
    harness = await runs_harness(lakehouse.lake)
    one, two = Replicas(harness.store), Replicas(harness.store)
    await one.open()
    await two.open()
    assert not await one.is_dead(two.id)
    assert await one.is_dead(None)
    assert await one.is_dead("never-was")
    await two.close()
    assert await one.is_dead(two.id)
    await one.close()


async def test_a_lake_that_dies_during_runs_loses_none(tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path)
    async with embedded_lakehouse(settings) as embedded:
        harness = await runs_harness(embedded.lake)
        async with running(
            harness.service(RowWriter(harness), max_running_per_engine=4)
        ) as service:
            started = [
                (await service.start(*request(f"t{n % 3}", spec={"seconds": 0.05 * n}))).run.run_id
                for n in range(8)
            ]
            await asyncio.sleep(0.1)
            os.kill(embedded.pid, signal.SIGKILL)
            for run_id in started:
                run = await service.wait(run_id, 60)
                # A commit whose answer was lost is searched for, so both outcomes are correct.
                assert run.state in {RunState.SUCCEEDED, RunState.FAILED}
            runs = await until(lambda: ended_runs(service), LONG)
            for target in ("t0", "t1", "t2"):
                ids = [r.run_id for r in runs if r.target == target and r.state == "succeeded"]
                assert Counter(await harness.rows(target)) == Counter(ids)
            for run in runs:
                if run.failure is not None:
                    assert run.failure.cause is FailureCause.ENGINE_UNREACHABLE


async def test_a_run_that_ends_while_s3_is_away_is_recorded_when_it_is_back(tmp_path):
    settings = Settings(_env_file=None, asgard_home=tmp_path)
    async with embedded_lakehouse(settings) as embedded:
        harness = await runs_harness(embedded.lake)
        idle = Idle()
        async with running(harness.service(idle)) as service:
            started = await service.start(*request("away", spec={"seconds": 0.2, "log": "hello"}))
            await idle.begun.wait()
            os.kill(embedded.pid, signal.SIGKILL)
            run = await service.wait(started.run.run_id, 60)
            assert run.state is RunState.SUCCEEDED
            assert await service.logs(run.run_id) == "hello\n"
