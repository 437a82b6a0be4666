"""Foreign code in dbt's process can run only the approved statement on Trino."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.processes import WorkerProcess
from app.runs.model import RunState
from app.warehouse.engine import IncrementalStrategy, Materialization
from app.warehouse.trino.engine import TrinoEngine
from app.warehouse.workers import WorkerKind, Workers
from tests.harnesses.warehouse import WarehouseHarness, unique
from tests.hostile_dbt import macros
from tests.integration.servers.trino import Trino
from tests.integration.trino.queries import states

SQL = "SELECT 2 AS n"
Attack = Callable[[str], dict[str, Any]]
"""Returns the instructions to `tests.hostile_dbt` for the name of a victim."""
INCREMENT = {
    "materialization": Materialization.INCREMENTAL,
    "incremental_strategy": IncrementalStrategy.APPEND,
}


class Unconfined(Workers):
    """Workers without a sandbox, which would keep them from reading the tests."""

    async def _start(self, kind: WorkerKind, folder: Path) -> WorkerProcess:
        return await WorkerProcess.start(
            kind.module,
            name=kind.name,
            log_path=self._logs / f"{kind.name}.log",
            handshake={**kind.handshake, "folder": str(folder)},
        )


@asynccontextmanager
async def hostile(harness: WarehouseHarness, home: Path, **handshake: Any) -> AsyncIterator[None]:
    """Replace dbt's workers with hostile ones in this context."""
    engine = harness.engine
    assert isinstance(engine, TrinoEngine)
    good, handshake = engine.workers, {"catalog": engine.tables.lake.catalog_name, **handshake}
    stranger = WorkerKind("tests.hostile_dbt", "dbt-worker", handshake, hosts=())
    engine.workers = Unconfined(home, builder=stranger, builders=1)
    try:
        yield
    finally:
        await engine.workers.close()
        engine.workers = good


def of_macros(*statements: str) -> Attack:
    return lambda victim: {
        "macros": macros(*(each.replace("VICTIM", victim) for each in statements))
    }


def of_worker(*statements: str) -> Attack:
    return lambda victim: {"asks": [each.replace("VICTIM", victim) for each in statements]}


@pytest.mark.parametrize(
    "attack",
    [
        of_macros("drop table iceberg.gold.VICTIM", "{{ approved }}"),
        of_macros("{{ approved }} /* more */"),
        of_worker("drop table iceberg.gold.VICTIM"),
        of_worker("select * from iceberg.asgard.runs"),
        of_worker("create or replace table iceberg.gold.VICTIM as select 7 as n"),
        of_worker("call system.runtime.kill_query(query_id => 'x', message => 'y')"),
        of_worker("APPROVED;drop table iceberg.gold.VICTIM"),
        of_worker("APPROVED -- more"),
    ],
)
async def test_a_statement_other_than_the_approved_one_is_refused(
    harness: WarehouseHarness, trino: Trino, tmp_path: Path, attack: Attack
) -> None:
    name, victim = unique("target"), unique("victim")
    await harness.built(name, "SELECT 1 AS n")
    await harness.built(victim, "SELECT 1 AS n")
    async with hostile(harness, tmp_path, **attack(victim)):
        run = await harness.build(name, SQL)
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == ("permission_denied", False)
    assert await states(trino, run) == []
    assert "Refused a statement from dbt" in await harness.runs.logs(run.run_id)
    assert await harness.rows(name) == await harness.rows(victim) == [{"n": 1}]
    await harness.built(name, SQL)


async def test_the_approved_statement_runs_once(
    harness: WarehouseHarness, trino: Trino, tmp_path: Path
) -> None:
    name, victim = unique("target"), unique("victim")
    await harness.built(victim, "SELECT 1 AS n")
    twice = of_macros("{{ approved }}", "{{ approved }}", "drop table iceberg.gold.VICTIM")
    async with hostile(harness, tmp_path, **twice(victim)):
        run = await harness.build(name, SQL)
    assert run.failure is not None
    assert run.failure.cause == "permission_denied"
    assert "had already finished" in run.failure.message
    assert await states(trino, run) == ["FINISHED"]
    assert await harness.rows(name) == [{"n": 2}]
    assert await harness.rows(victim) == [{"n": 1}]


@pytest.mark.parametrize(
    "kind",
    [
        {"materialization": Materialization.VIEW, "replace": True},
        INCREMENT,
    ],
)
async def test_a_view_and_an_increment_have_the_same_limits(
    harness: WarehouseHarness, trino: Trino, tmp_path: Path, kind: dict[str, Any]
) -> None:
    name = unique("target")
    await harness.built(name, "SELECT 1 AS n")
    async with hostile(harness, tmp_path, asks=[f"drop table iceberg.gold.{name}"]):
        run = await harness.build(name, SQL, **kind)
    assert run.failure is not None
    assert run.failure.cause == "permission_denied"
    assert await states(trino, run) == []
    assert await harness.rows(name) == [{"n": 1}]


async def test_a_worker_that_only_claims_to_have_built_fails_the_run(
    harness: WarehouseHarness, trino: Trino, tmp_path: Path
) -> None:
    name = unique("target")
    await harness.built(name, "SELECT 1 AS n")
    async with hostile(harness, tmp_path, asks=[]):
        run = await harness.build(name, SQL)
    assert run.state is RunState.FAILED
    assert run.failure is not None
    assert "without running the statement" in run.failure.message
    assert await states(trino, run) == []
    assert await harness.rows(name) == [{"n": 1}]


async def test_a_worker_that_dies_before_its_statement_builds_nothing(
    harness: WarehouseHarness, trino: Trino, tmp_path: Path
) -> None:
    name = unique("target")
    await harness.built(name, "SELECT 1 AS n")
    async with hostile(harness, tmp_path, asks=[], dies=True):
        run = await harness.build(name, SQL)
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == ("lost", True)
    assert await states(trino, run) == []
    assert await harness.rows(name) == [{"n": 1}]


@pytest.mark.parametrize("kind", [{}, INCREMENT])
async def test_a_worker_death_after_its_statement_does_not_fail_the_run(
    harness: WarehouseHarness, tmp_path: Path, kind: dict[str, Any]
) -> None:
    name = unique("target")
    await harness.built(name, SQL, **kind)
    async with hostile(harness, tmp_path, asks=["APPROVED"], dies=True):
        run = await harness.built(name, SQL, **kind)
    assert "dbt failed after its statement had finished" in await harness.runs.logs(run.run_id)
    assert await harness.rows(name) == [{"n": 2}] * (2 if kind else 1)


async def test_a_column_name_that_is_a_template_drops_nothing(
    harness: WarehouseHarness, trino: Trino
) -> None:
    """The SQL contains names of columns where a column has to be cast."""
    name, source, victim = unique("target"), unique("source"), unique("victim")
    await harness.built(victim, "SELECT 1 AS n")
    attack = f"{{%endraw%}}{{% do run_query('drop table iceberg.gold.{victim}') %}}{{%raw%}}"
    await asyncio.to_thread(
        trino.execute, f'CREATE TABLE iceberg.silver.{source} AS SELECT 2 AS "{attack}"'
    )
    run = await harness.build(name, f"SELECT *, NULL AS x FROM silver.{source}")
    if run.failure is not None:
        assert run.failure.cause == "permission_denied"
        assert await states(trino, run) == []
    else:
        assert await harness.rows(name) == [{attack: 2, "x": None}]
    assert await harness.rows(victim) == [{"n": 1}]
