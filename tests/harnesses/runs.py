"""A separate lake for the tests of runs, and a handler that writes one Iceberg row per run."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from app.caller import Caller
from app.config import Settings
from app.errors import AsgardError, NotFound
from app.lakehouse.catalog import RUN_ID_PROPERTY, Catalog
from app.lakehouse.connection import Lake
from app.lakehouse.outputs import RunOutput
from app.lakehouse.storage import ObjectStore, open_client
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run, RunKind, RunState
from app.runs.service import RunService
from app.runs.submission import RunRequest, Submission

ME = Caller("me")


@dataclass(frozen=True)
class RunsHarness:
    """A bucket and a namespace that no other service watches."""

    lake: Lake
    store: ObjectStore
    catalog: Catalog

    @property
    def namespace(self) -> str:
        return self.lake.records_schema

    def table(self, target: str) -> str:
        return f"{self.namespace}.{target}"

    def service(self, driver: Any, **settings: Any) -> RunService:
        return RunService(
            store=self.store,
            catalog=self.catalog,
            settings=Settings(_env_file=None, **settings),
            handlers={RunKind.DBT: driver},
            namespace=self.namespace,
        )

    async def rows(self, target: str) -> list[str]:
        """Return the ids of the runs that wrote a row."""
        name = self.table(target)
        try:
            return await self.catalog.run(
                lambda catalog: catalog.load_table(name).scan().to_arrow()["run_id"].to_pylist()
            )
        except NotFound:
            return []

    async def snapshots(self, target: str) -> list[str]:
        """Return the ids of runs in the target's snapshot log."""
        name = self.table(target)
        history = await self.catalog.run(lambda catalog: catalog.load_table(name).snapshots())
        ids = (snapshot.summary.additional_properties.get(RUN_ID_PROPERTY) for snapshot in history)
        return [run_id for run_id in ids if run_id is not None]


async def runs_harness(lake: Lake, name: str | None = None) -> RunsHarness:
    name = name or f"toy{uuid4().hex[:8]}"
    own = replace(lake, s3=replace(lake.s3, bucket=name), records_schema=name)
    await asyncio.to_thread(lambda: open_client(own.s3).create_bucket(Bucket=name))
    harness = open_runs_harness(own)
    await harness.catalog.run(lambda catalog: catalog.create_namespace_if_not_exists(name))
    return harness


def open_runs_harness(lake: Lake) -> RunsHarness:
    return RunsHarness(lake, ObjectStore(lake.s3), Catalog(lake))


class RowWriter:
    """Appends a row with the run's id after `spec.seconds`. With `spec.error`, fails instead."""

    def __init__(self, harness: RunsHarness) -> None:
        self.harness = harness
        self.running: set[str] = set()
        self.begun = asyncio.Event()

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        self.running.add(run.run_id)
        self.begun.set()
        try:
            await control.progress(engine_state="COMPUTING", engine={"toy": 1}, message="Computing")
            control.log(f"computing {run.run_id}")
            await asyncio.sleep(run.spec.get("seconds", 0))
            if error := run.spec.get("error"):
                raise error if isinstance(error, AsgardError) else AsgardError(error)
            await control.fence()
            # A sent request cannot be recalled: wait for it, and let `reconcile` check.
            writing = asyncio.create_task(self._append(run))
            try:
                await asyncio.shield(writing)
            finally:
                await asyncio.wait({writing})
            control.log("written")
            return self._outcome(run)
        finally:
            self.running.discard(run.run_id)

    async def reconcile(self, run: Run) -> RunResult | None:
        table = await self.harness.catalog.find_snapshot(self.harness.table(run.target), run.run_id)
        return self._outcome(run) if table else None

    def final_engine_state(self, ended: Run) -> str | None:
        return ended.engine_state if ended.state is RunState.SUCCEEDED else "GIVEN UP"

    def _outcome(self, run: Run) -> RunResult:
        output = RunOutput(table=self.harness.table(run.target), rows_written=1)
        return RunResult(output, engine_state="DONE", engine={"done": True})

    async def _append(self, run: Run) -> None:
        import pyarrow as pa

        rows = pa.table({"run_id": [run.run_id], "pid": [os.getpid()]})

        def append(catalog: Any) -> None:
            table = catalog.create_table_if_not_exists(self.harness.table(run.target), rows.schema)
            table.append(rows, snapshot_properties={RUN_ID_PROPERTY: run.run_id})

        await self.harness.catalog.run(append)


class Idle:
    """Writes nothing. Takes `spec.seconds`, and records when it ran."""

    def __init__(self) -> None:
        self.intervals: list[tuple[datetime, datetime, str]] = []
        self.begun = asyncio.Event()

    async def execute(self, run: Run, control: RunControl) -> RunResult:
        self.begun.set()
        if text := run.spec.get("log"):
            control.log_lines(text)
        await asyncio.sleep(run.spec.get("seconds", 0))
        return RunResult(None)

    async def reconcile(self, _: Run) -> RunResult | None:
        return None

    def final_engine_state(self, ended: Run) -> str | None:
        return ended.engine_state


@asynccontextmanager
async def running(service: RunService, grace: float = 0.1) -> AsyncIterator[RunService]:
    await service.open()
    try:
        yield service
    finally:
        await service.close(grace)


def request(
    target: str,
    *,
    spec: dict[str, Any] | None = None,
    request_id: str | None = None,
    **more: Any,
) -> tuple[RunRequest, Submission]:
    work = RunRequest(kind=RunKind.DBT, target=target, spec=spec or {}, **more)
    return work, Submission(ME, request_id=request_id)
