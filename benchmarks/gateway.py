"""A gateway of its own for the benchmarks: a fresh home, a free port, the real command."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil


@dataclass
class Gateway:
    process: subprocess.Popen[bytes]
    client: httpx.Client
    home: Path
    ready_seconds: float

    def post(self, path: str, body: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        return self._answer(self.client.post(path, json=body, params=params))

    def get(self, path: str) -> dict[str, Any]:
        return self._answer(self.client.get(path))

    def memory(self) -> int:
        """Resident bytes of the gateway process alone, children left out."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @staticmethod
    def _answer(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def gateway(home: Path, **environment: str) -> Iterator[Gateway]:
    """Starts `asgard serve` on `home` and stops it in the end."""
    port = free_port()
    started = time.perf_counter()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "benchmark-gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("asgard"), "serve", "--port", str(port)],
            env={**os.environ, "ASGARD_HOME": str(home), **environment},
            cwd=home,
            stdout=log,
            stderr=log,
        )
    base = f"http://127.0.0.1:{port}"
    client = httpx.Client(base_url=f"{base}/api/v1", timeout=300)
    try:
        _await_ready(process, base)
        yield Gateway(process, client, home, time.perf_counter() - started)
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(process: subprocess.Popen[bytes], base: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the gateway ended with {process.returncode}")
        try:
            if httpx.get(f"{base}/health/ready", timeout=2).json()["status"] == "ready":
                return
        except (httpx.HTTPError, ValueError):
            time.sleep(0.02)
    raise RuntimeError("the gateway did not get ready within 120 s")
