"""The reason why a driver does not start or has ended, from its pod and the related events."""

import re
from collections.abc import Sequence
from typing import Any

from app.data_transformation.kubernetes.api import DRIVER_CONTAINER
from app.data_transformation.kubernetes.application import Application
from app.data_transformation.kubernetes.spark_errors import MEMORY, killed, out_of_memory
from app.errors import EngineFailed
from app.failure import FailureCause

NO_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
    }
)
NO_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError"})
KILLED = 137
"""Exit code of a container that got SIGKILL: for lack of memory, a drained node, or otherwise."""
EXIT_CODE = re.compile(rf"ExitCode: {KILLED}\b")
VANISHED = re.compile("driver container status missing|driver pod not found", re.IGNORECASE)
"""The operator's words for a pod that was evicted or deleted."""
LONGEST = 1000


def startup_failure(
    application: Application, pod: Any | None, events: Sequence[Any]
) -> EngineFailed | None:
    """Returns what prevents a driver's start, if known. Pod and events are Kubernetes objects."""
    if pod is not None:
        return _waiting(pod) or _unscheduled(pod) or _warned(events)
    return submission_failure(application.error) or _warned(events)


def submission_failure(error: str | None) -> EngineFailed | None:
    """Returns the failure of `spark-submit` in the operator, from its whole stderr."""
    if not error:
        return None
    if "exceeded quota" in error:
        return _quota(_line_with("exceeded quota", error))
    if "erviceaccount" in error or "orbidden" in error:
        return _forbidden(_line_with("orbidden", error))
    return None


def termination(pod: Any) -> EngineFailed | None:
    """Returns why Kubernetes ended the driver, whatever its log says, or None if it did not."""
    if any(ended.reason == "OOMKilled" for ended in _terminated(pod)):
        return out_of_memory()
    if (disruption := _disruption(pod)) is not None:
        return EngineFailed(
            f"Kubernetes ended the driver's pod: {disruption[:LONGEST]}",
            hint="Run it again: the job itself did not fail.",
            retryable=True,
        )
    return None


def killed_driver(pod: Any) -> EngineFailed | None:
    """Returns the failure of a driver that was killed. Its exit code does not say by what."""
    if any(ended.exit_code == KILLED for ended in _terminated(pod)):
        return killed("driver")
    return None


def operator_error(application: Application) -> EngineFailed:
    """Returns the operator's error, which is the last resort."""
    message = application.error or "The operator gave no reason."
    if MEMORY.search(message):
        return out_of_memory()
    if EXIT_CODE.search(message):
        return killed("driver")
    return submission_failure(message) or EngineFailed(
        f"The SparkApplication failed: {_shortened(message)}",
        hint="If the driver has started, the run's log has the details.",
        retryable=VANISHED.search(message) is not None,
    )


def _terminated(pod: Any) -> list[Any]:
    states = [status.state for status in _containers(pod) if status.state]
    return [state.terminated for state in states if state.terminated]


def _disruption(pod: Any) -> str | None:
    """Returns `Evicted`, `Preempting`, `Terminated` by a node that shuts down, …: in the words of
    the pod, or of the condition that Kubernetes gives a pod that it is about to end."""
    if pod.status.reason:
        return _reason(pod.status)
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return _reason(condition)
    return None


def _reason(state: Any) -> str:
    return f"{state.reason}: {state.message}" if state.message else f"{state.reason}"


def _waiting(pod: Any) -> EngineFailed | None:
    for status in _containers(pod):
        waiting = status.state.waiting if status.state else None
        if waiting is None:
            continue
        message = f"{waiting.reason}: {waiting.message or status.image}"[:LONGEST]
        if waiting.reason in NO_IMAGE:
            return EngineFailed(
                f"The Spark image cannot be pulled: {message}",
                cause=FailureCause.IMAGE_PULL,
                hint="Check SPARK_IMAGE, and that the cluster may pull from its registry.",
            )
        if waiting.reason in NO_CONFIG:
            return EngineFailed(
                f"The driver's container cannot be created: {message}",
                cause=FailureCause.PERMISSION_DENIED,
                hint="The Secret that S3_SECRET_NAME names must also be in SPARK_NAMESPACE.",
            )
    return None


def _unscheduled(pod: Any) -> EngineFailed | None:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return EngineFailed(
                f"The cluster has no room for the driver: {condition.message}",
                cause=FailureCause.UNSCHEDULABLE,
                hint="Request less, wait for other jobs, or add nodes.",
                retryable=True,
            )
    return None


def _warned(events: Sequence[Any]) -> EngineFailed | None:
    for event in reversed(events):
        message = event.message or ""
        if event.type != "Warning":
            continue
        if "exceeded quota" in message:
            return _quota(message)
        if "forbidden" in message or "serviceaccount" in message:
            return _forbidden(message)
        return EngineFailed(f"{event.reason}: {message[:LONGEST]}", cause=FailureCause.TIMEOUT)
    return None


def _quota(message: str) -> EngineFailed:
    return EngineFailed(
        f"The quota of the namespace is used up: {message[:LONGEST]}",
        cause=FailureCause.UNSCHEDULABLE,
        hint="Wait for other jobs to end, request less, or raise the ResourceQuota.",
        retryable=True,
    )


def _forbidden(message: str) -> EngineFailed:
    return EngineFailed(
        f"Kubernetes does not let Spark start its driver: {message[:LONGEST]}",
        cause=FailureCause.PERMISSION_DENIED,
        hint="SPARK_SERVICE_ACCOUNT must exist in SPARK_NAMESPACE, with the right to manage pods "
        "there.",
    )


def _containers(pod: Any) -> list[Any]:
    statuses = pod.status.container_statuses or []
    return [status for status in statuses if status.name == DRIVER_CONTAINER] or statuses


def _line_with(word: str, text: str) -> str:
    return next((line.strip() for line in text.splitlines() if word in line), text)


def _shortened(text: str) -> str:
    """Returns the end of a long stderr, which has the cause."""
    return text if len(text) <= LONGEST else "…" + text[-LONGEST:]
