"""Spark on Kubernetes: each run is a SparkApplication, which the Spark operator runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import structlog

from app.concurrency.backoff import backoff_delays
from app.data_transformation.engine import SparkJob
from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application import (
    ATTEMPT_ENDED,
    ENDED,
    Application,
    application_name,
    driver_pod_name,
)
from app.data_transformation.kubernetes.application_watch import ApplicationWatch
from app.data_transformation.kubernetes.driver_failure import failure_of, is_worth_retrying
from app.data_transformation.kubernetes.driver_logs import DriverLogs
from app.data_transformation.kubernetes.manifest import SparkSettings, job_key, manifest
from app.data_transformation.kubernetes.startup import Watchdog
from app.data_transformation.states import SparkState
from app.errors import AsgardError, Conflict, EngineFailed, EngineUnreachable, NotFound
from app.lakehouse.connection import Lake
from app.runs.commits import RunTarget
from app.runs.handler import ReconciledAsFailed, RunControl, RunResult
from app.runs.model import Run

if TYPE_CHECKING:
    from app.lakehouse.catalog import Catalog
    from app.lakehouse.storage import ObjectStore

log = structlog.get_logger()

CREATE_ATTEMPTS = 3
POD_GONE_WITHIN = 60.0
"""Seconds. Kubernetes gives a pod 30 to end."""
POD_POLL = 0.5
DELETION_SEEN_WITHIN = 60.0
APPLICATION = "The SparkApplication"
RETRY_PAUSE = 5.0
"""Seconds before an attempt is repeated."""


class SparkOperatorEngine:
    """The `SparkEngine` on Kubernetes. The driver commits to the destination itself, in one commit
    with the run's id. A job that fails at any moment leaves the destination unchanged."""

    def __init__(
        self,
        *,
        lake: Lake,
        store: "ObjectStore",
        catalog: "Catalog",
        api: KubernetesApi,
        settings: SparkSettings,
        submit_timeout: float,
        run_timeout: float,
    ) -> None:
        self._lake = lake
        self._store = store
        self._catalog = catalog
        self._api = api
        self._settings = settings
        self._target = RunTarget(catalog, hides_history=settings.hides_history)
        self._submit_timeout = submit_timeout
        self._run_timeout = run_timeout
        self._logs = DriverLogs(api)
        self.watch = ApplicationWatch(api)

    def open(self) -> None:
        self.watch.open()

    async def close(self) -> None:
        self.watch.close()
        self._logs.close()
        self._api.close()

    async def run(self, job: SparkJob, control: RunControl) -> RunResult:
        """Runs the job. Cancelling this task leaves the application unchanged: a restarted gateway
        finds it again, and after a cancel or a timeout `reconcile` deletes it."""
        await self.watch.require()
        await asyncio.gather(
            self._put_job(job), self._target.note(job.destination, control), control.fence()
        )
        try:
            last = await self._attempts(job, control)
        except EngineFailed as error:
            await self._store.delete(job_key(job.run_id))
            if (output := await self._target.published(job.destination, job.run_id)) is None:
                raise await self._target.failure(control.run, error) from None
            return RunResult(output=output, engine_state=SparkState.COMPLETED)
        await self._store.delete(job_key(job.run_id))
        output = await self._target.published(job.destination, job.run_id)
        if output is None:
            raise await self._target.nothing_shown(control.run, APPLICATION)
        return RunResult(output=output, engine_state=last.state)

    async def _attempts(self, job: SparkJob, control: RunControl) -> Application:
        """Returns the application that completed. Raises why the last attempt failed. Its
        application then stays for as long as the operator retains it."""
        with self.watch.follow(application_name(job.run_id)) as queue:
            for attempt in count(1):
                await self._create(job, control)
                last, driver_log = await self._follow(job.run_id, queue, control, attempt)
                if last.state is SparkState.COMPLETED:
                    return last
                error = await failure_of(self._api, job.run_id, last, driver_log)
                if attempt > self._repetitions(job) or not is_worth_retrying(error):
                    raise error
                await self._clear_for_another(job, queue, control, error)
        raise AssertionError("unreachable")

    def _repetitions(self, job: SparkJob) -> int:
        """Returns how often a failed job is repeated. A job looks for its run's snapshot before it
        writes. If that may be hidden, a repeated append would add its rows twice."""
        would_duplicate = job.write_mode == "append" and self._settings.hides_history
        return 0 if would_duplicate else self._settings.retries

    async def _clear_for_another(
        self,
        job: SparkJob,
        queue: "asyncio.Queue[Application | None]",
        control: RunControl,
        error: AsgardError,
    ) -> None:
        """Waits until the failed application is gone, since the next one has the same name."""
        if await self._target.published(job.destination, job.run_id):
            raise error
        await control.progress(
            reason="SparkApplicationRepeated",
            message=f"The attempt failed, and another one follows: {error.detail}",
            warning=True,
        )
        await self._stop(job.run_id)
        try:
            async with asyncio.timeout(DELETION_SEEN_WITHIN):
                async for _ in _until_deleted(queue):
                    pass
        except TimeoutError:
            raise error from None
        await asyncio.sleep(RETRY_PAUSE)
        await control.fence()

    async def reconcile(self, run: Run) -> RunResult | None:
        """Follows an application that still runs to its end, unless the run has to stop."""
        last = None
        if self._may_continue(run):
            last = await self._rejoin(run)
        if last is None or last.state not in ENDED:
            await self._stop(run.run_id)
        self._logs.forget(run.run_id)
        await self._store.delete(job_key(run.run_id))
        output = await self._target.published(run.target, run.run_id)
        if output is None:
            if last is not None and last.state is SparkState.FAILED:
                error = await failure_of(self._api, run.run_id, last)
                raise ReconciledAsFailed(await self._target.failure(run, error))
            if last is not None and last.state is SparkState.COMPLETED:
                raise ReconciledAsFailed(await self._target.nothing_shown(run, APPLICATION))
            await self._target.require_unchanged(run)
            return None
        engine = last.engine if last else None
        return RunResult(output=output, engine=engine, engine_state=SparkState.COMPLETED)

    async def live_log(self, run: Run) -> str | None:
        if run.engine_state != SparkState.RUNNING or run.run_id in self._logs:
            return None  # in the run's log at once
        try:
            return await self._api.driver_log(driver_pod_name(run.run_id))
        except NotFound:
            return None

    async def _put_job(self, job: SparkJob) -> None:
        target = f"{self._lake.catalog_name}.{job.destination}"
        mode, align_with = str(job.write_mode), None
        if job.write_mode == "append":
            exists = await self._catalog.table(job.destination) is not None
            mode, align_with = ("append", target) if exists else ("create", None)
        description = job.description(
            self._lake.s3.bucket, destination=target, mode=mode, align_with=align_with
        )
        body = json.dumps(description).encode()
        await self._store.put(job_key(job.run_id), body, "application/json")

    async def _create(self, job: SparkJob, control: RunControl) -> None:
        resource = manifest(job, self._settings, self._lake, control.run.request_id)
        waits = backoff_delays()
        for left in reversed(range(CREATE_ATTEMPTS)):
            try:
                self.watch.created(await self._api.create(resource))
                break
            except Conflict:
                break  # a response was lost: the name is this run's own
            except EngineUnreachable:
                if not left:
                    raise
                await asyncio.sleep(next(waits))
        await control.progress(
            engine={"spark_version": self._settings.version, "image": self._settings.image},
            reason="SparkApplicationCreated",
            message=f"{application_name(job.run_id)} in {self._settings.namespace}",
        )

    async def _follow(
        self,
        run_id: str,
        queue: "asyncio.Queue[Application | None]",
        control: RunControl,
        attempt: int,
    ) -> tuple[Application, str | None]:
        """Returns the application that ended, and its driver's log. Deletes one that does not
        start, and raises why."""
        driver_log = None
        watchdog = Watchdog(self._api, run_id, self._submit_timeout, control)
        try:
            async for application in watchdog.changes(queue):
                if application.state is None:
                    continue
                await control.progress(
                    engine_state=application.state,
                    engine={**application.engine, "execution_attempts": attempt},
                    reason=application.reason,
                    message=_message(application),
                    warning=application.error is not None,
                )
                if application.state is SparkState.RUNNING:
                    self._logs.follow(run_id, control)
                elif application.state in ATTEMPT_ENDED and driver_log is None:
                    driver_log = await self._logs.read_to_end(run_id, control)
                if application.state in ENDED:
                    return application, driver_log
        except EngineFailed:
            await self._stop(run_id)
            raise
        raise AssertionError("unreachable")

    def _may_continue(self, run: Run) -> bool:
        if run.cancel_requested_at is not None or run.started_at is None:
            return False
        return self._seconds_left(run) > 0

    def _seconds_left(self, run: Run) -> float:
        started = run.started_at or run.created_at
        return (started + timedelta(seconds=self._run_timeout) - datetime.now(UTC)).total_seconds()

    async def _rejoin(self, run: Run) -> Application | None:
        name = application_name(run.run_id)
        with self.watch.follow(name) as queue:
            try:
                self.watch.created(await self._api.application(name))
            except NotFound:
                return None
            try:
                async with asyncio.timeout(self._seconds_left(run)):
                    async for application in _until_deleted(queue):
                        if application.state in ENDED:
                            return application
            except TimeoutError:
                return None
        return None

    async def _stop(self, run_id: str) -> None:
        """Deletes the application, and waits until no part of it runs that could still commit."""
        with suppress(NotFound):
            await self._api.delete(application_name(run_id))
        try:
            async with asyncio.timeout(POD_GONE_WITHIN):
                while True:
                    await self._api.pod(driver_pod_name(run_id))
                    await asyncio.sleep(POD_POLL)
        except NotFound:
            return
        except TimeoutError:
            raise EngineUnreachable(
                f"The driver pod of {application_name(run_id)} does not end."
            ) from None


async def _until_deleted(
    queue: "asyncio.Queue[Application | None]",
) -> AsyncIterator[Application]:
    while (application := await queue.get()) is not None:
        yield application


def _message(application: Application) -> str:
    message = f"{application.name}: {application.state or 'not seen by the operator yet'}"
    return f"{message} — {application.error[-500:]}" if application.error else message
