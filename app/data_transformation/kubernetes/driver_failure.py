"""Why a driver failed, and whether another attempt might succeed."""

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
OWN_FAULTS = frozenset(
    {
        FailureCause.SQL_ERROR,
        FailureCause.TABLE_NOT_FOUND,
        FailureCause.OUT_OF_MEMORY,
        FailureCause.PERMISSION_DENIED,
    }
)


def may_pass(error: AsgardError) -> bool:
    """Whether another attempt might succeed: these would fail again."""
    cause = error.failure_cause if isinstance(error, EngineFailed) else error.cause
    return cause not in OWN_FAULTS


async def why_it_failed(
    api: KubernetesApi, run_id: str, application: Application, log: str | None = None
) -> AsgardError:
    """What Kubernetes says of the pod, else the job itself, else the operator. `log` is what the
    driver said, None if nobody followed it."""
    name = driver_pod_name(run_id)
    pod = await _if_there(api.pod(name))
    if pod is not None and (ended := driver_pod.death(pod)) is not None:
        return ended
    if log is None:
        log = await _if_there(api.driver_log(name))
    told = spark_errors.failure_in(log or "")
    return told or (pod and driver_pod.kill(pod)) or driver_pod.ending(application)


async def _if_there(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except AsgardError:
        return None  # it is gone, or may not be seen


def deleted(run_id: str) -> EngineFailed:
    return EngineFailed(
        f"{application_name(run_id)} was deleted before it ended.",
        cause=FailureCause.LOST,
        hint="Somebody deleted the SparkApplication. Run it again.",
        retryable=True,
    )
