"""A table that becomes a view, or a view that becomes a table, is never lost in between."""

import asyncio
from typing import Any

import pytest

from app.caller import ANONYMOUS
from app.errors import EngineFailed
from app.runs.model import RunState
from tests.harnesses.warehouse import WarehouseHarness, unique

VIEW: dict[str, Any] = {"materialization": "view", "replace": True}
TOO_LATE = "date_trunc('year', CAST('294246-12-31' AS date))"
"""It can be computed, but no column of a table can hold it."""


async def test_a_view_that_was_cut_off_after_the_drop_is_created(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, catalog = unique("cut"), harness.lakehouse.catalog
    await harness.built(name, "SELECT 1 AS a")
    reached = asyncio.Event()

    async def hang(*_: Any) -> None:
        monkeypatch.undo()
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(catalog, "replace_view", hang)
    run = await harness.start(name, "SELECT 2 AS a", **VIEW)
    await reached.wait()
    assert await catalog.table(f"gold.{name}") is None
    await harness.runs.cancel(run.run_id, ANONYMOUS)
    ended = await harness.runs.wait(run.run_id, 60)
    assert ended.state is RunState.SUCCEEDED, "it is done, so it is not reported as cancelled"
    assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[2]]


async def test_a_view_that_cannot_be_created_says_that_the_table_is_gone(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("refused")
    await harness.built(name, "SELECT 1 AS a")

    async def refuse(*_: Any) -> None:
        raise EngineFailed("The catalog refuses it.")

    monkeypatch.setattr(harness.lakehouse.catalog, "replace_view", refuse)
    ended = await harness.build(name, "SELECT 2 AS a", **VIEW)
    assert ended.failure is not None
    assert ended.failure.message.startswith("The catalog refuses it. The table gold.")
    assert "has already been dropped" in ended.failure.message


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_a_view_stays_if_the_table_that_replaces_it(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    name, catalog = unique("stays"), harness.lakehouse.catalog
    await harness.built(name, "SELECT 1 AS a", materialization="view")
    drop_view, dropped = catalog.drop_view, asyncio.Event()

    async def drop_and_stop(view: str) -> bool:
        await drop_view(view)
        dropped.set()
        if how == "fails":
            return True
        await asyncio.sleep(0)
        await harness.runs.cancel(run.run_id, ANONYMOUS)
        return True

    monkeypatch.setattr(catalog, "drop_view", drop_and_stop)
    sql = f"SELECT {TOO_LATE} AS a" if how == "fails" else "SELECT 2 AS a"
    run = await harness.start(name, sql, replace=True)
    await dropped.wait()
    ended = await harness.runs.wait(run.run_id, 60)
    assert ended.state in {RunState.FAILED, RunState.CANCELLED}, ended
    assert await catalog.table(f"gold.{name}") is None
    assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[1]]


async def test_a_view_can_have_the_name_of_a_table_that_was_never_built(
    harness: WarehouseHarness,
) -> None:
    name = unique("never")
    failed = await harness.build(name, f"SELECT {TOO_LATE} AS a")
    assert failed.state is RunState.FAILED
    await harness.built(name, "SELECT 1 AS a", materialization="view")
    assert (await harness.engine.preview(f"gold.{name}", 1)).rows == [[1]]


async def test_a_deletion_drops_the_kind_that_exists(
    harness: WarehouseHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, catalog = unique("kind"), harness.lakehouse.catalog
    await harness.transform(name, "SELECT 1 AS a")

    async def refuse(_: str) -> bool:
        raise EngineFailed("The catalog refuses it.")

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "drop_table", refuse)
        failed = await harness.transform(
            name, "SELECT 2 AS a", replace=True, materialization="view"
        )
    assert failed.run is not None
    assert failed.run.state is RunState.FAILED
    assert await harness.rows(name) == [{"a": 1}]
    await harness.service.delete(failed.record.id, ANONYMOUS, drop_table=True)
    assert await catalog.table(f"gold.{name}") is None
