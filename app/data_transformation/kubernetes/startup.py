"""Applications that do not get to run: why, and when to give them up."""

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

FIRST_LOOK, LONGEST_LOOK = 15.0, 120.0
"""Seconds before RUNNING after which the pod is looked at; then ever more rarely."""


class Looks:
    """When to look at an application that waits, by a clock of the caller's. The last look is at
    the end of the timeout, however long the step before it would be."""

    def __init__(self, timeout: float, now: float) -> None:
        self._given_up_at = now + timeout
        self._step = FIRST_LOOK
        self._next = min(now + self._step, self._given_up_at)

    def pause(self, now: float) -> float:
        """Seconds until the next one."""
        return max(0.0, self._next - now)

    def is_last(self, now: float) -> bool:
        return now >= self._given_up_at

    def looked(self, now: float) -> None:
        self._step = min(self._step * 2, LONGEST_LOOK)
        self._next = min(now + self._step, self._given_up_at)


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
        self, seen: "asyncio.Queue[Application | None]"
    ) -> AsyncIterator[Application]:
        """Every change of the application. Raises `EngineFailed` when it was deleted, or has not
        run after the submit timeout; the time in which it was suspended does not count."""
        clock = asyncio.get_running_loop().time
        application: Application | None = None
        looks = Looks(self._submit_timeout, clock())
        while True:
            waits = application is None or application.state in BEFORE_RUNNING
            try:
                async with asyncio.timeout(looks.pause(clock()) if waits else None):
                    news = await seen.get()
            except TimeoutError:
                await self._look(application, looks.is_last(clock()))
                looks.looked(clock())
                continue
            if news is None:
                raise deleted(self._run_id)
            if not waits and news.state in BEFORE_RUNNING:
                looks = Looks(self._submit_timeout, clock())
            application = news
            yield news

    async def _look(self, application: Application | None, late: bool) -> None:
        cause = await self._cause(application)
        if late:
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
            return driver_pod.stuck(application, pod, await self._api.events(name))
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
                f"The Spark operator has not taken the SparkApplication up within {seconds}.",
                cause=FailureCause.TIMEOUT,
                hint="Is the operator running, and does it watch SPARK_NAMESPACE?",
                retryable=True,
            )
        return EngineFailed(
            f"The driver has not run within {seconds}; the operator says {application.state}.",
            cause=FailureCause.TIMEOUT,
            retryable=True,
        )
