"""Detects applications that do not start, and when to give them up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from app.data_transformation.kubernetes import driver_pod
from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application import (
    BEFORE_RUNNING,
    Application,
    application_name,
    driver_pod_name,
)
from app.data_transformation.kubernetes.driver_failure import deleted
from app.errors import AsgardError, EngineFailed, NotFound
from app.failure import FailureCause
from app.runs.handler import RunControl

FIRST_CHECK, LONGEST_CHECK = 15.0, 120.0
"""Seconds until the pod is checked before RUNNING, first and at most. The interval grows."""


class CheckTimes:
    """The times to check an application that waits, by the caller's clock. The last check is at the
    end of the timeout, however long the step before it would be."""

    def __init__(self, timeout: float, now: float) -> None:
        self._deadline = now + timeout
        self._step = FIRST_CHECK
        self._next = min(now + self._step, self._deadline)

    def pause(self, now: float) -> float:
        """Returns the seconds until the next check."""
        return max(0.0, self._next - now)

    def is_last(self, now: float) -> bool:
        return now >= self._deadline

    def checked(self, now: float) -> None:
        self._step = min(self._step * 2, LONGEST_CHECK)
        self._next = min(now + self._step, self._deadline)


class Watchdog:
    def __init__(
        self, api: KubernetesApi, run_id: str, submit_timeout: float, control: RunControl
    ) -> None:
        self._api = api
        self._run_id = run_id
        self._submit_timeout = submit_timeout
        self._control = control
        self._reported: str | None = None

    async def changes(
        self, queue: "asyncio.Queue[Application | None]"
    ) -> AsyncIterator[Application]:
        """Yields every change of the application. Raises `EngineFailed` if it was deleted, or has
        not started within the submit timeout, not counting the time for which it was suspended."""
        clock = asyncio.get_running_loop().time
        application: Application | None = None
        times = CheckTimes(self._submit_timeout, clock())
        while True:
            is_waiting = application is None or application.state in BEFORE_RUNNING
            try:
                async with asyncio.timeout(times.pause(clock()) if is_waiting else None):
                    change = await queue.get()
            except TimeoutError:
                await self._check(application, times.is_last(clock()))
                times.checked(clock())
                continue
            if change is None:
                raise deleted(self._run_id)
            if not is_waiting and change.state in BEFORE_RUNNING:
                times = CheckTimes(self._submit_timeout, clock())
            application = change
            yield change

    async def _check(self, application: Application | None, is_last: bool) -> None:
        cause = await self._cause(application)
        if is_last:
            raise cause or self._unknown(application)
        if cause is not None and cause.detail != self._reported:
            self._reported = cause.detail
            await self._control.progress(
                reason="SparkApplicationWaits", message=cause.detail, warning=True
            )

    async def _cause(self, application: Application | None) -> EngineFailed | None:
        if application is None:
            return None
        try:
            pod = await self._pod()
            name = driver_pod_name(self._run_id) if pod else application_name(self._run_id)
            return driver_pod.startup_failure(application, pod, await self._api.events(name))
        except EngineFailed as error:
            return error
        except AsgardError:
            return None

    async def _pod(self) -> Any | None:
        try:
            return await self._api.pod(driver_pod_name(self._run_id))
        except NotFound:
            return None

    def _unknown(self, application: Application | None) -> EngineFailed:
        seconds = f"{self._submit_timeout:g} s (SPARK_SUBMIT_TIMEOUT)"
        if application is None or application.state is None:
            return EngineFailed(
                f"The Spark operator has not picked up the SparkApplication within {seconds}.",
                cause=FailureCause.TIMEOUT,
                hint="Check that the operator is running and watches SPARK_NAMESPACE.",
                retryable=True,
            )
        return EngineFailed(
            f"The driver has not started within {seconds}. The operator says {application.state}.",
            cause=FailureCause.TIMEOUT,
            retryable=True,
        )
