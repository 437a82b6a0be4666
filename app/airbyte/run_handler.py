"""The handler of ingestion runs: syncs, and installations of connectors."""

from typing import Literal

from app.airbyte.engine import IngestionEngine
from app.failure import FailureCause
from app.frozen import Frozen
from app.lakehouse.outputs import RunOutput
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunState

TERMINAL_STATES = frozenset(state for state in RunState if state.is_terminal)
STOP_CAUSES = frozenset({FailureCause.CANCELLED, FailureCause.TIMEOUT})


class SyncWork(Frozen):
    op: Literal["sync"] = "sync"
    ingestion_id: str

    @property
    def target(self) -> str:
        return f"ingestion/{self.ingestion_id}"


class InstallWork(Frozen):
    op: Literal["install"] = "install"
    connector: str

    @property
    def target(self) -> str:
        return f"connector/{self.connector}"


class IngestionRunHandler:
    """The `RunHandler` of ingestion runs, for every engine."""

    def __init__(self, engine: IngestionEngine) -> None:
        self._engine = engine

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        if run.spec["op"] == "sync":
            return await self._engine.sync(SyncWork.model_validate(run.spec).ingestion_id, control)
        work = InstallWork.model_validate(run.spec)
        installed = await self._engine.install(work.connector, control)
        return RunResult(output=RunOutput(table=work.target), engine=installed)

    async def reconcile(self, run: Run) -> RunResult | None:
        if run.spec["op"] == "sync":
            work = SyncWork.model_validate(run.spec)
            return await self._engine.reconcile_sync(run, work.ingestion_id)
        install = InstallWork.model_validate(run.spec)
        if await self._engine.missing_connector(install.connector):
            return None
        return RunResult(output=RunOutput(table=install.target))

    def final_engine_state(self, ended: Run) -> str | None:
        """Returns the state in Airbyte's words, which the embedded engine also uses. There, a
        stopped sync is cancelled, even if it took too long."""
        reported = ended.engine_state
        if ended.state is RunState.SUCCEEDED:
            return RunState.SUCCEEDED
        if reported is None or reported in TERMINAL_STATES:
            return reported
        stopped = ended.failure is not None and ended.failure.cause in STOP_CAUSES
        return RunState.CANCELLED if stopped else RunState.FAILED
