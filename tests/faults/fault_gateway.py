"""A real gateway: a separate process on a real port, which can be killed at any moment."""

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
"""The part of the command line that identifies each kind of a gateway's children."""


class Gateway:
    """`around` is a command that starts the gateway, for example `nsenter …`."""

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
        """Return the gateway and its descendants."""
        try:
            gateway = psutil.Process(self.process.pid)
            return [gateway, *gateway.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def children(self, kind: str) -> list[psutil.Process]:
        matches = []
        for process in self.family()[1:]:
            try:
                if any(CHILDREN[kind] in part for part in process.cmdline()[:4]):
                    matches.append(process)
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return matches

    async def kill(self) -> None:
        """Kill only the gateway. Its descendants have to be gone a moment later."""
        family = self.family()
        self.process.kill()
        died = time.time()
        await asyncio.to_thread(self.process.wait)
        await all_gone(family, self.home, died)

    async def end(self, number: signal.Signals, seconds: float) -> int:
        """End the gateway and return its exit code. No descendant may remain."""
        family = self.family()
        self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, seconds)
        await all_gone(family, self.home, time.time())
        return code

    async def close(self) -> None:
        """Stop the gateway at the end of a test, however that ended."""
        await self.api.aclose()
        if self.running:
            family = self.family()
            self.process.kill()
            self.process.wait()
            for process in family:
                if is_alive(process):
                    process.kill()

    def log_tail(self, lines: int = 20) -> str:
        """Return the end of the log, without the requests that the gateway answered."""
        told = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in told if '"event": "request"' not in line][-lines:])


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def all_gone(family: Iterable[psutil.Process], home: Path, died: float) -> None:
    """Wait until the processes of a dead gateway are gone. Another gateway may start the same
    again."""
    patience = time.monotonic() + GONE_SECONDS
    while left := [*filter(is_alive, family), *at_home(home, died)]:
        assert time.monotonic() < patience, f"orphans: {[describe(process) for process in left]}"
        await asyncio.sleep(POLL)


def at_home(home: Path, before: float) -> list[psutil.Process]:
    """Return every earlier process that has the directory in its command line, or works in it."""
    matches = []
    for process in psutil.process_iter():
        try:
            where = [*process.cmdline(), process.cwd()]
            older = process.create_time() < before
            if not older or any("serve" in parent.cmdline() for parent in process.parents()):
                continue  # another gateway's: times of processes have a resolution of one second
            if is_alive(process) and any(str(home) in part for part in where if part):
                matches.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return matches


def describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    except psutil.NoSuchProcess:
        return f"{process.pid} gone"


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Return the members of a problem+json response, which every refusal has to be."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    members: dict[str, Any] = answer.json()
    assert members["status"] == answer.status_code, members
    return members


@asynccontextmanager
async def running(*gateways: Gateway) -> AsyncIterator[None]:
    """Start gateways one after the other. All of them are gone at the end of the test."""
    try:
        for gateway in gateways:
            await gateway.start()
        yield
    finally:
        for gateway in gateways:
            await gateway.close()
