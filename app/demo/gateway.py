"""Starts the gateway as a child process, and stops it with all its own children."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from app.demo.client import DemoFailed

READY_SECONDS = 90
STOP_SECONDS = 20
LOG_LINES = 15
SERVE = "from app.cli.main import main; main()"
_PR_SET_PDEATHSIG = 1


class Gateway:
    """Runs `asgard serve` on 127.0.0.1, in its own session: Ctrl-C reaches only the demo, which
    then stops the gateway gracefully."""

    def __init__(self, port: int, home: Path, data: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "logs" / "gateway.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        allowed = os.environ.get("INGESTION_ALLOWED_DIRS")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, "serve", "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "ASGARD_HOME": str(home),
                    "INGESTION_ALLOWED_DIRS": ",".join(filter(None, (allowed, str(data)))),
                },
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def wait_ready(self, set_detail: Callable[[str], None]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DemoFailed(f"The gateway ended while starting.\n{self._log_tail()}")
            try:
                answer = httpx.get(f"{self.url}/health/ready", timeout=2)
            except httpx.HTTPError:
                set_detail("not listening yet")
            else:
                if answer.is_success:
                    return
                set_detail(f"responds with {answer.status_code}")
            time.sleep(0.1)
        raise DemoFailed(f"The gateway is not ready after {READY_SECONDS} s.\n{self._log_tail()}")

    def wait(self) -> int:
        """Wait until the gateway ends by itself, and return its exit status."""
        return self._process.wait()

    def stop(self) -> list[str]:
        """Stop the gateway and all its children. Return the processes that had to be killed."""
        family = _family(self._process.pid)
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(family, timeout=3)
        left = []
        for process in alive:
            try:
                left.append(f"{process.pid} {process.name()}")
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return left

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join((*lines, f"(the whole log: {self.log})"))


def refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoFailed(
                f"Port {port} cannot be used ({error.strerror}). Choose another: "
                f"PORT={port + 1} ./script/demo.sh"
            ) from None


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _die_with_parent() -> None:
    """Make the gateway end if the demo is killed (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
