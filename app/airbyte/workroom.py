"""Private directories and worker processes for the work of one read, check or discovery."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import anyio.to_thread

from app.errors import AsgardError, EngineFailed
from app.processes import WorkerDied, WorkerError, WorkerPool, WorkerProcess, WorkerTimeout
from app.runs.failure import FailureCause
from app.telemetry.calls import SILENT, Telemetry

Message = dict[str, Any]
OnEvent = Callable[[Message], None]

MODULE = "app.airbyte.worker"
LOCK = ".lock"
SIGKILLED = -9
FILE_MEMORY = 2 * 2**30
CONNECTOR_MEMORY = 4 * 2**30
"""Of a connector and the worker that writes down what it says."""


class Room:
    """`directory` is 0700 and gone afterwards, with the configuration that was written into it."""

    def __init__(self, directory: Path, worker: WorkerProcess) -> None:
        self.directory = directory
        self._worker = worker

    async def call(
        self,
        op: str,
        message: Message,
        on_event: OnEvent | None = None,
        seconds: float | None = None,
    ) -> Message:
        """Raises the worker's own `AsgardError`, or `EngineFailed` when it died."""
        try:
            return await self._worker.call(
                {"op": op, "directory": str(self.directory), **message},
                timeout=seconds,
                on_event=on_event,
            )
        except WorkerError as error:
            raise _translated(error) from error
        except WorkerDied as error:
            raise _died(error) from error
        except WorkerTimeout as error:
            raise EngineFailed(
                f"It took longer than {seconds:.0f} s.", cause=FailureCause.TIMEOUT, retryable=True
            ) from error


class Workroom:
    """`files` are warm workers, for reading a file takes less time than starting one."""

    def __init__(self, home: Path, *, file_workers: int = 2, telemetry: Telemetry = SILENT) -> None:
        self._telemetry = telemetry
        self._spool = home / "spool"
        self._logs = home / "logs"
        self._files = WorkerPool(self._file_worker, file_workers)

    async def open(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        await anyio.to_thread.run_sync(self._sweep)

    async def close(self) -> None:
        await self._files.close()

    @asynccontextmanager
    async def for_file(self, name: str) -> AsyncIterator[Room]:
        async with self._directory(name) as directory, self._files.acquire() as worker:
            yield Room(directory, worker)

    @asynccontextmanager
    async def for_connector(self, name: str) -> AsyncIterator[Room]:
        """A worker of its own: killing it ends the connector and all that it started."""
        async with self._directory(name) as directory:
            worker = await WorkerProcess.start(
                MODULE,
                name=f"connector {name}",
                log_path=self._logs / "connectors.log",
                hello={},
                max_rss=CONNECTOR_MEMORY,
                telemetry=self._telemetry,
                engine="connector",
            )
            try:
                yield Room(directory, worker)
            finally:
                await asyncio.shield(worker.close())

    async def remove(self, name: str) -> None:
        """What a dead run left behind."""
        await anyio.to_thread.run_sync(self._sweep, f"{name}-*")

    async def _file_worker(self) -> WorkerProcess:
        return await WorkerProcess.start(
            MODULE,
            name="file worker",
            log_path=self._logs / "file-worker.log",
            hello={"preload": "file"},
            max_rss=FILE_MEMORY,
            telemetry=self._telemetry,
            engine="files",
        )

    @asynccontextmanager
    async def _directory(self, name: str) -> AsyncIterator[Path]:
        directory = Path(mkdtemp(prefix=f"{name}-", dir=self._spool))
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(lock)
            await asyncio.shield(anyio.to_thread.run_sync(_remove, directory))

    def _sweep(self, pattern: str = "*") -> None:
        """Removes the directories that no living gateway holds: the lock dies with its holder."""
        for directory in self._spool.glob(pattern):
            try:
                lock = os.open(directory / LOCK, os.O_RDWR)
            except FileNotFoundError:
                continue  # just made, or just removed
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(directory)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def _translated(error: WorkerError) -> AsgardError:
    if known := error.to_asgard():
        return known
    kind = error.error.get("type")
    if kind == "OSError" and "No space left" in str(error.error.get("message")):
        return EngineFailed(
            "The disk of ASGARD_HOME is full.", hint="Free disk space.", retryable=True
        )
    return EngineFailed(f"Reading failed: {kind}: {error.error.get('message')}"[:2000])


def _died(error: WorkerDied) -> EngineFailed:
    if error.exit_code == SIGKILLED and not error.fault:
        return EngineFailed(
            "The process that read the source was killed.",
            cause=FailureCause.LOST,
            hint="The kernel's log tells whether the system had no memory left.",
            retryable=True,
        )
    cause = FailureCause.LOST if error.fault else FailureCause.INTERNAL
    return EngineFailed(f"{error}.", cause=cause, retryable=True)
