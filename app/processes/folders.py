"""Folders that workers own, each gone with its worker."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.processes.worker import WorkerProcess


class WorkerFolders:
    """Several gateways may keep theirs in one `root`: names tell whose they are."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: dict[Path, WorkerProcess | None] = {}
        """None while its worker starts."""

    async def start(self, start: Callable[[Path], Awaitable[WorkerProcess]]) -> WorkerProcess:
        """Calls `start` with a new folder, which is 0700, and keeps it while the worker lives."""
        folder = await asyncio.to_thread(self._make)
        try:
            worker = await start(folder)
        except BaseException:
            self._used.pop(folder)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._used[folder] = worker
        return worker

    def folder_of(self, worker: WorkerProcess) -> Path:
        return next(folder for folder, owner in self._used.items() if owner is worker)

    async def close(self) -> None:
        """After the workers."""
        await asyncio.to_thread(self._remove_unused, closing=True)

    def _make(self) -> Path:
        self._remove_unused()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = f"{os.getpid()}-{_started(os.getpid())}-"
        folder = Path(tempfile.mkdtemp(prefix=owner, dir=self._root))
        self._used[folder] = None
        return folder

    def _remove_unused(self, closing: bool = False) -> None:
        """Folders of workers that are gone, also those of gateways that were killed."""
        if not self._root.exists():
            return
        for folder in self._root.iterdir():
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
