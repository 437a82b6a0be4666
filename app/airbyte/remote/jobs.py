"""Starts or joins a sync by Airbyte, follows its job, and records the files that it wrote."""

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from app.airbyte.engine import Ingestion
from app.airbyte.remote.client import AirbyteClient, Json
from app.airbyte.remote.job_failures import failure_of
from app.airbyte.remote.mapping import AirbyteJob, JobStatus, job_of
from app.airbyte.remote.verification import (
    SyncRefused,
    files_damaged,
    reported_by,
    rows_missing,
    warn_of_missing_rows,
)
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
from app.lakehouse.bronze.listing import ExternalBronzeManifests, FilesDamaged, NothingWritten
from app.lakehouse.bronze.manifests import Manifest, RefusedSync
from app.lakehouse.outputs import RunOutput
from app.runs.handler import ReconciledAsFailed, RunControl, RunResult
from app.runs.model import Run, RunInput

T = TypeVar("T")
FIRST_POLL, LONGEST_POLL = 0.1, 2.0
"""Seconds between two requests for a job's state."""
JOB_ID, LAST_JOB_ID, ASKED_AT = "airbyte_job_id", "airbyte_last_job_id", "airbyte_asked_at"
REQUEST_GRACE = 5.0
"""Seconds for which a stopped run waits for the response to its request for a job."""
SYNC = "sync"
RECORD_ATTEMPTS = 5


class AirbyteJobs:
    """The jobs of connections. Files are recorded only in the lake's own bucket."""

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
        result = await self._outcome(ingestion, job, run_id, inputs)
        await warn_of_missing_rows(job, result.output, control)
        return result

    async def reconcile(self, run: Run, ingestion: Ingestion) -> RunResult | None:
        """Waits for the job, which goes on without the gateway, unless the run has to stop.

        Raises `EngineUnreachable` while the job runs or Airbyte may still be creating it, and
        `ReconciledAsFailed` if it failed.
        """
        job = await _as_outage(self._job_of_run(run, ingestion.id))
        if job is None and self._may_still_be_created(run):
            raise EngineUnreachable("Airbyte may still be creating the requested job.")
        if job is not None and not job.status.is_terminal:
            if self._has_to_stop(run):
                await _as_outage(self._client.delete(f"/jobs/{job.id}"))
            raise EngineUnreachable(f"Airbyte's job {job.id} is still {job.status}.")
        if job is None or job.status is not JobStatus.SUCCEEDED:
            await self._manifests.release(ingestion.id, run.run_id)
            if job is None or (job.status is JobStatus.CANCELLED and self._has_to_stop(run)):
                return None
            raise ReconciledAsFailed(await self._failed(job), job.status)
        try:
            return await self._outcome(ingestion, job, run.run_id, None)
        except SyncRefused as error:
            raise ReconciledAsFailed(error, job.status) from None

    async def declare(self, ingestion: Ingestion, source: str, run_id: str | None = None) -> None:
        """Declares the paths. Files of syncs that ran without this gateway also count, if no sync
        is running now."""
        paths = lake_paths(ingestion)
        if not paths:
            return
        manifest = await self._manifests.get(ingestion.id)
        if manifest is None:
            await self._manifests.declare(ingestion.id, source, paths)
            jobs = await self.newest(ingestion.id)
            if jobs and all(job.status.is_terminal for job in jobs):
                await self.record_latest(ingestion, jobs)
        await self._manifests.declare(ingestion.id, source, paths, run_id)

    async def record_latest(self, ingestion: Ingestion, jobs: list[AirbyteJob]) -> None:
        """Records the newest sync that Airbyte ran by itself, by its schedule or for others. One
        whose files are not valid is recorded as refused."""
        done = next((job for job in jobs if job.status is JobStatus.SUCCEEDED), None)
        if done is not None:
            with contextlib.suppress(SyncRefused):
                await self._record(ingestion, done, done.name)

    async def _start(self, ingestion: Ingestion, control: RunControl) -> AirbyteJob:
        jobs = await self.newest(ingestion.id)
        running = next((job for job in jobs if not job.status.is_terminal), None)
        if running is not None:
            return await self._record_job(running, "Joined", "joined while running", control)
        last = max((job.id for job in jobs), default=0)
        asked_at = self._client.now().isoformat()
        await control.progress(engine={LAST_JOB_ID: last, ASKED_AT: asked_at})
        request = asyncio.create_task(self._request(ingestion.id, last, control))
        try:
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            # Airbyte has the request: the next process that follows the run should know the job.
            await asyncio.wait({request}, timeout=REQUEST_GRACE)
            request.cancel()
            raise

    async def _request(self, connection_id: str, last: int, control: RunControl) -> AirbyteJob:
        job = await self._create(connection_id, last)
        return await self._record_job(job, "Submitted", "started", control)

    async def _record_job(
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
            # Another client's sync started in between.
            running = next(
                (j for j in await self.newest(connection_id) if not j.status.is_terminal), None
            )
            if running is None:
                raise
            return running

    async def _follow(self, job: AirbyteJob, control: RunControl) -> AirbyteJob:
        job_id = job.id
        reported: tuple[object, ...] = ()
        for pause in backoff_delays(FIRST_POLL, LONGEST_POLL):
            job = await retry_while_unreachable(
                lambda: _as_outage(self._job(job_id)), "following a job"
            )
            now = (job.status, job.rows, job.bytes)
            if now != reported:
                reported = now
                control.log(
                    f"INFO Airbyte reports {job.status}, {job.rows or 0} rows, "
                    f"{job.bytes or 0} bytes"
                )
                await control.progress(
                    engine_state=job.status,
                    engine=reported_by(job),
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
        """Returns the result as the files in the lake show it. Files elsewhere are not verified."""
        output = RunOutput(table=f"ingestion/{ingestion.id}")
        if lake_paths(ingestion):
            try:
                manifest = await retry_while_unreachable(
                    lambda: self._record(ingestion, job, run_id), "recording a sync's files"
                )
            except AsgardError:
                # Otherwise the syncs that Airbyte runs by itself would wait for this one.
                await self._manifests.release(ingestion.id, run_id)
                raise
            output = manifest.output_of(run_id)
        return RunResult(
            output=output, inputs=inputs, engine=reported_by(job), engine_state=job.status
        )

    async def _record(self, ingestion: Ingestion, job: AirbyteJob, run_id: str) -> Manifest:
        for _ in range(RECORD_ATTEMPTS):
            try:
                return await self._record_once(ingestion, job, run_id)
            except Conflict:
                continue
        raise EngineUnreachable(
            "Too many gateways are recording syncs of this ingestion at once. Try again."
        )

    async def _record_once(self, ingestion: Ingestion, job: AirbyteJob, run_id: str) -> Manifest:
        """Raises `SyncRefused`, after recording it, if the files are not those of a success."""
        paths = lake_paths(ingestion)
        following: AirbyteJob | None = None

        async def since_next() -> timedelta | None:
            nonlocal following
            jobs = await _as_outage(self.newest(ingestion.id))
            following = next((each for each in reversed(jobs) if each.id > job.id), None)
            return self._client.now() - following.started_at if following else None

        try:
            return await self._manifests.record(
                ingestion.id,
                run_id,
                {JOB_ID: str(job.id)},
                paths,
                wrote_rows=bool(job.rows),
                since_next=since_next,
            )
        except NothingWritten:
            error = rows_missing(job, following, paths)
        except FilesDamaged as damaged:
            error = files_damaged(job, damaged.files)
        refused = RefusedSync(job=str(job.id), message=error.detail)
        await self._manifests.refuse(ingestion.id, refused, run_id)
        raise error

    async def _failed(self, job: AirbyteJob) -> EngineFailed:
        if job.status is JobStatus.CANCELLED:
            return EngineFailed(
                f"Airbyte's job {job.id} was cancelled in Airbyte.", cause=FailureCause.CANCELLED
            )
        return failure_of(job.id, await self._client.explain(job.id))

    async def _job(self, job_id: int) -> AirbyteJob:
        return job_of(await self._client.get(f"/jobs/{job_id}"))

    async def newest(self, connection_id: str) -> list[AirbyteJob]:
        """Returns the newest syncs, the newest first."""
        page = await self._client.page("/jobs", _newest(connection_id))
        jobs = [job_of(job) for job in page if job["connectionId"] == connection_id]
        return sorted(jobs, key=lambda job: job.id, reverse=True)

    async def _job_of_run(self, run: Run, connection_id: str) -> AirbyteJob | None:
        """Finds the job by its id, or the first one since, if the gateway died without the id."""
        if JOB_ID in run.engine:
            try:
                return await self._job(run.engine[JOB_ID])
            except NotFound:
                return None
        jobs = await self.newest(connection_id)
        later = [job for job in jobs if job.id > run.engine[LAST_JOB_ID]]
        return later[-1] if later else None

    def _may_still_be_created(self, run: Run) -> bool:
        """Returns whether an unanswered request for a job may still be under way."""
        if JOB_ID in run.engine or ASKED_AT not in run.engine:
            return False
        asked_at = datetime.fromisoformat(run.engine[ASKED_AT])
        return self._client.now() < asked_at + self._client.response_timeout

    def _has_to_stop(self, run: Run) -> bool:
        started = run.started_at or run.created_at
        late = datetime.now(UTC) > started + self._run_timeout
        return late or run.cancel_requested_at is not None


def lake_paths(ingestion: Ingestion) -> dict[str, str]:
    """Returns the stream of each path in the lake's own bucket."""
    return {s.path: s.name for s in ingestion.streams if "://" not in s.path}


def _newest(connection_id: str) -> dict[str, str | int]:
    return {
        "connectionId": connection_id,
        "jobType": SYNC,
        "orderBy": "createdAt|DESC",
        "limit": 20,
    }


async def _as_outage(call: Awaitable[T]) -> T:
    """Treats a temporary failure of Airbyte itself as an outage, which callers wait out."""
    try:
        return await call
    except EngineFailed as error:
        if not error.retryable:
            raise
        raise EngineUnreachable(error.detail) from None
