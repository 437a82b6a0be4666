"""The gateway as a child: started, waited for, and stopped with all that it started."""

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
    """`asgard serve` on 127.0.0.1. In a session of its own: Ctrl-C reaches the demo alone, which
    then stops the gateway in order."""

    def __init__(self, port: int, home: Path, data: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = home / "logs" / "gateway.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        given = os.environ.get("INGESTION_ALLOWED_DIRS")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE, "serve", "--port", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "ASGARD_HOME": str(home),
                    "INGESTION_ALLOWED_DIRS": ",".join(filter(None, (given, str(data)))),
                },
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def wait_ready(self, say: Callable[[str], None]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DemoFailed(f"The gateway ended at once.\n{self._log_tail()}")
            try:
                answer = httpx.get(f"{self.url}/health/ready", timeout=2)
            except httpx.HTTPError:
                say("not listening yet")
            else:
                if answer.is_success:
                    return
                say(f"answers {answer.status_code}")
            time.sleep(0.1)
        raise DemoFailed(f"The gateway is not ready after {READY_SECONDS} s.\n{self._log_tail()}")

    def wait(self) -> int:
        """Returns when the gateway ends by itself."""
        return self._process.wait()

    def stop(self) -> list[str]:
        """Stops the gateway and whatever it left behind; names what had to be killed."""
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
    """A demo that is killed outright leaves no gateway behind (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
