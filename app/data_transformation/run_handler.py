"""The handler of Spark runs, for every engine."""

from dataclasses import replace
from typing import TYPE_CHECKING

from app.data_transformation.engine import SourceFiles, SparkEngine, SparkJob, SparkWork, Views
from app.data_transformation.source_files import Resolved, SourceResolver
from app.data_transformation.states import SparkState
from app.errors import TableNotFound
from app.runs.handler import RunControl, RunResult
from app.runs.inputs import known_inputs
from app.runs.model import Run, RunInput
from app.warehouse.dependents import (
    columns_record,
    rebuild_views_after,
    rebuild_views_of_reconciled,
)

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog


class SparkRunHandler:
    """The `RunHandler` of Spark runs."""

    def __init__(
        self, engine: SparkEngine, catalog: "Catalog", sources: SourceResolver, views: Views
    ) -> None:
        self._engine = engine
        self._views = views
        self._catalog = catalog
        self._sources = sources

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        work = SparkWork.model_validate(run.spec)
        resolved = {
            reading.view: await self._sources.resolve(reading.path, reading.format)
            for reading in work.readings
        }
        inputs = (
            *dict.fromkeys(path_input(files) for files in resolved.values()),
            *[await self._table_input(table) for table in work.tables],
        )
        if inputs != run.inputs:
            await control.progress(inputs=inputs)
        job = SparkJob(
            run_id=run.run_id,
            sources=tuple(
                SourceFiles(view=view, format=files.format, keys=files.keys)
                for view, files in resolved.items()
            ),
            views=work.views,
            select=work.select,
            tables=work.tables,
            destination=work.destination,
            write_mode=work.write_mode,
            resources=work.resources,
        )
        if before := await self._catalog.table(work.destination):
            await control.progress(engine=columns_record(before.columns))
        outcome = await self._engine.run(job, control)
        await rebuild_views_after(self._views.rebuild_views, work.destination, before, control)
        return replace(outcome, inputs=await known_inputs(self._catalog, inputs))

    async def reconcile(self, run: Run) -> RunResult | None:
        outcome = await self._engine.reconcile(run)
        if outcome is None:
            return None
        warnings = await rebuild_views_of_reconciled(self._views.rebuild_views, run)
        inputs = await known_inputs(self._catalog, run.inputs)
        return replace(outcome, inputs=inputs, warnings=warnings)

    def final_engine_state(self, ended: Run) -> str | None:
        """Returns the state of the status route. A run that never started has no engine state."""
        return SparkState.of(ended) if ended.started_at else ended.engine_state

    async def _table_input(self, name: str) -> RunInput:
        table = await self._catalog.table(name)
        if table is None:
            raise TableNotFound(f"{name} was dropped before the job started.", missing=name)
        return RunInput.of(table, self._catalog.lake.catalog.ref)


def path_input(files: Resolved) -> RunInput:
    return RunInput(table=files.path, run_ids=files.run_ids, source=files.source)
