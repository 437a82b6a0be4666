"""A node without containers. Its pods are real processes, with the environment and the files that a
kubelet would give them: settings of ConfigMaps and Secrets, volumes, the account's own token.

What differs: an image is this tree's environment, a mounted directory lies in a folder of the
pod's, and a container's port is another one of this machine's, on 127.0.0.1 alone.
"""

import os
import signal
import subprocess
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.integration.servers.kube import KubeServer
from tests.integration.servers.streaming import Streaming
from tests.ports import free_port

NAME = "asgard-node"
PAUSE = 0.1


@dataclass
class Pod:
    """`found` is its resource."""

    found: Any
    folder: Path
    ports: dict[int, int] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    ready: bool = False

    @property
    def name(self) -> str:
        return str(self.found.metadata.name)

    @property
    def log(self) -> Path:
        return self.folder / "log"


class Node:
    def __init__(
        self, kube: KubeServer, namespace: str, home: Path, streaming: Streaming, path: str
    ) -> None:
        from kubernetes.client import CoreV1Api

        self._kube, self._namespace, self._home = kube, namespace, home
        self._streaming, self._path = streaming, path
        self._core = CoreV1Api(kube.client())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.pods: dict[str, Pod] = {}
        """All that were ever here, in the order in which they came."""

    def start(self) -> None:
        self._core.create_node({"metadata": {"name": NAME}})
        room = {"cpu": "16", "memory": "64Gi", "pods": "50"}
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._streaming.port}},
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": room,
            "allocatable": room,
        }
        self._core.patch_node_status(NAME, {"status": status})
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        running = [pod.process for pod in self.pods.values() if pod.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(60)

    def logs(self) -> str:
        """What each pod said in the end."""
        return "".join(
            f"--- {pod.name}\n{pod.log.read_text(errors='replace')[-2000:]}"
            for pod in self.pods.values()
            if pod.log.exists()
        )

    def _watch(self) -> None:
        ending: set[str] = set()
        while not self._stopped.wait(PAUSE):
            chosen = {"field_selector": f"spec.nodeName={NAME}"}
            for found in self._core.list_namespaced_pod(self._namespace, **chosen).items:
                uid = found.metadata.uid
                if uid not in self.pods:
                    self.pods[uid] = Pod(found, self._home / found.metadata.name)
                    self._begin(self._run, self.pods[uid])
                elif found.metadata.deletion_timestamp and uid not in ending:
                    ending.add(uid)
                    self._begin(self._end, self.pods[uid])
            for service in self._core.list_namespaced_service(self._namespace).items:
                give_address(self._core, service)

    def _begin(self, target: Any, pod: Pod) -> None:
        threading.Thread(target=target, args=(pod,), daemon=True).start()

    # What a pod is given

    def _prepare(self, pod: Pod) -> list[str]:
        """The command of its container."""
        [container] = pod.found.spec.containers
        pod.ports = {port.container_port: free_port() for port in container.ports or ()}
        mounts = dict(self._mounts(pod, container))
        temporary = pod.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = {"PATH": self._path, "HOME": str(temporary), "TMPDIR": str(temporary)}
        for name, value in self._variables(container):
            environment[name] = _placed(value, mounts)
        if pod.found.spec.automount_service_account_token:
            environment["KUBECONFIG"] = str(self._kubeconfig(pod))
        pod.environment = environment
        self._name_services(temporary)
        here = {str(port): str(own) for port, own in pod.ports.items()}
        here["0.0.0.0"] = "127.0.0.1"  # noqa: S104 — it is what is left out
        given = [*(container.command or ()), *(container.args or ())]
        return [here.get(word, word) for word in given]

    def _mounts(self, pod: Pod, container: Any) -> Iterator[tuple[str, Path]]:
        volumes = {volume.name: volume for volume in pod.found.spec.volumes or ()}
        for mount in container.volume_mounts or ():
            folder = pod.folder / "volumes" / mount.name
            folder.mkdir(parents=True)
            if (secret := volumes[mount.name].secret) is not None:
                self._fill(folder, secret)
            yield mount.mount_path, folder

    def _fill(self, folder: Path, volume: Any) -> None:
        content = self._secret(volume.secret_name, bool(volume.optional))
        names = {item.key: item.path for item in volume.items or ()} or {
            key: key for key in content
        }
        for key, name in names.items():
            if key in content or not volume.optional:
                (folder / name).write_text(content[key])
                (folder / name).chmod(0o600)

    def _variables(self, container: Any) -> Iterator[tuple[str, str]]:
        for source in container.env_from or ():
            name = source.config_map_ref.name
            yield from self._core.read_namespaced_config_map(name, self._namespace).data.items()
        for variable in container.env or ():
            if variable.value_from is None:
                yield variable.name, variable.value or ""
            else:
                reference = variable.value_from.secret_key_ref
                yield variable.name, self._secret(reference.name, False)[reference.key]

    def _secret(self, name: str, optional: bool) -> dict[str, str]:
        from kubernetes.client import ApiException

        try:
            found = self._core.read_namespaced_secret(name, self._namespace)
        except ApiException as error:
            if optional and error.status == 404:
                return {}
            raise
        return {key: b64decode(value).decode() for key, value in (found.data or {}).items()}

    def _kubeconfig(self, pod: Pod) -> Path:
        """In a container the token lies in a place that no other process can have."""
        account = pod.found.spec.service_account_name
        asked = self._core.create_namespaced_service_account_token
        token = asked(account, self._namespace, {"spec": {"audiences": []}}).status.token
        content = yaml.safe_load(self._kube.kubeconfig("nobody").read_text())
        content["users"][0]["user"] = {"token": token}
        path = pod.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)
        return path

    def _name_services(self, home: Path) -> None:
        """Curl finds each Service of the namespace by its name, as by the cluster's DNS."""
        lines = []
        for service in self._core.list_namespaced_service(self._namespace).items:
            wanted = (service.spec.selector or {}).items()
            for pod in self.pods.values():
                if pod.ready and wanted <= (pod.found.metadata.labels or {}).items():
                    for port in service.spec.ports:
                        own = pod.ports[port.target_port]
                        name = service.metadata.name
                        lines.append(f"connect-to = {name}:{port.port}:127.0.0.1:{own}\n")
        (home / ".curlrc").write_text("".join(lines))

    # Its life

    def _run(self, pod: Pod) -> None:
        pod.folder.mkdir()
        command = self._prepare(pod)
        self._streaming.serve(self._namespace, pod.name, pod.ports, pod.environment)
        with pod.log.open("wb") as output:
            pod.process = subprocess.Popen(
                command,
                cwd=pod.folder,
                env=pod.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._tell(pod, "Running")
        if pod.found.spec.containers[0].startup_probe is not None:
            pod.ready = self._started(pod)
            self._tell(pod, "Running")
        code = pod.process.wait()
        pod.ready = False
        self._tell(pod, "Failed" if code else "Succeeded", code)

    def _started(self, pod: Pod) -> bool:
        probe = pod.found.spec.containers[0].startup_probe.http_get
        url = f"http://127.0.0.1:{pod.ports[probe.port]}{probe.path}"
        assert pod.process is not None
        while pod.process.poll() is None:
            try:
                if httpx.get(url, timeout=3).is_success:
                    return True
            except httpx.HTTPError:
                self._stopped.wait(PAUSE)
        return False

    def _tell(self, pod: Pod, phase: str, code: int | None = None) -> None:
        from kubernetes.client import ApiException

        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"terminated": {"exitCode": code, "startedAt": now, "finishedAt": now}}
        container = {
            "name": pod.found.spec.containers[0].name,
            "image": pod.found.spec.containers[0].image,
            "imageID": "",
            "ready": pod.ready,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}} if code is None else ended,
        }
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(pod.ready)}],
            "containerStatuses": [container],
        }
        try:
            self._core.patch_namespaced_pod_status(pod.name, self._namespace, {"status": status})
        except ApiException as error:
            if error.status != 404:  # deleted meanwhile
                raise

    def _end(self, pod: Pod) -> None:
        """As asked for: first what goes before the signal, then the signal, then it is gone."""
        if pod.process is not None and pod.process.poll() is None:
            hook = pod.found.spec.containers[0].lifecycle
            if hook is not None:
                subprocess.run(hook.pre_stop._exec.command, env=pod.environment, check=True)
            os.killpg(pod.process.pid, signal.SIGTERM)
            pod.process.wait(pod.found.spec.termination_grace_period_seconds)
        self._core.delete_namespaced_pod(pod.name, self._namespace, grace_period_seconds=0)


def give_address(core: Any, service: Any) -> None:
    """As a cloud does for a Service of the type LoadBalancer."""
    if service.spec.type == "LoadBalancer" and not service.status.load_balancer.ingress:
        address = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}}
        metadata = service.metadata
        core.patch_namespaced_service_status(metadata.name, metadata.namespace, address)


def _placed(value: str, mounts: dict[str, Path]) -> str:
    for path in sorted(mounts, key=len, reverse=True):
        if value == path or value.startswith(f"{path}/"):
            return f"{mounts[path]}{value.removeprefix(path)}"
    return value
