"""Handles runs that build a model, of transformations and of data products."""

from dataclasses import replace
from typing import Generic

from app.lakehouse.catalog import Catalog
from app.lakehouse.records.table import RecordTable
from app.runs.handler import RunControl, RunResult
from app.runs.inputs import known_inputs
from app.runs.model import Run
from app.warehouse.definitions import D, require_definition
from app.warehouse.engine import ModelSpec, SqlEngine


class ModelRunHandler(Generic[D]):
    def __init__(self, engine: SqlEngine, catalog: Catalog, definitions: RecordTable[D]) -> None:
        """`definitions` are the records that the `subject_id` of a run refers to."""
        self._engine = engine
        self._catalog = catalog
        self._definitions = definitions

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        if run.subject_id is not None:
            require_definition(run, await self._definitions.get(run.subject_id))
        result = await self._engine.build(ModelSpec.model_validate(run.spec), control)
        return replace(result, inputs=await known_inputs(self._catalog, result.inputs or ()))

    async def reconcile(self, run: Run) -> RunResult | None:
        result = await self._engine.reconcile(ModelSpec.model_validate(run.spec), run)
        if result is None:
            return None
        return replace(result, inputs=await known_inputs(self._catalog, run.inputs))

    def final_engine_state(self, ended: Run) -> str | None:
        """Return the recorded state: dbt reports results, not states."""
        return ended.engine_state
