"""A gateway as users start it: the console command, a port of its own, stopped in the end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS = 60


@contextmanager
def live_gateway(home: Path, **environment: str) -> Iterator[str]:
    """Yields the base URL once `/health/ready` says ready."""
    port = free_port()
    command = [Path(sys.executable).with_name("asgard"), "serve", "--port", str(port)]
    log = home / "live-gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, "ASGARD_HOME": str(home), **environment},
            stdout=output,
            stderr=output,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        await_ready(process, base, log)
        yield base
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_ready(process: subprocess.Popen[bytes], base: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            if httpx.get(f"{base}/health/ready", timeout=5).json()["status"] == "ready":
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError(f"not ready within {START_SECONDS} s: {log.read_text()[-4000:]}")
