"""Spark without a cluster or a JVM: the job script on Sail, in warm processes of our own."""

import asyncio
import os
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.data_transformation.engine import SparkJob
from app.data_transformation.states import SparkState
from app.errors import EngineFailed, EngineUnreachable, SourceNotFound
from app.lakehouse.connection import Lake
from app.processes import (
    WorkerDied,
    WorkerError,
    WorkerFolders,
    WorkerPool,
    WorkerProcess,
    WorkerTimeout,
)
from app.processes.worker import Message
from app.runs.driver import Outcome, RunControl
from app.runs.failure import FailureCause
from app.runs.model import Run, RunOutput
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry
from app.warehouse.target import Target

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

log = structlog.get_logger()

WORKER_MAX_RSS = 600 * 2**20
"""An idle worker holds about 300 MiB; one that grew beyond this in a job is replaced."""
WORKER_OWN_BYTES = 3 * 2**29
"""What a job may take besides the memory that Sail accounts for: Python, and values that are
made outside of Sail's pool."""
TRACEBACK_LINES = 40
WORKER_ENVIRONMENT = {
    "TZ": "UTC",
    "RUST_LOG": "warn",
    # Give memory back after each job: Sail and Arrow bring mimalloc, Python has glibc's malloc.
    "MIMALLOC_PURGE_DELAY": "0",
    "MALLOC_ARENA_MAX": "2",
}


class SparkConnectEngine:
    """Port `SparkEngine`. The SQL is run into a staging table, which is then published in one
    commit, so a job that fails or is killed at any moment leaves the destination as it was."""

    def __init__(
        self,
        lake: Lake,
        store: "ObjectStore",
        catalog: "Catalog",
        *,
        home: Path,
        workers: int = 2,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._lake = lake
        self._store = store
        self._catalog = catalog
        self._target = Target(catalog, hides_history=lake.catalog.hides_history)
        self._log_path = home / "logs" / "spark-worker.log"
        self._folders = WorkerFolders(home / "spark")
        self._pool = WorkerPool(
            lambda: self._folders.start(self._start_worker), workers, max_rss=WORKER_MAX_RSS
        )
        self._warming: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Returns when a worker is ready, or is known not to start."""
        self._warm_in_background()
        await self._warmed()

    async def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        await self._pool.close()
        await self._folders.close()

    async def run(self, job: SparkJob, control: RunControl) -> Outcome:
        try:
            await self._target.note(job.destination, control)
            await self._warmed()
            async with self._pool.acquire() as worker:
                await control.progress(
                    engine_state=SparkState.RUNNING,
                    engine={"spark_version": spark_version()},
                    reason="SparkApplicationRunning",
                    message=f"Running on Sail in process {worker.pid}",
                )
                await self._compute(worker, job, control)
                await self._check_sources(job)
                await control.fence()
                return await self._publish(worker, job, control)
        finally:
            self._warm_in_background()
            await self._drop_staging(job.run_id, control)

    async def settle(self, run: Run) -> Outcome | None:
        output = await self._published(run)
        await self._catalog.drop_table(self._staging(run.run_id))
        if output is None:
            await self._target.require_unchanged(run)
            return None
        return Outcome(output=output, engine_state=SparkState.COMPLETED)

    async def _published(self, run: Run) -> RunOutput | None:
        from app.warehouse.publish import sweep

        output = await self._target.published(run.target, run.run_id)
        if output is None:
            await self._catalog.run(lambda catalog: sweep(catalog, run.target, run.run_id))
        return output

    async def live_log(self, run: Run) -> str | None:  # noqa: ARG002 — the port's
        """The worker's lines are in the run's log at once."""
        return None

    async def _compute(self, worker: WorkerProcess, job: SparkJob, control: RunControl) -> None:
        target = f"{self._lake.catalog_name}.{job.destination}"
        appends = job.write_mode == "append" and await self._catalog.table(job.destination)
        description = job.description(
            self._lake.s3.bucket,
            destination=f"{self._lake.catalog_name}.{self._staging(job.run_id)}",
            mode="create",
            align_with=target if appends else None,
        )
        memory = min(job.resources.executors_bytes, _physical_memory() // 2)
        message = {"op": "run", "job": description, "memory_bytes": memory}
        await _call(worker, message, control, max_rss=memory + WORKER_OWN_BYTES)

    async def _publish(self, worker: WorkerProcess, job: SparkJob, control: RunControl) -> Outcome:
        message = {
            "op": "publish",
            "run_id": job.run_id,
            "staging": self._staging(job.run_id),
            "target": job.destination,
            "mode": job.write_mode,
        }
        try:
            output = RunOutput.model_validate(await _call(worker, message, control))
        except EngineFailed as error:
            # The worker may have died after the commit, before it could say so.
            found = await self._published(control.run)
            if found is None:
                known = "changed_table" in error.members
                raise error if known else await self._target.failure(control.run, error) from None
            output = found
        return Outcome(output=output, engine_state=SparkState.COMPLETED)

    async def _check_sources(self, job: SparkJob) -> None:
        """Sail reads a file that is gone as one without rows: nothing of that may be published."""
        folders: defaultdict[str, set[str]] = defaultdict(set)
        for source in job.sources:
            for key in source.keys:
                folders[key.rpartition("/")[0] + "/"].add(key)
        for folder, keys in folders.items():
            if keys - {info.key for info in await self._store.list(folder)}:
                raise SourceNotFound(
                    f"Files of {folder} were removed while they were read; nothing was written.",
                    hint="Run it again: it will read the files that are there now.",
                )

    async def _drop_staging(self, run_id: str, control: RunControl) -> None:
        """`EngineUnreachable` passes: the run is then settled, as often as that takes."""
        try:
            await self._catalog.drop_table(self._staging(run_id))
        except EngineFailed as error:
            # What the run did stands; a table of staging left behind harms nobody.
            control.log(f"{self._staging(run_id)} could not be dropped: {error.detail}")

    def _staging(self, run_id: str) -> str:
        return f"{self._lake.staging_schema}.spark_{run_id}"

    async def _warmed(self) -> None:
        """A job waits for the worker that is being started instead of starting another one."""
        if self._warming is not None:
            await asyncio.wait([self._warming])

    def _warm_in_background(self) -> None:
        """So that the job after one whose worker was killed or replaced need not wait."""
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._pool.warm())
            self._warming.add_done_callback(_retrieve)

    async def _start_worker(self, folder: Path) -> WorkerProcess:
        try:
            return await WorkerProcess.start(
                "app.data_transformation.worker",
                name="spark-worker",
                log_path=self._log_path,
                hello={"lake": self._lake.to_json()},
                env=WORKER_ENVIRONMENT,
                # Sail accepts every client that reaches its port: here, only the worker itself can.
                sandbox=Sandbox(folder, self._lake.hosts, loopback=True),
                telemetry=self._telemetry,
                engine="spark",
            )
        except (WorkerDied, WorkerError, WorkerTimeout) as error:
            log.warning("spark_worker_did_not_start", error=str(error))
            raise EngineUnreachable("The Spark worker did not start; see its log.") from error


async def _call(
    worker: WorkerProcess, message: Message, control: RunControl, max_rss: int | None = None
) -> Message:
    try:
        return await worker.call(
            message, on_event=lambda event: control.log(event["log"]), max_rss=max_rss
        )
    except WorkerError as error:
        if (told := error.to_asgard()) is not None:
            raise told from error
        control.log(worker.log_tail(TRACEBACK_LINES))
        raise EngineFailed(
            "The Spark worker failed inside; the run's log has the details.",
            hint="Run it again. If it fails in the same way, report it with the run's id.",
        ) from error
    except WorkerDied as error:
        control.log(error.log_tail)
        raise EngineFailed(
            f"The Spark worker ended in the middle of the job (exit code {error.exit_code}).",
            cause=FailureCause.LOST,
            hint="Run it again; if it recurs, the machine may be short of memory.",
            retryable=True,
        ) from error


def _retrieve(warming: asyncio.Task[None]) -> None:
    """What it raised has been logged, and the next job will meet it itself."""
    if not warming.cancelled():
        warming.exception()


def spark_version() -> str:
    return f"Sail {version('pysail')} / Spark API {version('pyspark-client')}"


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
