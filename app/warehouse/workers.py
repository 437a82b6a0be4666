"""An SQL engine's processes: planners, which answer at once, and builders, with dbt."""

import asyncio
import os
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

from app.processes import WorkerPool, WorkerProcess
from app.telemetry.calls import SILENT, Telemetry

PLANNERS = 2
BUILDER_RSS = 512 * 1024 * 1024
"""dbt, DuckDB and pyiceberg take 340 MB; DuckDB keeps what a large query made it take."""


LIMIT_RSS = 3 * 2**29
"""In a call: DuckDB's own limit does not count the lists and texts that functions make."""


class Workers:
    """`builder` and `planner` are modules that serve; `hello` is what they are told first."""

    def __init__(
        self,
        hello: dict[str, Any],
        home: Path,
        builders: int,
        builder: str,
        planner: str | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._hello = hello
        self._logs = home / "logs"
        self._folders = home / "warehouse"
        self._used: dict[Path, WorkerProcess | None] = {}
        """None while its worker starts."""
        self._builders = WorkerPool(
            partial(self._start, builder, "dbt-worker"),
            builders,
            max_rss=BUILDER_RSS,
        )
        pools = [self._builders]
        if planner:
            self._planners = WorkerPool(partial(self._start, planner, "duckdb-worker"), PLANNERS)
            pools.insert(0, self._planners)
        self._pools = pools

    def builder(self) -> AbstractAsyncContextManager[WorkerProcess]:
        return self._builders.acquire()

    def planner(self) -> AbstractAsyncContextManager[WorkerProcess]:
        return self._planners.acquire()

    async def warm(self) -> None:
        await asyncio.gather(*(pool.warm() for pool in self._pools))

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self._pools))
        await asyncio.to_thread(self._remove_unused, closing=True)

    async def _start(self, module: str, name: str) -> WorkerProcess:
        folder = await asyncio.to_thread(self._make_folder)
        try:
            worker = await WorkerProcess.start(
                module,
                name=name,
                log_path=self._logs / f"{name}.log",
                hello={**self._hello, "folder": str(folder)},
                env={"MALLOC_ARENA_MAX": "2"},
                max_rss=LIMIT_RSS,
                telemetry=self._telemetry,
                engine=name.removesuffix("-worker"),
            )
        except BaseException:
            self._used.pop(folder)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._used[folder] = worker
        return worker

    def _make_folder(self) -> Path:
        self._remove_unused()
        self._folders.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = f"{os.getpid()}-{_started(os.getpid())}-"
        folder = Path(tempfile.mkdtemp(prefix=owner, dir=self._folders))
        self._used[folder] = None
        return folder

    def _remove_unused(self, closing: bool = False) -> None:
        """Folders of workers that are gone, also those of gateways that were killed."""
        if not self._folders.exists():
            return
        for folder in self._folders.iterdir():
            if folder in self._used:
                worker = self._used[folder]
                unused = closing or (worker is not None and not worker.alive)
            else:
                pid, started, *_ = folder.name.split("-")
                unused = str(_started(int(pid))) != started
            if unused:
                shutil.rmtree(folder, ignore_errors=True)
                self._used.pop(folder, None)


def _started(pid: int) -> int | None:
    """Tells a process from one that had its id before, in a container that was started again."""
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
