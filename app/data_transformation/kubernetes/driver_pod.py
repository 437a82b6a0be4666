"""Why a driver does not start, or how it died: from its pod and the events around it."""

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
"""Exit code of a container that got SIGKILL: out of memory, or its node was drained, or else."""
EXIT_CODE = re.compile(rf"ExitCode: {KILLED}\b")
VANISHED = re.compile("driver container status missing|driver pod not found", re.IGNORECASE)
"""The operator's words for a pod that was evicted or deleted."""
LONGEST = 1000


def stuck(application: Application, pod: Any | None, events: Sequence[Any]) -> EngineFailed | None:
    """What holds a driver back, if it can be told. Pod and events are the Kubernetes client's."""
    if pod is not None:
        return _waiting(pod) or _unscheduled(pod) or _warned(events)
    return submission(application.error) or _warned(events)


def submission(error: str | None) -> EngineFailed | None:
    """What `spark-submit` in the operator said: a whole stderr."""
    if not error:
        return None
    if "exceeded quota" in error:
        return _quota(_line_with("exceeded quota", error))
    if "erviceaccount" in error or "orbidden" in error:
        return _forbidden(_line_with("orbidden", error))
    return None


def death(pod: Any) -> EngineFailed | None:
    """Why Kubernetes ended the driver, whatever its log says; None when it ended by itself."""
    if any(ended.reason == "OOMKilled" for ended in _terminated(pod)):
        return out_of_memory()
    if (why := _disruption(pod)) is not None:
        return EngineFailed(
            f"Kubernetes ended the driver's pod: {why[:LONGEST]}",
            hint="Run it again: the job did not fail by itself.",
            retryable=True,
        )
    return None


def kill(pod: Any) -> EngineFailed | None:
    """A driver that was killed, by whatever: its exit code says no more than that."""
    if any(ended.exit_code == KILLED for ended in _terminated(pod)):
        return killed("driver")
    return None


def ending(application: Application) -> EngineFailed:
    """What the operator says, when nobody else said anything."""
    said = application.error or "The operator did not say why."
    if MEMORY.search(said):
        return out_of_memory()
    if EXIT_CODE.search(said):
        return killed("driver")
    return submission(said) or EngineFailed(
        f"The SparkApplication failed: {_shortened(said)}",
        hint="The log of the run, if the driver has started, says more.",
        retryable=VANISHED.search(said) is not None,
    )


def _terminated(pod: Any) -> list[Any]:
    states = [status.state for status in _containers(pod) if status.state]
    return [state.terminated for state in states if state.terminated]


def _disruption(pod: Any) -> str | None:
    """`Evicted`, `Preempting`, `Terminated` by a node that shuts down, …: in the pod's own words,
    or in those of the condition that Kubernetes gives a pod that it is about to end."""
    if pod.status.reason:
        return _reason(pod.status)
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return _reason(condition)
    return None


def _reason(told: Any) -> str:
    return f"{told.reason}: {told.message}" if told.message else f"{told.reason}"


def _waiting(pod: Any) -> EngineFailed | None:
    for status in _containers(pod):
        waiting = status.state.waiting if status.state else None
        if waiting is None:
            continue
        said = f"{waiting.reason}: {waiting.message or status.image}"[:LONGEST]
        if waiting.reason in NO_IMAGE:
            return EngineFailed(
                f"The image of Spark cannot be pulled: {said}",
                cause=FailureCause.IMAGE_PULL,
                hint="Check SPARK_IMAGE, and that the cluster may pull from its registry.",
            )
        if waiting.reason in NO_CONFIG:
            return EngineFailed(
                f"The driver's container cannot be made: {said}",
                cause=FailureCause.PERMISSION_DENIED,
                hint="The Secret that S3_SECRET_NAME names has to be in SPARK_NAMESPACE, too.",
            )
    return None


def _unscheduled(pod: Any) -> EngineFailed | None:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return EngineFailed(
                f"The cluster has no room for the driver: {condition.message}",
                cause=FailureCause.UNSCHEDULABLE,
                hint="Ask for less, wait for other jobs, or add nodes.",
                retryable=True,
            )
    return None


def _warned(events: Sequence[Any]) -> EngineFailed | None:
    for event in reversed(events):
        said = event.message or ""
        if event.type != "Warning":
            continue
        if "exceeded quota" in said:
            return _quota(said)
        if "forbidden" in said or "serviceaccount" in said:
            return _forbidden(said)
        return EngineFailed(f"{event.reason}: {said[:LONGEST]}", cause=FailureCause.TIMEOUT)
    return None


def _quota(said: str) -> EngineFailed:
    return EngineFailed(
        f"The quota of the namespace is used up: {said[:LONGEST]}",
        cause=FailureCause.UNSCHEDULABLE,
        hint="Wait for other jobs to end, ask for less, or raise the ResourceQuota.",
        retryable=True,
    )


def _forbidden(said: str) -> EngineFailed:
    return EngineFailed(
        f"Kubernetes forbids Spark to start its driver: {said[:LONGEST]}",
        cause=FailureCause.PERMISSION_DENIED,
        hint="SPARK_SERVICE_ACCOUNT has to exist in SPARK_NAMESPACE and may manage pods there.",
    )


def _containers(pod: Any) -> list[Any]:
    statuses = pod.status.container_statuses or []
    return [status for status in statuses if status.name == DRIVER_CONTAINER] or statuses


def _line_with(word: str, text: str) -> str:
    return next((line.strip() for line in text.splitlines() if word in line), text)


def _shortened(text: str) -> str:
    """The end of a long stderr: its cause."""
    return text if len(text) <= LONGEST else "…" + text[-LONGEST:]
