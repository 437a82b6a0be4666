"""Handles runs that build a model, of transformations and of data products."""

from app.runs.handler import RunControl, RunResult
from app.runs.model import Run
from app.warehouse.engine import ModelSpec, SqlEngine


class ModelRunHandler:
    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        return await self._engine.build(ModelSpec.model_validate(run.spec), control)

    async def reconcile(self, run: Run) -> RunResult | None:
        return await self._engine.reconcile(ModelSpec.model_validate(run.spec), run)

    def final_engine_state(self, ended: Run) -> str | None:
        """Return the recorded state: dbt reports results, not states."""
        return ended.engine_state
