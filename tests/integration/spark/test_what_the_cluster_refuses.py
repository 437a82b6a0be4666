"""The causes and hints for a cluster that is not set up correctly. These tests need no Spark."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from app.caller import ANONYMOUS
from app.config import Settings
from app.doctor import CheckResult, kubernetes_findings
from app.runs.model import Run, RunState
from tests.conftest import Lakehouse
from tests.integration.servers.kube import ADMIN, GATEWAY, KubeServer, kube_server
from tests.integration.spark.cluster import RULES, Cluster, create_namespace
from tests.integration.spark.operator_runs import operator_runs

CONTAINER = {"name": "spark-kubernetes-driver", "image": "x"}


def without(verb: str, resource: str) -> list[dict[str, Any]]:
    return [
        {**rule, "verbs": [v for v in rule["verbs"] if v != verb]}
        if resource in rule["resources"]
        else rule
        for rule in RULES
    ]


def fault(run: Run) -> tuple[str, str, str]:
    assert run.state is RunState.FAILED
    assert run.failure is not None
    return run.failure.cause, run.failure.message, run.failure.hint or ""


@pytest.mark.parametrize("verb", ["create", "list", "watch"])
async def test_a_missing_right_is_named(lakehouse: Lakehouse, cluster: Cluster, verb: str) -> None:
    namespace = f"without-{verb}"
    create_namespace(cluster, namespace, without(verb, "sparkapplications"))
    async with operator_runs(lakehouse, cluster.kube.kubeconfig(GATEWAY), namespace) as runs:
        cause, message, hint = fault(await runs.ended(await runs.start(f"sk_without_{verb}")))
    assert cause == "permission_denied"
    assert f"{verb} sparkapplications.sparkoperator.k8s.io in the namespace {namespace}" in message
    assert f"lacks the verb {verb} for sparkapplications" in hint
    assert await lakehouse.store.list("asgard/jobs/") == []


async def test_the_doctor_names_every_right_that_is_missing(cluster: Cluster) -> None:
    create_namespace(cluster, "seen-by-doctor", RULES)
    create_namespace(cluster, "half-blind", without("list", "sparkapplications"))

    async def examined(namespace: str) -> CheckResult:
        [result] = await kubernetes_findings(
            Settings(
                _env_file=None,
                spark_namespace=namespace,
                kubeconfig=cluster.kube.kubeconfig(GATEWAY),
            )
        )
        return result

    good = await examined("seen-by-doctor")
    assert good.ok, good.message
    assert "as system:serviceaccount:" in good.message
    bad = await examined("half-blind")
    assert not bad.ok
    assert (
        "may not list sparkapplications.sparkoperator.k8s.io in the namespace half-blind"
        in bad.message
    )
    assert "docs/production/spark.md" in bad.advice


async def test_a_cancel_without_the_right_to_delete_is_reported(
    lakehouse: Lakehouse, cluster: Cluster
) -> None:
    create_namespace(cluster, "without-delete", without("delete", "sparkapplications"))
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, "without-delete") as runs:
        run = await runs.start("sk_without_delete")
        await runs.until(run, "SparkApplicationCreated")
        await runs.service.cancel(run.run_id, ANONYMOUS)
        cause, message, _ = fault(await runs.ended(run))
    assert cause == "permission_denied"
    assert "delete sparkapplications" in message


async def test_an_exhausted_quota_is_reported(
    lakehouse: Lakehouse, cluster: Cluster, controllers: None
) -> None:
    create_namespace(cluster, "no-quota", RULES)
    hard = {"count/sparkapplications.sparkoperator.k8s.io": "0"}
    quota = {"metadata": {"name": "none"}, "spec": {"hard": hard}}
    cluster.core.create_namespaced_resource_quota("no-quota", quota)
    async with asyncio.timeout(30):
        while not cluster.core.read_namespaced_resource_quota("none", "no-quota").status.used:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    async with operator_runs(lakehouse, cluster.kube.kubeconfig(GATEWAY), "no-quota") as runs:
        run = await runs.ended(await runs.start("sk_quota"))
    cause, message, hint = fault(run)
    assert cause == "unschedulable"
    assert "exceeded quota" in message
    assert "ResourceQuota" in hint
    assert run.failure is not None
    assert run.failure.retryable


async def test_a_missing_namespace_is_reported(lakehouse: Lakehouse, cluster: Cluster) -> None:
    async with operator_runs(lakehouse, cluster.kube.kubeconfig(ADMIN), "nowhere") as runs:
        cause, message, hint = fault(await runs.ended(await runs.start("sk_nowhere")))
    assert (cause, message) == ("internal", "There is no namespace nowhere.")
    assert "SPARK_NAMESPACE" in hint


@pytest.fixture(scope="module")
def controllers(cluster: Cluster) -> Iterator[None]:
    cluster.kube.start_controllers()
    yield
    cluster.kube.kill("kube-scheduler")
    cluster.kube.kill("kube-controller-manager")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with kube_server(tmp_path_factory.mktemp("bare")) as server:
        yield server


async def test_a_missing_crd_is_reported(lakehouse: Lakehouse, bare: KubeServer) -> None:
    async with operator_runs(lakehouse, bare.kubeconfig(ADMIN), "default") as runs:
        cause, message, hint = fault(await runs.ended(await runs.start("sk_no_crd")))
    assert cause == "internal"
    assert "does not have sparkapplications.sparkoperator.k8s.io" in message
    assert "CRDs (v1beta2)" in hint


async def test_invalid_credentials_are_reported(lakehouse: Lakehouse, bare: KubeServer) -> None:
    async with operator_runs(lakehouse, bare.kubeconfig("expired-token"), "default") as runs:
        cause, message, _ = fault(await runs.ended(await runs.start("sk_stranger")))
    assert cause == "permission_denied"
    assert "token is missing or expired" in message


async def test_an_unreachable_api_server_is_reported(
    lakehouse: Lakehouse, bare: KubeServer
) -> None:
    away = bare.kubeconfig(ADMIN, url="https://127.0.0.1:9")
    async with operator_runs(lakehouse, away, "default") as runs:
        run = await runs.start("sk_away")
        # It is unknown whether it was created: the run is reconciled when the server is back.
        await runs.until(run, "Started")
        assert not (await runs.service.wait(run.run_id, 2)).state.is_terminal
        bare.kubeconfig(ADMIN)


WAITING = {
    "ImagePullBackOff": ("image_pull", "SPARK_IMAGE", 'Back-off pulling image "x"'),
    "InvalidImageName": ("image_pull", "SPARK_IMAGE", "couldn't parse image name"),
    "CreateContainerConfigError": (
        "permission_denied",
        "S3_SECRET_NAME",
        'secret "s3-credentials" not found',
    ),
}


@pytest.mark.parametrize("reason", WAITING)
async def test_a_waiting_driver_is_given_up_with_the_reason(
    lakehouse: Lakehouse, cluster: Cluster, reason: str
) -> None:
    namespace = f"waits-{reason.lower()}"
    create_namespace(cluster, namespace, RULES)
    cause, setting, message = WAITING[reason]
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, namespace, submit_timeout=2) as runs:
        run = await runs.start(f"sk_{reason.lower()}")
        await runs.until(run, "SparkApplicationCreated")
        pod = create_driver(cluster, namespace, run, nodeName="nowhere", containers=[CONTAINER])
        waiting = {"waiting": {"reason": reason, "message": message}}
        status = {**CONTAINER, "imageID": "", "ready": False, "restartCount": 0, "state": waiting}
        body = {"status": {"phase": "Pending", "containerStatuses": [status]}}
        cluster.core.patch_namespaced_pod_status(pod, namespace, body)
        await deleted(cluster, namespace)
        cluster.core.delete_namespaced_pod(pod, namespace, grace_period_seconds=0)
        failure = fault(await runs.ended(run))
    assert failure[0] == cause
    assert message in failure[1]
    assert setting in failure[2]


async def test_a_driver_that_fits_no_node_is_unschedulable(
    lakehouse: Lakehouse, cluster: Cluster, controllers: None
) -> None:
    """The real scheduler decides, and the real collector deletes the pod with the application."""
    create_namespace(cluster, "full", RULES)
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, "full", submit_timeout=4) as runs:
        run = await runs.start("sk_full")
        await runs.until(run, "SparkApplicationCreated")
        [owner] = applications(cluster, "full")
        huge = {**CONTAINER, "resources": {"requests": {"cpu": "1000"}}}
        create_driver(cluster, "full", run, owner=owner, containers=[huge])
        cause, message, _ = fault(await runs.ended(run))
    assert cause == "unschedulable"
    assert "no room for the driver: " in message
    assert "nodes" in message
    assert applications(cluster, "full") == []
    assert cluster.core.list_namespaced_pod("full").items == []


async def test_a_missing_operator_is_reported(lakehouse: Lakehouse, cluster: Cluster) -> None:
    create_namespace(cluster, "no-operator", RULES)
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, "no-operator", submit_timeout=1) as runs:
        run = await runs.start("sk_no_operator")
        cause, message, hint = fault(await runs.ended(run))
    assert cause == "timeout"
    assert "operator has not picked up" in message
    assert "watches SPARK_NAMESPACE" in hint
    assert applications(cluster, "no-operator") == []


async def deleted(cluster: Cluster, namespace: str) -> None:
    """Wait until the application is deleted. The garbage collector of its pod is not here."""
    async with asyncio.timeout(20):
        while applications(cluster, namespace):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def create_driver(
    cluster: Cluster,
    namespace: str,
    run: Run,
    *,
    owner: dict[str, Any] | None = None,
    **spec: Any,
) -> str:
    name = f"sql-exec-{run.run_id}-driver"
    metadata: dict[str, Any] = {"name": name}
    if owner is not None:
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
        metadata["ownerReferences"] = [reference]
    cluster.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})
    return name


def applications(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = cluster.custom.list_namespaced_custom_object(
        "sparkoperator.k8s.io", "v1beta2", namespace, "sparkapplications"
    )["items"]
    return listed
