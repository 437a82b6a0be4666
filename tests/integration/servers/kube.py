"""A Kubernetes API server (RBAC on) and its etcd, as plain processes."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from tests.integration.servers.cache import cache_dir, run
from tests.ports import free_port

RECIPE = Path(__file__).parent.parent / "kube"
ADMIN, GATEWAY = "admin-token", "gateway-token"
GATEWAY_USER = "system:serviceaccount:asgard:asgard"
READY_SECONDS = 90
GARBAGE, QUOTAS = "garbage-collector-controller", "resourcequota-controller"


def binaries(*names: str) -> Path:
    """KUBEBUILDER_ASSETS when it has them, else built from the Go module proxy and kept."""
    assets = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nowhere"))
    if all((assets / name).exists() for name in names):
        return assets
    sums = b"".join(path.read_bytes() for path in sorted(RECIPE.glob("*/go.sum")))
    folder = cache_dir() / "kube" / sha256(sums).hexdigest()[:16]
    if not all((folder / name).exists() for name in names):
        run(RECIPE / "build.sh", folder, *names)
    return folder


@dataclass
class KubeServer:
    home: Path
    bin: Path
    port: int
    etcd_port: int
    flags: tuple[str, ...] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.home / "certs" / "apiserver.crt"

    def kubeconfig(self, token: str, *, namespace: str = "default", url: str | None = None) -> Path:
        path = self.home / f"kubeconfig-{token}"
        cluster = {"server": url or self.url, "certificate-authority": str(self.ca)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [
                {"name": "it", "context": {"cluster": "it", "user": "it", "namespace": namespace}}
            ],
            "current-context": "it",
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def client(self, token: str = ADMIN) -> Any:
        from kubernetes import config

        return config.new_client_from_config(str(self.kubeconfig(token)))

    def start(self) -> None:
        self.start_etcd()
        self.start_api_server()

    def start_etcd(self) -> None:
        peer = free_port()
        self._spawn(
            "etcd",
            f"--data-dir={self.home / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self.etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )

    def start_api_server(self) -> None:
        """The watch cache is small, so that a client that slept meets 410 Gone."""
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.home / 'certs'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.home / 'tokens.csv'}",
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
            "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.home / 'sa.key'}",
            f"--service-account-signing-key-file={self.home / 'sa.key'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--kubelet-preferred-address-types=InternalIP",
            *self.flags,
        )
        self._await_ready()

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            self.kill(name)

    def start_controllers(self, *names: str) -> None:
        """The scheduler, and of the controllers these, else those of garbage and quotas."""
        binaries("kube-scheduler", "kube-controller-manager")
        common = (
            f"--kubeconfig={self.kubeconfig(ADMIN)}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        self._spawn("kube-scheduler", *common, f"--secure-port={free_port()}")
        self._spawn(
            "kube-controller-manager",
            *common,
            f"--secure-port={free_port()}",
            f"--controllers={','.join(names or (GARBAGE, QUOTAS))}",
        )

    def _spawn(self, name: str, *arguments: str) -> None:
        log = (self.home / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [self.bin / name, *arguments], stdout=log, stderr=log, cwd=self.home
        )

    def _await_ready(self) -> None:
        import httpx

        deadline = time.monotonic() + READY_SECONDS
        headers = {"Authorization": f"Bearer {ADMIN}"}
        while time.monotonic() < deadline:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError((self.home / f"{name}.log").read_text()[-3000:])
            try:
                answer = httpx.get(f"{self.url}/readyz", verify=False, headers=headers, timeout=5)  # noqa: S501
                if answer.status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError((self.home / "kube-apiserver.log").read_text()[-3000:])


@contextmanager
def kube_server(home: Path) -> Iterator[KubeServer]:
    home.mkdir(parents=True, exist_ok=True)
    tokens = f'{ADMIN},admin,1,"system:masters"\n{GATEWAY},{GATEWAY_USER},2\n'
    (home / "tokens.csv").write_text(tokens)
    run_quiet("openssl", "genrsa", "-out", str(home / "sa.key"), "2048")
    server = KubeServer(home, binaries("etcd", "kube-apiserver"), free_port(), free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home / "etcd", ignore_errors=True)


def run_quiet(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
