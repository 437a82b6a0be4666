"""The order of runs of one target when an earlier run arrives late, after both gateways died."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from app.runs.archive import RunArchive
from app.runs.history import RunHistory
from app.runs.locks import TargetLocks
from app.runs.model import Run, RunKind
from app.runs.open_runs import OpenRuns
from app.runs.store import RunStore
from tests.conftest import Lakehouse
from tests.patience import until

SECONDS = 5.0


def queued(target: str, minute: int) -> Run:
    return Run(
        run_id=uuid4().hex,
        kind=RunKind.DBT,
        target=target,
        created_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute),
        created_by="tester",
    )


async def turns(locks: TargetLocks, *runs: Run) -> list[str]:
    order: list[str] = []

    async def turn(run: Run) -> None:
        await locks.acquire(run)
        order.append(run.run_id)
        await locks.release(run)

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*map(turn, runs))
    return order


async def test_an_earlier_run_that_arrives_while_a_later_one_waits_for_it_blocks_neither(
    lakehouse: Lakehouse,
) -> None:
    target = f"gold.{uuid4().hex}"
    earlier, later = queued(target, 1), queued(target, 2)
    came: list[asyncio.Task[list[str]]] = []

    async def is_behind(run: Run) -> bool:
        if run == later and not came:
            came.append(asyncio.create_task(turns(locks, earlier)))
            await asyncio.sleep(0.01)
            return True
        return False

    locks = TargetLocks(lakehouse.store, RunStore(lakehouse.store), "me", is_behind)
    assert await turns(locks, later) == [later.run_id]
    assert await came[0] == [earlier.run_id]


async def test_a_run_whose_lock_was_taken_over_runs_before_an_earlier_one(
    lakehouse: Lakehouse,
) -> None:
    target = f"gold.{uuid4().hex}"
    earlier, holder = queued(target, 1), queued(target, 2)
    runs = RunStore(lakehouse.store)

    async def nobody_else(_: Run) -> bool:
        return False

    await TargetLocks(lakehouse.store, runs, "dead", nobody_else).acquire(holder)
    locks = TargetLocks(lakehouse.store, runs, "heir", nobody_else)
    await locks.adopt(holder)
    assert await turns(locks, earlier, holder) == [holder.run_id, earlier.run_id]


async def test_a_lock_that_is_adopted_while_an_earlier_run_reads_it_blocks_neither(
    lakehouse: Lakehouse,
) -> None:
    """As if the adoption was forgotten: only the lock itself names its holder."""
    target = f"gold.{uuid4().hex}"
    earlier, holder = queued(target, 1), queued(target, 2)
    runs = RunStore(lakehouse.store)
    await runs.create(holder)

    async def nobody_else(_: Run) -> bool:
        return False

    await TargetLocks(lakehouse.store, runs, "dead", nobody_else).acquire(holder)
    locks = TargetLocks(lakehouse.store, runs, "heir", nobody_else)
    order: list[str] = []

    async def turn(run: Run) -> None:
        await locks.acquire(run)
        order.append(run.run_id)
        await locks.release(run)
        if run == holder:
            await runs.remove([run.run_id])

    async with asyncio.timeout(SECONDS):
        await asyncio.gather(turn(earlier), turn(holder))
    assert order == [holder.run_id, earlier.run_id]


async def test_a_run_lets_one_go_first_that_another_replica_has_accepted_since_the_last_poll(
    lakehouse: Lakehouse,
) -> None:
    target = f"gold.{uuid4().hex}"
    earlier = queued(target, 1).model_copy(update={"owner": "other"})
    later = queued(target, 2)
    runs = RunStore(lakehouse.store)
    archive = RunArchive(runs, RunHistory(lakehouse.catalog, "asgard"))
    open_runs = OpenRuns(runs, archive, "me")
    answers: list[bool] = []

    async def is_behind(run: Run) -> bool:
        answers.append(await open_runs.is_behind(run))
        return answers[-1]

    locks = TargetLocks(lakehouse.store, runs, "me", is_behind)
    await runs.create(earlier)
    turn = asyncio.create_task(turns(locks, later))
    await until(lambda: bool(answers), SECONDS)
    await runs.remove([earlier.run_id])
    assert await turn == [later.run_id]
    assert answers[0]
    assert not answers[-1]
