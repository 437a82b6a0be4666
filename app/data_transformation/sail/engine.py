"""Spark without a cluster or a JVM: the job script on Sail, in warm processes of our own."""

import asyncio
import contextlib
import os
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from app.data_transformation.engine import SparkJob, WriteMode
from app.data_transformation.states import SparkState
from app.errors import AsgardError, EngineFailed, EngineUnreachable, SourceNotFound
from app.lakehouse.connection import Lake
from app.lakehouse.embedded.home import free_port
from app.lakehouse.outputs import RunOutput
from app.lakehouse.publish.leftovers import Leftovers
from app.lakehouse.publish.published import ExpectedSnapshot
from app.lakehouse.publish.publishers import Publishers
from app.processes import (
    WorkerDied,
    WorkerError,
    WorkerFailure,
    WorkerFolders,
    WorkerPool,
    WorkerProcess,
)
from app.processes.worker_messages import Message
from app.runs.commits import RunTarget
from app.runs.handler import RunControl, RunResult
from app.runs.model import Run
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

log = structlog.get_logger()

WORKER_MAX_RSS = 600 * 2**20
"""An idle worker holds about 300 MiB; one that grew beyond this in a job is replaced."""
WORKER_OWN_BYTES = 3 * 2**29
"""The memory that a job may take in addition to Sail's pool: for Python, and for values that are
created outside of the pool."""
TRACEBACK_LINES = 40
WORKER_ENVIRONMENT = {
    "TZ": "UTC",
    "RUST_LOG": "warn",
    # Give memory back after each job: Sail and Arrow bring mimalloc, Python has glibc's malloc.
    "MIMALLOC_PURGE_DELAY": "0",
    "MALLOC_ARENA_MAX": "2",
}


class SparkConnectEngine:
    """The `SparkEngine` on Sail. A worker computes the rows, and a publisher writes them to the
    destination in one commit. A job that fails or is killed at any moment therefore leaves the
    destination unchanged.

    `sail_lake` is the lake with the identity of the workers, which may read. `publisher_lake` is
    the lake with the identity of the process that writes tables."""

    def __init__(
        self,
        *,
        sail_lake: Lake,
        publisher_lake: Lake,
        store: "ObjectStore",
        catalog: "Catalog",
        home: Path,
        workers: int = 2,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._lake = sail_lake
        self._store = store
        self._catalog = catalog
        self._target = RunTarget(catalog, hides_history=sail_lake.catalog.hides_history)
        self._log_path = home / "logs" / "spark-worker.log"
        self._folders = WorkerFolders(home / "spark")
        self._pool = WorkerPool(
            lambda: self._folders.start(self._start_worker),
            workers,
            max_rss=WORKER_MAX_RSS,
            engine="spark",
            telemetry=telemetry,
        )
        self._leftovers = Leftovers(store, catalog)
        self._publishers = Publishers(
            publisher_lake,
            self._leftovers,
            home=home,
            handed_over=home / "spark",
            size=workers,
            telemetry=telemetry,
        )
        self._warming: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        """Wait until a worker of each kind is ready or has failed to start."""
        self._warm_in_background()
        await asyncio.gather(self._warmed(), self._publishers.warm())

    async def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        await asyncio.gather(self._pool.close(), self._publishers.close())
        await self._folders.close()

    async def run(self, job: SparkJob, control: RunControl) -> RunResult:
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
                try:
                    await self._check_sources(job)
                    output = await self._publish(worker, job, control)
                except AsgardError:
                    await _discard(worker, control)
                    raise
                await _discard(worker, control)
            return RunResult(output=output, engine_state=SparkState.COMPLETED)
        finally:
            self._warm_in_background()

    async def reconcile(self, run: Run) -> RunResult | None:
        output = await self._target.published(run.target, run.run_id)
        # Earlier versions wrote a run's rows into a staging table first.
        await self._catalog.drop_table(f"{self._lake.staging_schema}.spark_{run.run_id}")
        if output is None:
            if run.started_at is not None:
                await self._leftovers.note(run.target, run.run_id)
            await self._target.require_unchanged(run)
            return None
        return RunResult(output=output, engine_state=SparkState.COMPLETED)

    async def live_log(self, run: Run) -> str | None:  # noqa: ARG002 — the port's
        """Returns None, since the worker's lines are in the run's log at once."""
        return None

    async def _compute(self, worker: WorkerProcess, job: SparkJob, control: RunControl) -> None:
        target = f"{self._lake.catalog_name}.{job.destination}"
        appends = job.write_mode is WriteMode.APPEND
        exists = appends and await self._catalog.table(job.destination) is not None
        description = job.description(
            self._lake.s3.bucket,
            destination=target,
            mode=job.write_mode.value,
            align_with=target if exists else None,
            path_of=quote,  # Sail decodes paths, as it does with addresses.
        )
        memory = min(job.resources.executors_bytes, _physical_memory() // 2)
        message = {"op": "run", "job": description, "memory_bytes": memory}
        await _call(worker, message, control, max_rss=memory + WORKER_OWN_BYTES)

    async def _publish(
        self, worker: WorkerProcess, job: SparkJob, control: RunControl
    ) -> RunOutput:
        """Publish the rows. Repeat this if another writer came first: they do not depend on it."""

        async def publish() -> RunOutput:
            base = None
            if job.write_mode is not WriteMode.APPEND:
                base = ExpectedSnapshot.of(await self._catalog.table(job.destination))
            await control.fence()  # the other writer may have replaced this run
            return await self._publishers.publish(
                self._folders.folder_of(worker),
                job.destination,
                job.run_id,
                base=base,
            )

        return await self._publishers.repeat_if_stale(publish)

    async def _check_sources(self, job: SparkJob) -> None:
        """Raise if a file is gone. Sail reads it as an empty one, which must not be published."""
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

    async def _warmed(self) -> None:
        """Wait for the worker that is being started instead of starting another one."""
        if self._warming is not None:
            await asyncio.wait([self._warming])

    def _warm_in_background(self) -> None:
        """Start a worker for the next job, if the last one was killed or replaced."""
        if self._warming is None or self._warming.done():
            self._warming = asyncio.create_task(self._pool.warm())
            self._warming.add_done_callback(_retrieve)

    async def _start_worker(self, folder: Path) -> WorkerProcess:
        port = free_port()
        try:
            return await WorkerProcess.start(
                "app.data_transformation.sail.worker",
                name="spark-worker",
                log_path=self._log_path,
                handshake={"lake": self._lake.to_json(), "folder": str(folder), "port": port},
                env=WORKER_ENVIRONMENT,
                # Sail accepts every client that reaches its port: here, only the worker itself can.
                sandbox=Sandbox(folder, self._lake.hosts, own_port=port),
                telemetry=self._telemetry,
                engine="spark",
            )
        except WorkerFailure as error:
            log.warning("spark_worker_did_not_start", error=str(error))
            raise EngineUnreachable("The Spark worker did not start. See its log.") from error


async def _discard(worker: WorkerProcess, control: RunControl) -> None:
    """Free the disk space of the result. What was published stays, even if that fails."""
    with contextlib.suppress(AsgardError):
        await _call(worker, {"op": "discard"}, control)


async def _call(
    worker: WorkerProcess, message: Message, control: RunControl, max_rss: int | None = None
) -> Message:
    def logged(event: Message) -> None:
        if line := event.get("log"):
            control.log(str(line))

    try:
        return await worker.call(message, on_event=logged, max_rss=max_rss)
    except WorkerError as error:
        if (own_error := error.to_asgard()) is not None:
            raise own_error from error
        control.log(worker.log_tail(TRACEBACK_LINES))
        raise EngineFailed(
            "The Spark worker had an internal error. The run's log has the details.",
            hint="Run it again. If it fails in the same way, report it with the run's id.",
        ) from error
    except WorkerDied as error:
        control.log(error.log_tail)
        raise error.translated("The Spark worker") from error


def _retrieve(warming: asyncio.Task[None]) -> None:
    """Retrieve the exception. It has been logged, and the next job will raise it itself."""
    if not warming.cancelled():
        warming.exception()


def spark_version() -> str:
    return f"Sail {version('pysail')} / Spark API {version('pyspark-client')}"


def _physical_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
