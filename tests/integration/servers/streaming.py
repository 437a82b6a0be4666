"""What `kubectl exec` and `port-forward` reach through the API server: the streaming part of a
kubelet, by kwok, which runs commands and forwards ports as resources of its own kinds say."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.servers.kube import ADMIN, RECIPE, KubeServer, binaries
from tests.integration.servers.process import ServerProcess
from tests.ports import free_port

MODULE = "sigs.k8s.io/kwok@v0.7.0"
GROUP, VERSION = "kwok.x-k8s.io", "v1alpha1"
KINDS = {"PortForward": "portforwards", "Exec": "execs"}
START_SECONDS = 60


class Streaming:
    def __init__(self, kube: KubeServer, home: Path, path: str) -> None:
        """`path` is the PATH of what is executed."""
        from kubernetes.client import ApiextensionsV1Api, CustomObjectsApi

        client = kube.client()
        self._custom = CustomObjectsApi(client)
        for crd in _crds():
            ApiextensionsV1Api(client).create_custom_resource_definition(crd)
        self.port = free_port()
        environment = shutil.which("env")
        assert environment is not None
        self._process = ServerProcess(
            [
                *(environment, "-i", f"PATH={path}", f"HOME={home}"),
                binaries("kwok") / "kwok",
                f"--kubeconfig={kube.kubeconfig(ADMIN)}",
                f"--server-address=127.0.0.1:{self.port}",
                # It runs no pods here, and is no node.
                "--manage-nodes-with-label-selector=run-by=kwok",
                f"--enable-crds={','.join(KINDS)}",
            ],
            folder=home,
        )
        self._process.await_ready(self._ready, START_SECONDS)

    def serve(
        self, namespace: str, pod: str, ports: Mapping[int, int], environment: Mapping[str, str]
    ) -> None:
        """From now on, commands in the pod have this environment, and its ports are those here."""
        forwards = [
            {"ports": [port], "target": {"address": "127.0.0.1", "port": here}}
            for port, here in ports.items()
        ]
        if forwards:
            self._create("PortForward", namespace, pod, {"forwards": forwards})
        envs = [{"name": name, "value": value} for name, value in environment.items()]
        self._create("Exec", namespace, pod, {"execs": [{"local": {"envs": envs}}]})

    def stop(self) -> None:
        self._process.kill()

    def _create(self, kind: str, namespace: str, name: str, spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        self._custom.create_namespaced_custom_object(GROUP, VERSION, namespace, KINDS[kind], body)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).is_success
        except httpx.HTTPError:
            return False


def _crds() -> list[dict[str, Any]]:
    downloaded = subprocess.run(
        ["go", "mod", "download", "-json", MODULE],
        cwd=RECIPE / "kwok",
        env={**os.environ, "GOTOOLCHAIN": "local"},
        check=True,
        capture_output=True,
        text=True,
    )
    folder = Path(json.loads(downloaded.stdout)["Dir"]) / "kustomize" / "crd" / "bases"
    return [
        yaml.safe_load((folder / f"{GROUP}_{name}.yaml").read_text()) for name in KINDS.values()
    ]
