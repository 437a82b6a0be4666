"""Folders that workers own. Each folder is removed after its worker is gone."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.processes.worker import WorkerProcess


class WorkerFolders:
    """Several gateways may share one `root`: the name of a folder identifies its gateway."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used: dict[Path, WorkerProcess | None] = {}
        """None while its worker starts."""

    async def start(self, start: Callable[[Path], Awaitable[WorkerProcess]]) -> WorkerProcess:
        """Call `start` with a new folder of mode 0700, and keep it while the worker lives."""
        folder = await asyncio.to_thread(self._create)
        try:
            worker = await start(folder)
        except BaseException:
            self._used.pop(folder)
            remove_tree(folder)
            raise
        self._used[folder] = worker
        return worker

    def folder_of(self, worker: WorkerProcess) -> Path:
        return next(folder for folder, owner in self._used.items() if owner is worker)

    async def close(self) -> None:
        """Remove all folders. Call this after the workers are closed."""
        await asyncio.to_thread(self._remove_unused, closing=True)

    def _create(self) -> Path:
        self._remove_unused()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = f"{os.getpid()}-{_started(os.getpid())}-"
        folder = Path(tempfile.mkdtemp(prefix=owner, dir=self._root))
        self._used[folder] = None
        return folder

    def _remove_unused(self, closing: bool = False) -> None:
        """Remove folders of workers that are gone, including those of killed gateways."""
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
                remove_tree(folder)
                self._used.pop(folder, None)


def remove_tree(folder: Path) -> None:
    """A worker can leave a tree that is too deep for Python to walk."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["rm", "-rf", "--", folder], check=False)


def _started(pid: int) -> int | None:
    """Return the start time, which tells a process from an earlier one with the same id."""
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
