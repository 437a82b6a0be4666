"""Runs that build a model: transformations and data products alike."""

from app.runs.handler import Outcome, RunControl
from app.runs.model import Run
from app.warehouse.engine import ModelSpec, SqlEngine


class ModelDriver:
    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    async def execute(self, run: Run, control: RunControl) -> Outcome:
        return await self._engine.build(ModelSpec.model_validate(run.spec), control)

    async def settle(self, run: Run) -> Outcome | None:
        return await self._engine.settle(ModelSpec.model_validate(run.spec), run)

    def last_word(self, ended: Run) -> str | None:
        """dbt tells results, no states."""
        return ended.engine_state
