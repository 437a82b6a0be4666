"""As much of a kubelet and of a cloud as `helm --wait` needs: pods that run, a load balancer with
an address. The controllers between them and the chart are Kubernetes' own."""

import threading
from datetime import UTC, datetime
from typing import Any

from tests.integration.servers.node import give_address

PAUSE = 0.1
ENDS = ("asgard-schemas", "asgard-test")
"""Pods by the beginning of their names: they do their work at once, and succeed."""


class Nodes:
    def __init__(self, client: Any, namespace: str) -> None:
        from kubernetes.client import CoreV1Api

        self._core = CoreV1Api(client)
        self._namespace = namespace
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ran: list[str] = []
        """The pods that were run, in the order in which they came."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        from kubernetes.client import ApiException

        while not self._stopped.wait(PAUSE):
            try:
                for pod in self._core.list_namespaced_pod(self._namespace).items:
                    if pod.status.phase == "Pending":
                        self._run_pod(pod)
                for service in self._core.list_namespaced_service(self._namespace).items:
                    give_address(self._core, service)
            except ApiException as error:
                if error.status != 404:  # deleted meanwhile
                    raise

    def _run_pod(self, pod: Any) -> None:
        name = pod.metadata.name
        ends = name.startswith(ENDS)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        container = pod.spec.containers[0]
        ended = {"terminated": {"exitCode": 0, "startedAt": now, "finishedAt": now}}
        status = {
            "phase": "Succeeded" if ends else "Running",
            "startTime": now,
            "conditions": [{"type": "Ready", "status": "False" if ends else "True"}],
            "containerStatuses": [
                {
                    "name": container.name,
                    "image": container.image,
                    "imageID": "",
                    "ready": not ends,
                    "restartCount": 0,
                    "state": ended if ends else {"running": {"startedAt": now}},
                }
            ],
        }
        self._core.patch_namespaced_pod_status(name, self._namespace, {"status": status})
        self.ran.append(name)
