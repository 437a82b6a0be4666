"""Calls to the worker processes that build models, shared by the engines."""

import asyncio
from typing import Any

from app.errors import AsgardError, EngineFailed, SqlInvalid
from app.failure import FailureCause
from app.lakehouse.storage import ObjectStore
from app.processes import WorkerFailure, WorkerProcess, WrongMessage
from app.processes.worker import OnAsk, OnEvent
from app.runs.handler import RunControl
from app.sql.model import GuardedQuery

ARTIFACTS = ("manifest.json", "run_results.json")


class Artifacts:
    """Takes a worker's events: lines go to the run's log, and dbt's reports to the run's folder in
    the bucket, while the worker continues. The reports arrive as texts over the pipe. A worker
    that could send file names could send those of the gateway's own files."""

    def __init__(self, store: ObjectStore, control: RunControl) -> None:
        self._store = store
        self._control = control
        self._upload: asyncio.Task[None] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        line, texts = event.get("log", ""), event.get("artifacts", {})
        if not isinstance(line, str) or not isinstance(texts, dict):
            raise WrongMessage("an event that is neither a line nor dbt's reports")
        if line:
            self._control.log(line)
        if texts:
            bodies = {name: str(texts[name]).encode() for name in ARTIFACTS if name in texts}
            self._upload = asyncio.create_task(self._put(bodies))

    async def uploaded(self) -> None:
        if self._upload:
            try:
                await self._upload
            except AsgardError as error:
                # The table is what counts. A run does not fail because its report is missing.
                self._control.log(f"The artifacts of dbt could not be archived: {error.detail}")

    def close(self) -> None:
        if self._upload:
            self._upload.cancel()

    async def _put(self, bodies: dict[str, bytes]) -> None:
        prefix = f"asgard/runs/artifacts/{self._control.run.run_id}"
        await asyncio.gather(
            *(self._store.put(f"{prefix}/{name}", body) for name, body in bodies.items())
        )


async def call_worker(
    worker: WorkerProcess,
    message: dict[str, Any],
    timeout: float | None,  # noqa: ASYNC109 — it kills the worker, too
    on_event: OnEvent | None = None,
    on_ask: OnAsk | None = None,
) -> dict[str, Any]:
    try:
        return await worker.call(message, timeout=timeout, on_event=on_event, on_ask=on_ask)
    except WorkerFailure as failure:
        raise failure.translated("The worker") from failure


def unreadable(table: str, error: SqlInvalid) -> EngineFailed:
    """Return the error of a statement that the caller did not write."""
    return EngineFailed(
        f"{table} cannot be read: {error.detail}",
        cause=FailureCause.SQL_ERROR,
        hint="If it is a view, check its SQL and the tables that it reads.",
    )


def names_of(query: GuardedQuery) -> list[str]:
    return list(dict.fromkeys(table.qualified for table in query.tables))
