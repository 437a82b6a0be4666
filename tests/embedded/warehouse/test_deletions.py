"""A deletion that drops the table, and runs that start while it is in progress."""

from typing import Any

import pytest

from app.caller import ANONYMOUS
from app.dbt_transformations.record import transformation_id
from app.errors import Conflict, EngineFailed, NotFound
from app.failure import FailureCause
from app.runs.model import Run, RunKind, RunState
from app.runs.submission import RunRequest, Submission
from tests.harnesses.warehouse import ENDLESS, WarehouseHarness, computing, unique
from tests.patience import until

NOW = Submission(ANONYMOUS, None, None, 0)


async def start(harness: WarehouseHarness, name: str, sql: str | None = None) -> Run:
    """Start a run of the transformation as if it had been accepted before the deletion began."""
    record = await harness.service._records.get(transformation_id(name))
    assert record is not None
    request = RunRequest(
        kind=RunKind.DBT,
        target=record.doc.table,
        spec={**record.doc.model().model_dump(mode="json"), **({"sql": sql} if sql else {})},
        subject_id=record.id,
    )
    return (await harness.runs.start(request, NOW)).run


async def test_a_run_that_begins_after_the_mark_does_not_bring_the_table_back(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, catalog = unique("going"), harness.lakehouse.catalog
    await harness.transform(name, "SELECT 1 AS a")
    drop, started = catalog.drop_table, []

    async def drop_meanwhile(table: str) -> bool:
        with pytest.raises(Conflict, match="is being deleted"):
            await harness.service.run_again(transformation_id(name), NOW, full_refresh=False)
        with pytest.raises(Conflict, match="is being deleted"):
            await harness.transform(name, "SELECT 2 AS a", wait=0)
        started.append(await start(harness, name))
        return await drop(table)

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "drop_table", drop_meanwhile)
        await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    ended = await harness.runs.wait(started[0].run_id, 60)
    assert ended.state is RunState.FAILED
    assert ended.failure is not None
    assert ended.failure.cause is FailureCause.CANCELLED
    assert ended.failure.message == (
        f"The definition of gold.{name} was deleted or renamed before the run began."
    )
    assert await catalog.table(f"gold.{name}") is None
    with pytest.raises(NotFound):
        await harness.service.get(transformation_id(name))


async def test_a_run_that_begins_just_before_the_mark_is_found(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, records = unique("staying"), harness.service._records
    await harness.transform(name, "SELECT 1 AS a")
    update, started = records.update, []

    async def start_before(*args: Any, **more: Any) -> Any:
        if not started:
            started.append(await start(harness, name, ENDLESS))
            await until(lambda: computing(harness, started[0]), 60)
        return await update(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(records, "update", start_before)
        with pytest.raises(Conflict) as refused:
            await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    assert refused.value.members["conflicting_id"] == started[0].run_id
    await harness.runs.cancel(started[0].run_id, ANONYMOUS)
    ended = await harness.runs.wait(started[0].run_id, 60)
    assert ended.state is RunState.CANCELLED
    assert await harness.rows(name) == [{"a": 1}]
    again = await harness.transform(name, "SELECT 2 AS a")
    assert again.run is not None
    assert again.run.state is RunState.SUCCEEDED
    await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    assert await harness.lakehouse.catalog.table(f"gold.{name}") is None


async def test_a_deletion_that_failed_is_finished_by_the_next_one(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, catalog = unique("halfway"), harness.lakehouse.catalog
    await harness.transform(name, "SELECT 1 AS a")

    async def refuse(_: str) -> bool:
        raise EngineFailed("The catalog refuses it.")

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "drop_table", refuse)
        with pytest.raises(EngineFailed):
            await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    with pytest.raises(Conflict) as refused:
        await harness.transform(name, "SELECT 2 AS a")
    assert refused.value.hint == (
        "If the deletion failed, read the record again and repeat the DELETE request."
    )
    await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    assert await catalog.table(f"gold.{name}") is None
    back = await harness.transform(name, "SELECT 3 AS a")
    assert back.run is not None
    assert await harness.rows(name) == [{"a": 3}]


async def test_two_deletions_at_once_both_succeed(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, catalog = unique("twice"), harness.lakehouse.catalog
    await harness.transform(name, "SELECT 1 AS a")
    drop, deletions = catalog.drop_table, []

    async def drop_after_another(table: str) -> bool:
        if not deletions:
            deletions.append(table)
            await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
        return await drop(table)

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "drop_table", drop_after_another)
        await harness.service.delete(transformation_id(name), ANONYMOUS, drop_table=True)
    assert await catalog.table(f"gold.{name}") is None
    with pytest.raises(NotFound):
        await harness.service.get(transformation_id(name))
