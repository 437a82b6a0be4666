"""The reason why a SparkApplication failed or waits, in words for its caller."""

import json
from typing import Any

import pytest
from kubernetes.client import (
    ApiException,
    CoreV1Event,
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1ObjectMeta,
    V1ObjectReference,
    V1Pod,
    V1PodCondition,
    V1PodStatus,
)

from app.data_transformation.kubernetes import driver_pod, spark_errors
from app.data_transformation.kubernetes.application import Application
from app.data_transformation.kubernetes.errors import KubernetesCall, WatchExpired, translated
from app.errors import AsgardError, Conflict, EngineFailed, EngineUnreachable, NotFound
from app.failure import FailureCause

CONTAINER = "spark-kubernetes-driver"


def application(**status: Any) -> Application:
    return Application.of({"metadata": {"name": "sql-exec-1"}, "status": status})


def pod(
    *,
    condition: V1PodCondition | None = None,
    reason: str | None = None,
    message: str | None = None,
    **state: Any,
) -> V1Pod:
    status = V1ContainerStatus(
        name=CONTAINER,
        image="spark",
        image_id="",
        ready=False,
        restart_count=0,
        state=V1ContainerState(**state),
    )
    conditions = [condition] if condition else None
    return V1Pod(
        status=V1PodStatus(
            container_statuses=[status] if state else None,
            conditions=conditions,
            reason=reason,
            message=message,
        )
    )


def warning(message: str) -> CoreV1Event:
    return CoreV1Event(
        type="Warning",
        reason="FailedCreate",
        message=message,
        metadata=V1ObjectMeta(),
        involved_object=V1ObjectReference(),
    )


def test_an_application_is_read_as_the_operator_writes_it() -> None:
    assert application().state is None
    parsed = application(
        applicationState={"state": "PENDING_RERUN", "errorMessage": ""},
        driverInfo={"podName": "sql-exec-1-driver"},
        executorState={"a": "RUNNING", "b": "RUNNING", "c": "FAILED"},
        executionAttempts=2,
        submissionAttempts=1,
        sparkApplicationId="spark-1",
    )
    assert (parsed.state, parsed.error) == ("PENDING_RERUN", None)
    assert parsed.reason == "SparkApplicationPendingRerun"
    assert parsed.engine == {
        "driver_pod": "sql-exec-1-driver",
        "application_id": "spark-1",
        "submission_attempts": 1,
        "execution_attempts": 2,
        "executor_count": 2,
    }
    assert application(applicationState={"state": "SOMETHING_NEW"}).state == "UNKNOWN"


@pytest.mark.parametrize(
    ("kind", "condition", "message", "cause", "says"),
    [
        (
            "AnalysisException",
            "UNRESOLVED_COLUMN.WITH_SUGGESTION",
            "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column or function parameter with name `nope` "
            "cannot be resolved. Did you mean one of the following? [`id`].; line 1 pos 7;\n'Pro",
            "sql_error",
            "There is no column nope.",
        ),
        (
            "AnalysisException",
            "TABLE_OR_VIEW_NOT_FOUND",
            "[TABLE_OR_VIEW_NOT_FOUND] The table or view `iceberg`.`silver`.`t` cannot be found.",
            "table_not_found",
            "There is no table or view iceberg.silver.t.",
        ),
        (
            "ArithmeticException",
            "DIVIDE_BY_ZERO",
            "[DIVIDE_BY_ZERO] Division by zero.\n== SQL (line 1, position 8) ==\nSELECT 1 / 0",
            "sql_error",
            "[DIVIDE_BY_ZERO] Division by zero.",
        ),
        ("JobError", None, "silver.t has no column x.", "sql_error", "silver.t has no column x."),
        (
            "Py4JJavaError",
            None,
            "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: "
            "The executor with id 1 exited with exit code 137(SIGKILL, possible container OOM).",
            "internal",
            "The executor was killed (exit code 137).",
        ),
        (
            "Py4JJavaError",
            None,
            "The executor with id 1 exited with exit code 137(SIGKILL, possible container OOM).\n"
            "The API gave the following container statuses:\n\t termination reason: OOMKilled",
            "out_of_memory",
            "ran out of the memory",
        ),
        (
            "Py4JJavaError",
            None,
            "java.net.ConnectException: Connection refused",
            "engine_unreachable",
            "cannot reach",
        ),
        (
            "Py4JJavaError",
            None,
            "AmazonS3Exception: Forbidden (Service: Amazon S3; Status Code: 403; …)",
            "permission_denied",
            "refused a request",
        ),
        ("Py4JJavaError", None, "java.lang.IllegalStateException: x", "internal", "Illegal"),
    ],
)
def test_the_last_error_of_a_job_is_translated(
    kind: str, condition: str | None, message: str, cause: str, says: str
) -> None:
    report = json.dumps({"kind": kind, "condition": condition, "message": message})
    log = f"2026-11-23 10:00:00,123 asgard: failed {report}\nINFO stopped\n"
    error = spark_errors.failure_in("INFO starting\n" + log)
    assert error is not None
    assert error.cause == cause
    assert says in error.detail


def test_a_driver_without_an_error_in_its_log_is_diagnosed() -> None:
    assert spark_errors.failure_in("INFO all is well\n") is None
    heap = spark_errors.failure_in("java.lang.OutOfMemoryError: Java heap space\n")
    assert isinstance(heap, EngineFailed)
    assert heap.cause is FailureCause.OUT_OF_MEMORY
    killed = driver_pod.termination(
        pod(terminated=V1ContainerStateTerminated(exit_code=137, reason="OOMKilled"))
    )
    assert killed is not None
    assert killed.cause is FailureCause.OUT_OF_MEMORY
    failed = pod(terminated=V1ContainerStateTerminated(exit_code=1, reason="Error"))
    assert driver_pod.termination(failed) is None
    message = "driver container failed with ExitCode: 1, Reason: Error"
    ending = driver_pod.operator_error(application(applicationState={"errorMessage": message}))
    assert (ending.cause, message in ending.detail) == (FailureCause.INTERNAL, True)


def test_exit_code_137_alone_is_not_a_lack_of_memory() -> None:
    """A drained node kills drivers, too."""
    shot = pod(terminated=V1ContainerStateTerminated(exit_code=137, reason="Error"))
    assert driver_pod.termination(shot) is None
    message = "driver container failed with ExitCode: 137, Reason: Error"
    summary = driver_pod.operator_error(application(applicationState={"errorMessage": message}))
    for failure in (driver_pod.killed_driver(shot), summary):
        assert failure is not None
        assert (failure.cause, failure.retryable) == (FailureCause.INTERNAL, True)
        assert "was killed (exit code 137)" in failure.detail
    message = "driver container failed with ExitCode: 137, Reason: OOMKilled"
    failure = driver_pod.operator_error(application(applicationState={"errorMessage": message}))
    assert failure.cause is FailureCause.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        (pod(reason="Evicted", message="The node was low on memory."), "Evicted: The node was low"),
        (
            pod(
                reason="Terminated",
                terminated=V1ContainerStateTerminated(exit_code=137, reason="Error"),
            ),
            "Terminated",
        ),
        (
            pod(
                condition=V1PodCondition(
                    type="DisruptionTarget",
                    status="True",
                    reason="PreemptionByScheduler",
                    message="for another pod",
                ),
                terminated=V1ContainerStateTerminated(exit_code=143, reason="Error"),
            ),
            "PreemptionByScheduler: for another pod",
        ),
    ],
    ids=["evicted", "shutdown", "preempted"],
)
def test_a_pod_that_kubernetes_ended_is_named_and_may_be_run_again(ended: V1Pod, says: str) -> None:
    failure = driver_pod.termination(ended)
    assert failure is not None
    assert f"Kubernetes ended the driver's pod: {says}" in failure.detail
    assert (failure.cause, failure.retryable) == (FailureCause.INTERNAL, True)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("ImagePullBackOff", "image_pull"),
        ("InvalidImageName", "image_pull"),
        ("CreateContainerConfigError", "permission_denied"),
    ],
)
def test_a_container_that_cannot_start_is_diagnosed(reason: str, cause: str) -> None:
    waiting = pod(waiting=V1ContainerStateWaiting(reason=reason, message="because"))
    failure = driver_pod.startup_failure(application(), waiting, [])
    assert failure is not None
    assert failure.cause == cause
    assert f"{reason}: because" in failure.detail


def test_a_pod_that_fits_no_node_is_unschedulable() -> None:
    condition = V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes: cpu"
    )
    failure = driver_pod.startup_failure(application(), pod(condition=condition), [])
    assert failure is not None
    assert failure.cause is FailureCause.UNSCHEDULABLE
    assert "0/1 nodes: cpu" in failure.detail


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('pods "x-driver" is forbidden: exceeded quota: q', "unschedulable"),
        (
            'forbidden: error looking up service account a/b: serviceaccount "b" not found',
            "permission_denied",
        ),
        ("something else", "timeout"),
    ],
)
def test_events_show_the_cause_before_a_pod_exists(message: str, cause: str) -> None:
    failure = driver_pod.startup_failure(application(), None, [warning(message)])
    assert failure is not None
    assert failure.cause == cause
    assert message in failure.detail


def refusal(status: int, message: str, call: KubernetesCall) -> Exception:
    error = ApiException(status=status, reason="")
    error.body = json.dumps({"kind": "Status", "message": message})
    return translated(error, call, "spark")


CREATE = KubernetesCall("create", "sparkapplications", "sparkoperator.k8s.io")


def test_a_refusal_names_verb_and_resource() -> None:
    error = refusal(403, 'sparkapplications is forbidden: User "x" cannot create …', CREATE)
    assert isinstance(error, EngineFailed)
    assert error.cause is FailureCause.PERMISSION_DENIED
    assert error.members == {"verb": "create", "resource": "sparkapplications"}
    assert "in the namespace spark" in error.detail


@pytest.mark.parametrize(
    ("status", "call", "kind"),
    [
        (404, KubernetesCall("get", "pods"), NotFound),
        (404, CREATE, EngineFailed),
        (409, CREATE, Conflict),
        (410, KubernetesCall("watch", "sparkapplications"), WatchExpired),
        (429, CREATE, EngineUnreachable),
        (500, CREATE, EngineUnreachable),
        (503, CREATE, EngineUnreachable),
        (422, CREATE, EngineFailed),
    ],
)
def test_errors_of_the_api_server_are_translated(
    status: int, call: KubernetesCall, kind: type[AsgardError]
) -> None:
    assert type(refusal(status, "no", call)) is kind


def test_an_html_page_is_quoted_in_the_error() -> None:
    error = ApiException(status=404, reason="Not Found")
    error.body = "<html>nginx</html>"
    failure = translated(error, CREATE, "spark")
    assert isinstance(failure, EngineFailed)
    assert "<html>nginx</html>" in failure.detail


def test_a_connection_that_breaks_is_transient() -> None:
    failure = translated(OSError("connection refused"), CREATE, "spark")
    assert isinstance(failure, EngineUnreachable)
    assert failure.retryable
