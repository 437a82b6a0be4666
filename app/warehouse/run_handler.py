"""Handles runs that build a model, of transformations and of data products."""

from dataclasses import replace

from app.lakehouse.catalog import Catalog
from app.runs.handler import RunControl, RunResult
from app.runs.inputs import known_inputs
from app.runs.model import Run
from app.warehouse.engine import ModelSpec, SqlEngine


class ModelRunHandler:
    def __init__(self, engine: SqlEngine, catalog: Catalog) -> None:
        self._engine = engine
        self._catalog = catalog

    async def execute(self, run: Run, control: RunControl) -> RunResult:
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
