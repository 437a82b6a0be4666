"""The reason why a driver failed, and whether another attempt might succeed."""

from collections.abc import Awaitable
from typing import TypeVar

from app.data_transformation.kubernetes import driver_pod, spark_errors
from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application import (
    Application,
    application_name,
    driver_pod_name,
)
from app.errors import AsgardError, EngineFailed
from app.failure import FailureCause

T = TypeVar("T")
PERMANENT_CAUSES = frozenset(
    {
        FailureCause.SQL_ERROR,
        FailureCause.TABLE_NOT_FOUND,
        FailureCause.OUT_OF_MEMORY,
        FailureCause.PERMISSION_DENIED,
    }
)


def is_worth_retrying(error: AsgardError) -> bool:
    """Returns whether another attempt might succeed. These causes would fail again."""
    return error.cause not in PERMANENT_CAUSES


async def failure_of(
    api: KubernetesApi, run_id: str, application: Application, log: str | None = None
) -> AsgardError:
    """Returns what Kubernetes says about the pod, else the job itself, else the operator. `log` is
    the driver's log, or None if no process followed it."""
    name = driver_pod_name(run_id)
    pod = await _if_available(api.pod(name))
    if pod is not None and (terminated := driver_pod.termination(pod)) is not None:
        return terminated
    if log is None:
        log = await _if_available(api.driver_log(name))
    reported = spark_errors.failure_in(log or "")
    return (
        reported
        or (pod and driver_pod.killed_driver(pod))
        or driver_pod.operator_error(application)
    )


async def _if_available(request: Awaitable[T]) -> T | None:
    try:
        return await request
    except AsgardError:
        return None  # it is gone, or may not be read


def deleted(run_id: str) -> EngineFailed:
    return EngineFailed(
        f"{application_name(run_id)} was deleted before it ended.",
        cause=FailureCause.LOST,
        hint="Another client deleted the SparkApplication. Run it again.",
        retryable=True,
    )
