"""Runs a SQL engine's sandboxed processes: planners, which answer at once, and dbt builders."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.processes import WorkerFolders, WorkerPool, WorkerProcess
from app.sandbox.policy import Sandbox
from app.sandbox.relay import Address
from app.telemetry.calls import SILENT, Telemetry

PLANNERS = 2
BUILDER_RSS = 512 * 1024 * 1024
"""dbt, DuckDB and pyiceberg take 340 MB. DuckDB keeps the memory that a large query needed."""
LIMIT_RSS = 3 * 2**29
"""Limit during a call: DuckDB's own limit does not count lists and texts made by functions."""


@dataclass(frozen=True)
class WorkerKind:
    """`module` is what the process runs. `handshake` is its first message, together with its
    folder."""

    module: str
    name: str
    handshake: dict[str, Any]
    hosts: tuple[Address, ...]
    """The hosts that its sandbox lets it reach."""

    @property
    def engine(self) -> str:
        """Return the name of its processes in metrics and traces."""
        return self.name.removesuffix("-worker")


class Workers:
    def __init__(
        self,
        home: Path,
        *,
        builder: WorkerKind,
        builders: int,
        planner: WorkerKind | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._logs = home / "logs"
        self.folder = home / "warehouse"
        """Contains the folder of each worker."""
        self._folders = WorkerFolders(self.folder)
        self._builders = self._pool(builder, builders, max_rss=BUILDER_RSS)
        self._planners = self._pool(planner, PLANNERS) if planner else None

    def builder(self) -> AbstractAsyncContextManager[WorkerProcess]:
        return self._builders.acquire()

    def planner(self) -> AbstractAsyncContextManager[WorkerProcess]:
        if self._planners is None:
            raise RuntimeError("this engine has no planners")
        return self._planners.acquire()

    def folder_of(self, worker: WorkerProcess) -> Path:
        return self._folders.folder_of(worker)

    async def warm(self) -> None:
        await asyncio.gather(*(pool.warm() for pool in self._pools()))

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools()))
        await self._folders.close()

    def _pools(self) -> list[WorkerPool]:
        return [pool for pool in (self._planners, self._builders) if pool]

    def _pool(self, kind: WorkerKind, size: int, **limits: Any) -> WorkerPool:
        return WorkerPool(
            lambda: self._folders.start(partial(self._start, kind)),
            size,
            engine=kind.engine,
            telemetry=self._telemetry,
            **limits,
        )

    async def _start(self, kind: WorkerKind, folder: Path) -> WorkerProcess:
        return await WorkerProcess.start(
            kind.module,
            name=kind.name,
            log_path=self._logs / f"{kind.name}.log",
            handshake={**kind.handshake, "folder": str(folder)},
            env={"MALLOC_ARENA_MAX": "2"},
            sandbox=Sandbox(folder, kind.hosts),
            max_rss=LIMIT_RSS,
            telemetry=self._telemetry,
            engine=kind.engine,
        )
