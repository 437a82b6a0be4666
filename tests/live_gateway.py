"""A gateway as users start it: the console command, a port of its own, stopped in the end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.ports import free_port

START_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True)
class LiveGateway:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._said()
            try:
                answer = httpx.get(f"{self.url}/health/ready", timeout=5)
                if answer.json()["status"] == "ready":
                    return
            except (httpx.HTTPError, ValueError):
                time.sleep(0.02)
        raise AssertionError(f"not ready within {START_SECONDS} s: {self._said()}")

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def live_gateway(home: Path, **environment: str) -> Iterator[LiveGateway]:
    """`asgard serve` on `home`, entered once `/health/ready` says ready."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / "live-gateway.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("asgard"), "serve", "--port", str(port)],
            cwd=home,
            env={**os.environ, "ASGARD_HOME": str(home), **environment},
            stdout=output,
            stderr=output,
        )
    gateway = LiveGateway(process, f"http://127.0.0.1:{port}", log)
    try:
        gateway.wait_ready()
        yield gateway
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)
