"""A gateway of its own for the benchmarks: a fresh home, a free port, the real command."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.live_gateway import live_gateway


@dataclass
class Gateway:
    pid: int
    client: httpx.Client
    home: Path
    ready_seconds: float

    def post(self, path: str, body: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        return self._answer(self.client.post(path, json=body, params=params))

    def get(self, path: str) -> dict[str, Any]:
        return self._answer(self.client.get(path))

    def memory(self) -> int:
        """Resident bytes of the gateway process alone, children left out."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @staticmethod
    def _answer(answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def gateway(home: Path, **environment: str) -> Iterator[Gateway]:
    """Starts `asgard serve` on `home` and stops it in the end."""
    started = time.perf_counter()
    with (
        live_gateway(home, **environment) as live,
        httpx.Client(base_url=f"{live.url}/api/v1", timeout=300) as client,
    ):
        yield Gateway(live.process.pid, client, home, time.perf_counter() - started)
