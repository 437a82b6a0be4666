"""The watch that follows every application: restarts of the API server, 410 Gone, deletions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application import Application
from app.data_transformation.kubernetes.application_watch import ApplicationWatch
from app.errors import EngineUnreachable
from app.runs.model import RunState
from tests.conftest import Lakehouse
from tests.integration.servers.kube import ADMIN, GATEWAY
from tests.integration.spark.cluster import PLURAL, RULES, Cluster, create_namespace
from tests.integration.spark.operator_runs import operator_runs

APPLICATIONS = 1000
SECONDS = 60


@asynccontextmanager
async def watching(kubeconfig: Path, namespace: str) -> AsyncIterator[ApplicationWatch]:
    api = KubernetesApi(namespace, in_cluster=False, kubeconfig=kubeconfig)
    watch = ApplicationWatch(api)
    watch.open()
    await watch.require()
    try:
        yield watch
    finally:
        watch.close()
        api.close()


def resource(name: str) -> dict[str, Any]:
    pod = {"cores": 1, "memory": "512m"}
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "asgard"}},
        "spec": {
            "type": "Python",
            "mode": "cluster",
            "sparkVersion": "3.5.9",
            "mainApplicationFile": "local:///opt/asgard/job.py",
            "driver": pod,
            "executor": pod,
        },
    }


class Namespace:
    def __init__(self, cluster: Cluster, name: str) -> None:
        create_namespace(cluster, name, RULES)
        self.cluster = Cluster(cluster.kube, cluster.client, name)

    def create(self, name: str) -> None:
        self.cluster.custom.create_namespaced_custom_object(
            "sparkoperator.k8s.io", "v1beta2", self.cluster.namespace, PLURAL, resource(name)
        )

    def state(self, name: str, state: str) -> None:
        self.cluster.patch_status(name, {"applicationState": {"state": state}})


async def next_change(queue: "asyncio.Queue[Application | None]") -> Application | None:
    async with asyncio.timeout(SECONDS):
        return await queue.get()


async def state(queue: "asyncio.Queue[Application | None]") -> str | None:
    change = await next_change(queue)
    assert change is not None
    return change.state


async def first_of_watch(api: KubernetesApi, version: str) -> dict[str, Any]:
    """Return the first event, as soon as a new API server serves the resource."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                response = await asyncio.to_thread(api.watch_applications, version)
            except EngineUnreachable:
                await asyncio.sleep(0.2)
            else:
                event: dict[str, Any] = json.loads(next(api.lines(response)))
                return event


def requests(cluster: Cluster, namespace: str) -> float:
    """Return the requests for applications that the API server has counted, from all clients."""
    url, headers = f"{cluster.kube.url}/metrics", {"Authorization": f"Bearer {ADMIN}"}
    text = httpx.get(url, headers=headers, verify=False).text  # noqa: S501
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("apiserver_request_total") and 'resource="sparkapplications"' in line
    )


async def test_every_change_and_a_deletion_arrive_in_order(cluster: Cluster) -> None:
    there = Namespace(cluster, "watched")
    async with watching(cluster.kube.kubeconfig(GATEWAY), "watched") as watch:
        with watch.follow("a") as queue:
            there.create("a")
            for written in ("SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"):
                there.state("a", written)
            states = [await state(queue) for _ in range(5)]
            assert states == [None, "SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"]
            there.cluster.delete("a")
            assert await next_change(queue) is None


async def test_a_restart_of_the_api_server_loses_nothing(cluster: Cluster) -> None:
    there = Namespace(cluster, "restarted")
    async with watching(cluster.kube.kubeconfig(GATEWAY), "restarted") as watch:
        with watch.follow("a") as a, watch.follow("b") as b:
            there.create("a")
            there.create("b")
            assert await state(a) is None
            assert await state(b) is None
            cluster.kube.kill("kube-apiserver")
            cluster.kube.start_api_server()
            there.state("a", "RUNNING")
            there.cluster.delete("b")
            assert await state(a) == "RUNNING"
            assert await next_change(b) is None


async def test_an_expired_version_leads_to_a_new_list(cluster: Cluster) -> None:
    there = Namespace(cluster, "forgotten")
    there.create("stays")
    there.create("goes")
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    api = KubernetesApi("forgotten", in_cluster=False, kubeconfig=kubeconfig)
    watch = ApplicationWatch(api)
    for name in ("stays", "goes"):
        watch.created(there.cluster.application(name))
    there.state("stays", "RUNNING")
    there.cluster.delete("goes")
    # A fresh API server keeps no changes from before it started.
    cluster.kube.kill("kube-apiserver")
    cluster.kube.start_api_server()
    first = await first_of_watch(api, "1")
    assert (first["type"], first["object"]["code"]) == ("ERROR", 410)
    watch._version = "1"
    with watch.follow("stays") as stays, watch.follow("goes") as goes:
        assert (await state(stays), await state(goes)) == (None, None)
        watch.open()
        assert await state(stays) == "RUNNING"
        assert await next_change(goes) is None
        there.state("stays", "COMPLETED")
        assert await state(stays) == "COMPLETED"
    watch.close()
    api.close()


async def test_a_run_survives_an_unreachable_api_server(
    lakehouse: Lakehouse, cluster: Cluster
) -> None:
    there = Namespace(cluster, "outage")
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    async with operator_runs(lakehouse, kubeconfig, "outage") as runs:
        run = await runs.start("sk_outage")
        await runs.until(run, "SparkApplicationCreated")
        there.state(f"sql-exec-{run.run_id}", "RUNNING")
        await runs.until(run, "SparkApplicationRunning")
        cluster.kube.kill("kube-apiserver")
        await asyncio.to_thread(cluster.kube.start_api_server)
        there.state(f"sql-exec-{run.run_id}", "COMPLETED")
        ended = await runs.ended(run)
    # Nothing wrote the table here, and the operator's state is not evidence of a write.
    assert (ended.state, ended.failure and ended.failure.cause) == (RunState.FAILED, "lost")
    assert "SparkApplicationCompleted" in {event.reason for event in ended.events}


async def test_a_thousand_idle_applications_cost_nothing(cluster: Cluster) -> None:
    there = Namespace(cluster, "thousand")
    async with watching(cluster.kube.kubeconfig(GATEWAY), "thousand") as watch:
        with watch.follow(f"a{APPLICATIONS - 1}") as last:
            for number in range(APPLICATIONS):
                there.create(f"a{number}")
            assert await state(last) is None
            before, busy, started = requests(cluster, "thousand"), time.process_time(), time.time()
            await asyncio.sleep(5)
            seconds = time.time() - started
            assert time.process_time() - busy <= 0.01 * seconds + 0.05
            assert requests(cluster, "thousand") == before
            there.state(f"a{APPLICATIONS - 1}", "RUNNING")
            assert await state(last) == "RUNNING"
