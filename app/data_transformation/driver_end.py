"""How a driver ended: its log, which outlives its pod, and why it failed."""

from app.data_transformation import driver_pod, spark_errors
from app.data_transformation.application import (
    ATTEMPT_ENDED,
    Application,
    application_name,
    driver_pod_name,
)
from app.data_transformation.kubernetes_api import KubernetesApi
from app.errors import AsgardError, EngineFailed
from app.runs.driver import RunControl
from app.runs.failure import FailureCause

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


class DriverEnds:
    """Of one attempt."""

    def __init__(self, api: KubernetesApi, run_id: str, control: RunControl) -> None:
        self._api = api
        self._run_id = run_id
        self._control = control
        self._taken = False

    async def take(self, application: Application) -> None:
        """Archives the log, once the attempt has ended."""
        if application.state not in ATTEMPT_ENDED or self._taken:
            return
        self._taken = True
        text = await self._log()
        if text is not None:
            self._control.log(text)

    async def _log(self) -> str | None:
        try:
            return await self._api.driver_log(driver_pod_name(self._run_id))
        except AsgardError as error:
            self._control.log(f"The driver's log could not be read: {error.detail}")
            return None


async def why_it_failed(api: KubernetesApi, run_id: str, application: Application) -> AsgardError:
    """What Kubernetes says of the pod, else the job itself, else the operator."""
    name = driver_pod_name(run_id)
    try:
        pod = await api.pod(name)
    except AsgardError:
        return driver_pod.ending(application)  # the pod is gone, or may not be seen
    if (ended := driver_pod.death(pod)) is not None:
        return ended
    try:
        told = spark_errors.failure_in(await api.driver_log(name))
    except AsgardError:
        told = None
    return told or driver_pod.kill(pod) or driver_pod.ending(application)


def deleted(run_id: str) -> EngineFailed:
    return EngineFailed(
        f"{application_name(run_id)} was deleted before it ended.",
        cause=FailureCause.LOST,
        hint="Somebody deleted the SparkApplication. Run it again.",
        retryable=True,
    )
