"""What a run that nobody followed is told to be where a catalog shows the newest snapshot only."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from app.caller import ANONYMOUS
from app.data_transformation.sail.engine import SparkConnectEngine
from app.failure import FailureCause
from app.lakehouse.catalog import RUN_ID_PROPERTY, Catalog, Column, ViewInfo
from app.lakehouse.publish.publish import append_table, replace_table
from app.runs.commits import HEAD
from app.runs.handler import ReconciledAsFailed
from app.runs.model import Run, RunKind, RunState
from app.warehouse.engine import Materialization, ModelSpec
from tests.conftest import Lakehouse
from tests.harnesses.warehouse import ENDLESS, computing, warehouse_harness
from tests.patience import until

ROWS = pa.table({"a": [1]})


@asynccontextmanager
async def settling(hidden: Lakehouse, kind: RunKind, home: Path) -> AsyncIterator[Any]:
    """How the engine of these runs settles one."""
    if kind is RunKind.SPARK:
        engine = SparkConnectEngine(
            sail_lake=hidden.lake,
            publisher_lake=hidden.lake,
            store=hidden.store,
            catalog=hidden.catalog,
            home=home,
        )
        try:
            yield engine.reconcile
        finally:
            await engine.close()
    else:
        async with warehouse_harness(hidden, home) as harness:

            async def reconcile(run: Run) -> Any:
                schema, _, name = run.target.partition(".")
                spec = ModelSpec(schema_name=schema, name=name, sql="SELECT 1 AS a")
                return await harness.engine.reconcile(spec, run)

            yield reconcile


@pytest.fixture(scope="module")
async def hidden(lakehouse: Lakehouse) -> AsyncIterator[Lakehouse]:
    lake = replace(lakehouse.lake, catalog=replace(lakehouse.lake.catalog, hides_history=True))
    catalog = Catalog(lake)
    await catalog.ensure_namespaces()
    yield replace(lakehouse, lake=lake, catalog=catalog)
    await catalog.close()


@pytest.fixture(scope="module", params=[RunKind.SPARK, RunKind.DBT])
async def reconcile(
    hidden: Lakehouse, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    async with settling(hidden, request.param, tmp_path_factory.mktemp("settling")) as reconcile:
        yield reconcile


@pytest.fixture
async def run(hidden: Lakehouse) -> Run:
    """It was cut off after it had recorded the newest snapshot of its table."""
    table = f"gold.hidden_{uuid4().hex[:8]}"
    output = await write(hidden, table, "an-earlier-run")
    return Run(
        run_id=uuid4().hex,
        kind=RunKind.DBT,
        target=table,
        state=RunState.RUNNING,
        created_at="2026-01-01T00:00:00Z",
        started_at="2026-01-01T00:00:01Z",
        created_by="test",
        engine={HEAD: output.snapshot_id},
    )


async def write(lakehouse: Lakehouse, table: str, run_id: str) -> Any:
    return await lakehouse.catalog.run(
        lambda catalog: replace_table(catalog, table, ROWS.to_reader(), run_id=run_id)
    )


async def test_an_untouched_table_was_not_changed(reconcile: Any, run: Run) -> None:
    assert await reconcile(run) is None


async def test_the_snapshot_of_the_run_is_its_success(
    hidden: Lakehouse, reconcile: Any, run: Run
) -> None:
    await write(hidden, run.target, run.run_id)
    outcome = await reconcile(run)
    assert (outcome.output.rows, outcome.output.catalog_ref) == (1, "main")


async def test_a_table_that_another_writer_changed_is_not_called_unchanged(
    hidden: Lakehouse, reconcile: Any, run: Run
) -> None:
    await hidden.catalog.run(
        lambda catalog: append_table(catalog, run.target, ROWS.to_reader(), run_id="another")
    )
    with pytest.raises(ReconciledAsFailed) as told:
        await reconcile(run)
    error: Any = told.value.error
    assert (error.cause, error.retryable) == (FailureCause.LOST, False)
    assert f"It is not known whether the run changed {run.target}" in error.detail


@pytest.mark.parametrize("start", [{}, {"state": RunState.QUEUED, "started_at": None}])
async def test_a_run_that_recorded_no_snapshot_has_changed_nothing(
    hidden: Lakehouse, reconcile: Any, run: Run, start: dict[str, Any]
) -> None:
    await write(hidden, run.target, "another")
    assert await reconcile(run.model_copy(update={**start, "engine": {}})) is None


async def test_runs_record_what_their_table_was_before(hidden: Lakehouse, tmp_path: Path) -> None:
    async with warehouse_harness(hidden, tmp_path) as harness:
        name = f"hidden_{uuid4().hex[:8]}"
        first = await harness.built(name, "SELECT 1 AS a")
        second = await harness.built(name, "SELECT 2 AS a")
    assert first.output is not None
    assert (first.engine[HEAD], second.engine[HEAD]) == (None, first.output.snapshot_id)


class Overwritten(Catalog):
    """Another writer replaces each view right after it was made."""

    async def replace_view(
        self, name: str, sql: str, columns: Sequence[Column], properties: Mapping[str, str]
    ) -> ViewInfo:
        await super().replace_view(name, sql, columns, properties)
        other = {RUN_ID_PROPERTY: "another"}
        return await super().replace_view(name, "SELECT 2 AS a", columns, other)


async def test_a_view_of_another_writer_is_not_the_runs(hidden: Lakehouse, tmp_path: Path) -> None:
    catalog = Overwritten(hidden.lake)
    async with warehouse_harness(replace(hidden, catalog=catalog), tmp_path) as harness:
        name = f"hidden_{uuid4().hex[:8]}"
        run = await harness.build(name, "SELECT 1 AS a", materialization=Materialization.VIEW)
    await catalog.close()
    assert run.failure is not None
    assert (run.failure.cause, run.failure.retryable) == (FailureCause.LOST, False)
    assert run.output is None


async def test_a_build_that_is_cancelled_before_it_publishes_has_changed_nothing(
    hidden: Lakehouse, tmp_path: Path
) -> None:
    async with warehouse_harness(hidden, tmp_path) as harness:
        run = await harness.start(f"hidden_{uuid4().hex[:8]}", ENDLESS)
        await until(lambda: computing(harness, run))
        await harness.runs.cancel(run.run_id, ANONYMOUS)
        ended = await harness.runs.wait(run.run_id, 30)
    assert ended.state is RunState.CANCELLED, ended.failure
