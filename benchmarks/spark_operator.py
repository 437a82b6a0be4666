"""Spark on Kubernetes: what the gateway takes beside `kubectl`, and what watching costs.

    python -m benchmarks.spark_operator

Against a real API server and etcd; no operator is needed, since the statuses are written here.
"""

import asyncio
import json
import queue
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from kubernetes.client import ApiException

from app.data_transformation.kubernetes.api import KubernetesApi
from app.data_transformation.kubernetes.application_watch import ApplicationWatch
from app.errors import EngineUnreachable
from benchmarks.gateway import Gateway, gateway
from benchmarks.measures import Row
from tests.integration.servers.kube import ADMIN, GATEWAY, KubeServer, binaries, kube_server
from tests.integration.spark.cluster import RULES, Cluster, create_namespace, install_crd

NAMESPACE = "spark-operator"
SUBMITS = 30
WATCHED = 1000
IDLE_SECONDS = 60


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="asgard-bench-kube-") as folder:
        home = Path(folder)
        with kube_server(home / "kube") as kube:
            cluster = Cluster(kube, kube.client(), NAMESPACE)
            install_crd(cluster)
            create_namespace(cluster, NAMESPACE, RULES)
            environment = {
                "SPARK_IMAGE": "registry.example/spark:1",
                "SPARK_NAMESPACE": NAMESPACE,
                "ASGARD_EMBEDDED": "ingestion,sql,lake",
                "KUBECONFIG": str(kube.kubeconfig(GATEWAY)),
                "MAX_RUNNING_PER_ENGINE": str(2 * WATCHED),
                "MAX_QUEUED": str(2 * WATCHED),
                "SPARK_SUBMIT_TIMEOUT": "3600",
                "LOG_LEVEL": "WARNING",
            }
            (home / "asgard").mkdir()
            with gateway(home / "asgard", **environment) as running:
                return [submitted(running, cluster), *watched(running, cluster)]


def submitted(running: Gateway, cluster: Cluster) -> Row:
    """From the request until the SparkApplication exists; the run was recorded before that."""
    with births(cluster) as seen:
        created(running, seen, "warm-up")
        manifest = cluster.application(cluster.names()[0])
        # In turn, so that what else this machine does meets both alike.
        both = [
            (created(running, seen, f"s{n}"), kubectl_apply(cluster.kube, manifest, f"k{n}"))
            for n in range(SUBMITS)
        ]
    ours, theirs = (statistics.median(column) for column in zip(*both, strict=True))
    return Row(
        "POST /spark/transform → SparkApplication created, run recorded",
        f"{ours * 1000:.0f} ms",
        f"kubectl apply {theirs * 1000:.0f} ms",
        "≤ 0.5×",
        ours <= 0.5 * theirs,
    )


def created(running: Gateway, seen: "queue.Queue[tuple[str, float]]", table: str) -> float:
    began = time.perf_counter()
    body = {"sql": f"SELECT 1 AS id, '{table}' AS name"}
    name = running.post("/spark/transform", body)["spark_application"]
    while True:
        born, at = seen.get(timeout=60)
        if born == name:
            return at - began


@contextmanager
def births(cluster: Cluster) -> "Iterator[queue.Queue[tuple[str, float]]]":
    """Applications as they come to be, and when: told by a watch, since asking over and over would
    take the processor from those who are measured."""
    seen: queue.Queue[tuple[str, float]] = queue.Queue()
    admin = KubernetesApi(NAMESPACE, in_cluster=False, kubeconfig=cluster.kube.kubeconfig(ADMIN))
    response = admin.watch_applications(admin.list_applications()["metadata"]["resourceVersion"])

    def read() -> None:
        with suppress(EngineUnreachable):
            for line in admin.lines(response):
                event = json.loads(line)
                if event["type"] == "ADDED":
                    seen.put((event["object"]["metadata"]["name"], time.perf_counter()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
    finally:
        response.shutdown()
        reader.join()
        admin.close()


def kubectl_apply(kube: KubeServer, manifest: dict[str, Any], name: str) -> float:
    kept = {part: manifest[part] for part in ("apiVersion", "kind", "spec")}
    labels = manifest["metadata"]["labels"]
    kept["metadata"] = {"name": name, "namespace": NAMESPACE, "labels": labels}
    file = kube.home / f"{name}.yaml"
    file.write_text(yaml.safe_dump(kept))
    command = [str(binaries("kubectl") / "kubectl"), "--kubeconfig", str(kube.kubeconfig(ADMIN))]
    began = time.perf_counter()
    subprocess.run([*command, "apply", "-f", str(file)], check=True, capture_output=True)
    return time.perf_counter() - began


def watched(running: Gateway, cluster: Cluster) -> list[Row]:
    run_ids = []
    while len(run_ids) < WATCHED:
        body = {"sql": f"SELECT {len(run_ids)} AS id"}
        run_ids.append(running.post("/spark/transform", body)["run_id"])
    _until_running(running, cluster, run_ids)
    calls, cpu = _api_requests(cluster), _cpu(running)
    time.sleep(IDLE_SECONDS)
    a_minute = (_api_requests(cluster) - calls) * 60 / IDLE_SECONDS
    share = (_cpu(running) - cpu) / IDLE_SECONDS
    alone = asyncio.run(_idle_watch(cluster))
    took = []
    for run_id in run_ids[:200]:
        began = time.perf_counter()
        state = running.get(f"/spark/transform/{run_id}/status")["state"]
        took.append(time.perf_counter() - began)
        assert state == "RUNNING"
    p50 = statistics.median(took)
    what = f"{WATCHED} SparkApplications watched: "
    return [
        Row(f"{what}status GET p50", f"{p50 * 1000:.1f} ms", "", "≤ 10 ms", p50 <= 0.01),
        Row(
            f"{what}CPU of the whole idle gateway",
            f"{share:.1%}",
            f"the watch alone {alone:.2%}",
            "≤ 1 %",
            share <= 0.01,
        ),
        Row(f"{what}API calls a minute", f"{a_minute:.1f}", "", "≤ 2", a_minute <= 2),
    ]


async def _idle_watch(cluster: Cluster) -> float:
    """The share of a core that a watch takes in this process, which does nothing else."""
    kubeconfig = cluster.kube.kubeconfig(GATEWAY)
    api = KubernetesApi(NAMESPACE, in_cluster=False, kubeconfig=kubeconfig)
    watch = ApplicationWatch(api)
    watch.open()
    await watch.require()
    busy = time.process_time()
    await asyncio.sleep(IDLE_SECONDS)
    share = (time.process_time() - busy) / IDLE_SECONDS
    watch.close()
    api.close()
    return share


def _until_running(running: Gateway, cluster: Cluster, run_ids: list[str]) -> None:
    for run_id in run_ids:
        while True:
            try:
                status = {"applicationState": {"state": "RUNNING"}}
                cluster.patch_status(f"sql-exec-{run_id}", status)
                break
            except ApiException:
                time.sleep(0.02)
    # Nor may those of the first measure wait to run: what waits is looked at now and then.
    for name in cluster.names():
        if name.startswith("sql-exec-") and name.removeprefix("sql-exec-") not in run_ids:
            cluster.patch_status(name, {"applicationState": {"state": "RUNNING"}})
    jobs = "/spark/transform/jobs?status_filter=running&limit=1"
    while running.get(jobs)["total_count"] < WATCHED + SUBMITS:
        time.sleep(1)


def _api_requests(cluster: Cluster) -> float:
    """Of the gateway alone: nobody else asks for anything in these namespaces meanwhile."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    url = f"{cluster.kube.url}/metrics"
    text = httpx.get(url, headers=headers, verify=False, timeout=30).text  # noqa: S501
    kinds = ('resource="sparkapplications"', 'resource="pods"', 'resource="events"')
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("apiserver_request_total") and any(kind in line for kind in kinds)
    )


def _cpu(running: Gateway) -> float:
    times = psutil.Process(running.pid).cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what}: {row.measured} ({row.beside}), target {row.reach}: {row.ok}")
