"""Follows the syncs that Airbyte runs by itself, by its schedules or for others.

Without this, a path table would still name the files that such a sync has replaced.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.airbyte.engine import Ingestion
from app.airbyte.remote.client import AirbyteClient
from app.airbyte.remote.jobs import JOB_ID, SYNC, AirbyteJobs
from app.errors import AsgardError, NotFound
from app.lakehouse.bronze.listing import ExternalBronzeManifests
from app.lakehouse.bronze.manifests import Manifest

INTERVAL = 15.0
"""Seconds between two polls, each of one request."""
NEWEST = 100
log = structlog.get_logger()


class Follower:
    def __init__(
        self,
        client: AirbyteClient,
        manifests: ExternalBronzeManifests,
        jobs: AirbyteJobs,
        ingestion: Callable[[str], Awaitable[Ingestion]],
        interval: float = INTERVAL,
    ) -> None:
        self._client = client
        self._manifests = manifests
        self._jobs = jobs
        self._ingestion = ingestion
        self._interval = interval
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._run(), name="airbyte schedules")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def poll(self) -> None:
        manifests = {manifest.ingestion_id: manifest for manifest in await self._manifests.all()}
        if not manifests:
            return
        params = {"status": "succeeded", "jobType": SYNC, "orderBy": "updatedAt|DESC"}
        jobs = await self._client.page("/jobs", {**params, "limit": NEWEST})
        for connection_id in {job["connectionId"] for job in jobs} & manifests.keys():
            newest = max(job["jobId"] for job in jobs if job["connectionId"] == connection_id)
            if _is_unrecorded(manifests[connection_id], newest):
                await self._record_sync(connection_id)

    async def _record_sync(self, connection_id: str) -> None:
        """Record the newest sync of one connection. A failure must not keep those of others
        waiting."""
        try:
            jobs = await self._jobs.newest(connection_id)
            # A running sync has already written files beside the complete ones.
            if all(job.status.is_terminal for job in jobs):
                await self._jobs.record_latest(await self._ingestion(connection_id), jobs)
        except NotFound:
            return
        except AsgardError as error:
            log.warning("airbyte_sync_not_recorded", connection=connection_id, error=error.detail)
        except Exception:
            log.exception("airbyte_sync_not_recorded", connection=connection_id)

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
            except AsgardError as error:
                log.warning("airbyte_schedules_not_followed", error=error.detail)
            except Exception:  # the loop's outer edge: the next poll may succeed
                log.exception("airbyte_following_failed")
            await asyncio.sleep(self._interval)


def _is_unrecorded(manifest: Manifest, job_id: int) -> bool:
    refused = int(manifest.refused.job) if manifest.refused else 0
    recorded = int(manifest.state.get(JOB_ID, 0))
    return manifest.writing is None and job_id > max(recorded, refused)
