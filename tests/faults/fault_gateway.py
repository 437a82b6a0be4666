"""A real gateway: a process of its own on a real port, that can be killed at any moment."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.ports import free_port

START_SECONDS = 100.0
GONE_SECONDS = 2.0
POLL = 0.03
PROGRAM = Path(sys.executable).with_name("asgard")
CHILDREN = {
    "lakehouse": "/weed",
    "spark": "app.data_transformation.sail.worker",
    "dbt": "app.warehouse.duckdb.builder",
    "duckdb": "app.warehouse.duckdb.planner",
    "publisher": "app.lakehouse.publish.worker",
    "judge": "app.sql.worker",
    "ingestion": "app.airbyte.",
    "connector": "/source-",
}
"""What tells a gateway's children apart: a part of their command lines."""


class Gateway:
    """`around` is a command that the gateway is started by, such as `nsenter …`."""

    def __init__(
        self,
        home: Path,
        *,
        env: dict[str, str] | None = None,
        around: Sequence[str] = (),
    ) -> None:
        self.home = home
        self.port = free_port()
        self.log = home.with_name(f"{home.name}-gateway-{self.port}.log")
        self._around = around
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "ASGARD_HOME": str(home),
            "DBT_WORKERS": "1",
            **(env or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.api = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}/api/v1",
            timeout=httpx.Timeout(60, connect=5),
        )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the gateway was not started"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> "Gateway":
        with self.log.open("ab") as log:
            self._process = await asyncio.to_thread(
                subprocess.Popen,
                [*self._around, PROGRAM, "serve", "--port", str(self.port)],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home.parent,
                start_new_session=True,
            )
        await self.ready()
        return self

    async def ready(self) -> None:
        patience = time.monotonic() + START_SECONDS
        while True:
            assert self.running, f"the gateway ended: {self.log_tail()}"
            try:
                answer = await self.api.get(f"http://127.0.0.1:{self.port}/health/ready")
                if answer.json()["status"] == "ready":
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < patience, f"the gateway is not ready: {self.log_tail()}"
            await asyncio.sleep(POLL)

    def family(self) -> list[psutil.Process]:
        """The gateway and all that it started, and what those started."""
        try:
            gateway = psutil.Process(self.process.pid)
            return [gateway, *gateway.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def children(self, kind: str) -> list[psutil.Process]:
        found = []
        for process in self.family()[1:]:
            try:
                if any(CHILDREN[kind] in part for part in process.cmdline()[:4]):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    async def kill(self) -> None:
        """Of the gateway alone; everything that it started has to be gone a moment later."""
        family = self.family()
        self.process.kill()
        died = time.time()
        await asyncio.to_thread(self.process.wait)
        await all_gone(family, self.home, died)

    async def end(self, number: signal.Signals, seconds: float) -> int:
        """Asks it to end; its exit code. Nothing may be left when it has ended."""
        family = self.family()
        self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, seconds)
        await all_gone(family, self.home, time.time())
        return code

    async def close(self) -> None:
        """At the end of a test, however that ended."""
        await self.api.aclose()
        if self.running:
            family = self.family()
            self.process.kill()
            self.process.wait()
            for process in family:
                if is_alive(process):
                    process.kill()

    def log_tail(self, lines: int = 20) -> str:
        """Without the requests that it answered."""
        told = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in told if '"event": "request"' not in line][-lines:])


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def all_gone(family: Iterable[psutil.Process], home: Path, died: float) -> None:
    """Waits for what was there when a gateway died. Another gateway may start the same again."""
    patience = time.monotonic() + GONE_SECONDS
    while left := [*filter(is_alive, family), *at_home(home, died)]:
        assert time.monotonic() < patience, f"orphans: {[describe(process) for process in left]}"
        await asyncio.sleep(POLL)


def at_home(home: Path, before: float) -> list[psutil.Process]:
    """Every process of before that has the directory in its command line, or works in it."""
    found = []
    for process in psutil.process_iter():
        try:
            where = [*process.cmdline(), process.cwd()]
            older = process.create_time() < before
            if not older or any("serve" in parent.cmdline() for parent in process.parents()):
                continue  # another gateway's: times of processes are known to a second only
            if is_alive(process) and any(str(home) in part for part in where if part):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} gone"


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The members of a problem+json answer, which any refusal has to be."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code, found
    return found


@asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    """One after the other, as a newcomer would start them; all gone at the end of the test."""
    try:
        for gateway in gateways:
            await gateway.start()
        yield
    finally:
        for gateway in gateways:
            await gateway.close()
