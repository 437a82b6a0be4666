"""One sync by Airbyte: its job is started or joined, followed, and what it wrote taken down."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from app.airbyte.engine import Ingestion
from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.job_failures import failure_of
from app.airbyte.remote.mapping import AirbyteJob, JobStatus, job_of
from app.concurrency.backoff import backoff_delays, retry_while_unreachable
from app.errors import (
    AsgardError,
    Conflict,
    EngineFailed,
    EngineTimeout,
    EngineUnreachable,
    NotFound,
)
from app.failure import FailureCause
from app.lakehouse.bronze.listing import ExternalBronzeManifests, NothingWritten
from app.lakehouse.bronze.manifests import Manifest
from app.lakehouse.outputs import RunOutput
from app.runs.handler import ReconciledAsFailed, RunControl, RunResult
from app.runs.model import Run, RunInput

T = TypeVar("T")
FIRST_LOOK, LONGEST_LOOK = 0.1, 2.0
"""Seconds between two looks at a job."""
JOB_ID, LAST_JOB_ID, ASKED_AT = "airbyte_job_id", "airbyte_last_job_id", "airbyte_asked_at"
LAST_WORD = 5.0
"""Seconds for which a run that is stopped waits for the answer to a request for a job."""
SYNC = "sync"
RACES = 5


class FilesMissing(EngineFailed):
    """A job reports rows, but none of them is in the lake."""


class AirbyteJobs:
    """The jobs of connections. `bucket` is the lake's: only there files can be taken down."""

    def __init__(
        self, client: AirbyteClient, manifests: ExternalBronzeManifests, run_timeout: float
    ) -> None:
        self._client = client
        self._manifests = manifests
        self._run_timeout = timedelta(seconds=run_timeout)

    async def sync(self, ingestion: Ingestion, source: str, control: RunControl) -> RunResult:
        inputs = (RunInput(table=f"source/{source}", source=source),)
        await control.progress(inputs=inputs)
        run_id = control.run.run_id
        await self.declare(ingestion, source, run_id)
        try:
            job = await self._follow(await self._start(ingestion, control), control)
            if job.status is not JobStatus.SUCCEEDED:
                raise await self._failed(job)
        except (EngineUnreachable, EngineTimeout):
            raise
        except AsgardError:
            await self._manifests.release(ingestion.id, run_id)
            raise
        await control.fence()
        return await self._outcome(ingestion, job, run_id, inputs)

    async def reconcile(self, run: Run, ingestion: Ingestion) -> RunResult | None:
        """The job goes on without the gateway: it is waited for, unless nobody wants it any more.

        Raises `EngineUnreachable` while it runs, or while Airbyte may still be making it, and
        `ReconciledAsFailed` when it failed.
        """
        job = await _patient(self._job_of_run(run, ingestion.id))
        if job is None and self._may_come(run):
            raise EngineUnreachable("Airbyte may still be making the job that it was asked for.")
        if job is not None and not job.status.is_terminal:
            if self._unwanted(run):
                await _patient(self._client.delete(f"/jobs/{job.id}"))
            raise EngineUnreachable(f"Airbyte's job {job.id} is still {job.status}.")
        if job is None or job.status is not JobStatus.SUCCEEDED:
            await self._manifests.release(ingestion.id, run.run_id)
            if job is None or (job.status is JobStatus.CANCELLED and self._unwanted(run)):
                return None
            raise ReconciledAsFailed(await self._failed(job), job.status)
        try:
            return await self._outcome(ingestion, job, run.run_id, None)
        except FilesMissing as error:
            raise ReconciledAsFailed(error, job.status) from None

    async def declare(self, ingestion: Ingestion, source: str, run_id: str | None = None) -> None:
        """What syncs without this gateway have written counts too, if none is at it now."""
        paths = lake_paths(ingestion)
        if not paths:
            return
        known = await self._manifests.get(ingestion.id)
        if known is None:
            await self._manifests.declare(ingestion.id, source, paths)
            jobs = await self.newest(ingestion.id)
            if jobs and all(job.status.is_terminal for job in jobs):
                await self.record_latest(ingestion, jobs)
        await self._manifests.declare(ingestion.id, source, paths, run_id)

    async def record_latest(self, ingestion: Ingestion, jobs: list[AirbyteJob]) -> None:
        """Takes down the newest sync that Airbyte ran by itself, by its schedule or for others."""
        done = next((job for job in jobs if job.status is JobStatus.SUCCEEDED), None)
        if done is not None:
            await self._record(ingestion, done, done.name)

    async def _start(self, ingestion: Ingestion, control: RunControl) -> AirbyteJob:
        jobs = await self.newest(ingestion.id)
        running = next((job for job in jobs if not job.status.is_terminal), None)
        if running is not None:
            return await self._noted(running, "Joined", "joined, which was running", control)
        last = max((job.id for job in jobs), default=0)
        asked_at = self._client.now().isoformat()
        await control.progress(engine={LAST_JOB_ID: last, ASKED_AT: asked_at})
        asking = asyncio.create_task(self._ask(ingestion.id, last, control))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Airbyte has the request: who follows the run next should know the job.
            await asyncio.wait({asking}, timeout=LAST_WORD)
            asking.cancel()
            raise

    async def _ask(self, connection_id: str, last: int, control: RunControl) -> AirbyteJob:
        job = await self._create(connection_id, last)
        return await self._noted(job, "Submitted", "started", control)

    async def _noted(
        self, job: AirbyteJob, reason: str, how: str, control: RunControl
    ) -> AirbyteJob:
        control.log(f"INFO job {job.id} of Airbyte {how}")
        await control.progress(
            engine_state=job.status,
            engine={JOB_ID: job.id},
            reason=reason,
            message=f"Airbyte's job {job.id} was {how}.",
        )
        return job

    async def _create(self, connection_id: str, last: int) -> AirbyteJob:
        async def newer() -> Json | None:
            jobs = await self._client.page("/jobs", _newest(connection_id))
            return next((job for job in jobs if job["jobId"] > last), None)

        body = {"connectionId": connection_id, "jobType": SYNC}
        try:
            return job_of(await self._client.post("/jobs", body, newer))
        except Conflict:
            # Somebody else's sync began in between.
            found = next(
                (j for j in await self.newest(connection_id) if not j.status.is_terminal), None
            )
            if found is None:
                raise
            return found

    async def _follow(self, job: AirbyteJob, control: RunControl) -> AirbyteJob:
        job_id = job.id
        told: tuple[object, ...] = ()
        for pause in backoff_delays(FIRST_LOOK, LONGEST_LOOK):
            job = await retry_while_unreachable(
                lambda: _patient(self._job(job_id)), "following a job"
            )
            now = (job.status, job.rows, job.bytes)
            if now != told:
                told = now
                control.log(f"INFO {job.status}: {job.rows or 0} rows, {job.bytes or 0} bytes")
                await control.progress(
                    engine_state=job.status,
                    engine={"rows_synced": job.rows, "bytes_synced": job.bytes},
                )
            if job.status.is_terminal:
                return job
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _outcome(
        self,
        ingestion: Ingestion,
        job: AirbyteJob,
        run_id: str,
        inputs: tuple[RunInput, ...] | None,
    ) -> RunResult:
        output = RunOutput(
            table=f"ingestion/{ingestion.id}", rows_written=job.rows, bytes=job.bytes
        )
        if lake_paths(ingestion):
            try:
                manifest = await retry_while_unreachable(
                    lambda: self._record(ingestion, job, run_id, wrote_rows=bool(job.rows)),
                    "taking down a sync's files",
                )
            except NothingWritten:
                await self._manifests.release(ingestion.id, run_id)
                raise _files_missing(ingestion, job) from None
            output = _output_of(manifest, run_id, job)
        return RunResult(output=output, inputs=inputs, engine_state=job.status)

    async def _record(
        self, ingestion: Ingestion, job: AirbyteJob, run_id: str, *, wrote_rows: bool = False
    ) -> Manifest:
        paths = lake_paths(ingestion)
        for _ in range(RACES):
            try:
                return await self._manifests.record(
                    ingestion.id, run_id, {JOB_ID: job.id}, paths, wrote_rows=wrote_rows
                )
            except Conflict:
                continue
        raise EngineUnreachable("Others record syncs of this ingestion all the time.")

    async def _failed(self, job: AirbyteJob) -> EngineFailed:
        if job.status is JobStatus.CANCELLED:
            return EngineFailed(
                f"Airbyte's job {job.id} was cancelled in Airbyte.", cause=FailureCause.CANCELLED
            )
        return failure_of(job.id, await self._client.explain(job.id))

    async def _job(self, job_id: int) -> AirbyteJob:
        return job_of(await self._client.get(f"/jobs/{job_id}"))

    async def newest(self, connection_id: str) -> list[AirbyteJob]:
        """The newest syncs, the newest first."""
        found = await self._client.page("/jobs", _newest(connection_id))
        jobs = [job_of(job) for job in found if job["connectionId"] == connection_id]
        return sorted(jobs, key=lambda job: job.id, reverse=True)

    async def _job_of_run(self, run: Run, connection_id: str) -> AirbyteJob | None:
        """By its id; or, when the gateway died before it knew that, the first one since."""
        if JOB_ID in run.engine:
            try:
                return await self._job(run.engine[JOB_ID])
            except NotFound:
                return None
        jobs = await self.newest(connection_id)
        later = [job for job in jobs if job.id > run.engine[LAST_JOB_ID]]
        return later[-1] if later else None

    def _may_come(self, run: Run) -> bool:
        """Whether the request for a job, of which no answer is known, may be under way still."""
        if JOB_ID in run.engine or ASKED_AT not in run.engine:
            return False
        asked_at = datetime.fromisoformat(run.engine[ASKED_AT])
        return self._client.now() < asked_at + self._client.patience

    def _unwanted(self, run: Run) -> bool:
        started = run.started_at or run.created_at
        late = datetime.now(UTC) > started + self._run_timeout
        return late or run.cancel_requested_at is not None


def lake_paths(ingestion: Ingestion) -> dict[str, str]:
    """The stream of each path in the lake's own bucket."""
    return {s.path: s.name for s in ingestion.streams if "://" not in s.path}


def _newest(connection_id: str) -> dict[str, str | int]:
    return {
        "connectionId": connection_id,
        "jobType": SYNC,
        "orderBy": "createdAt|DESC",
        "limit": 20,
    }


async def _patient(call: Awaitable[T]) -> T:
    """A fault of Airbyte's own that may pass is waited out like an outage."""
    try:
        return await call
    except EngineFailed as error:
        if not error.can_retry:
            raise
        raise EngineUnreachable(error.detail) from None


def _files_missing(ingestion: Ingestion, job: AirbyteJob) -> FilesMissing:
    paths = ", ".join(lake_paths(ingestion))
    return FilesMissing(
        f"Airbyte's job {job.id} reports {job.rows} rows, but wrote no file to {paths}.",
        cause=FailureCause.LOST,
        hint="In Airbyte, check that the destination uses this bucket and these paths, and has no "
        "path format of its own. Then start the sync again.",
        retryable=True,
    )


def _output_of(manifest: Manifest, run_id: str, job: AirbyteJob) -> RunOutput:
    commit = manifest.commit_of(run_id)
    if commit is None:
        raise ValueError(f"the sync {run_id} was not recorded")
    streams = commit.streams
    return RunOutput(
        table=f"ingestion/{manifest.ingestion_id}",
        rows=sum(f.rows for s in streams for f in manifest.streams[s.path].files),
        rows_written=job.rows if job.rows is not None else sum(s.rows for s in streams),
        bytes=job.bytes if job.bytes is not None else sum(s.bytes for s in streams),
        files=sum(len(stream.files) for stream in streams),
        streams=streams,
    )
