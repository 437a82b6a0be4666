"""Private directories and worker processes for the work of one read, check or discovery."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from weakref import WeakKeyDictionary

import anyio.to_thread

from app.errors import AsgardError, EngineFailed
from app.failure import FailureCause
from app.files import FileLock
from app.processes import (
    WorkerDied,
    WorkerError,
    WorkerFolders,
    WorkerPool,
    WorkerProcess,
    WorkerTimeout,
)
from app.processes.folders import remove_tree
from app.sandbox.policy import Sandbox
from app.telemetry.calls import SILENT, Telemetry

Message = dict[str, Any]
Identities = tuple[tuple[int, int] | None, ...]
"""The device and inode of each directory, or None if it does not exist."""
OnEvent = Callable[[Message], None]

READER = "The process that reads the source"
CONNECTOR_MODULE = "app.airbyte.local.worker"
FILE_MODULE = "app.airbyte.local.file_worker"
LOCK = ".lock"
OWN, INBOX = "own", "inbox"
"""Names in a file worker's folder: where the worker writes, and where the gateway writes for it."""
FILE_MEMORY = 2 * 2**30
CONNECTOR_MEMORY = 4 * 2**30
"""The memory of a connector and of the worker that records its messages."""


class WorkDirectory:
    """A directory with its worker. `directory` is 0700 and removed afterwards, with the written
    configuration. A sandboxed worker reads `inbox`, but does not write there, and it cannot open
    `private`."""

    def __init__(
        self,
        directory: Path,
        worker: WorkerProcess,
        private: Path | None = None,
        inbox: Path | None = None,
    ) -> None:
        self.directory = directory
        self.private = private or directory
        self.inbox = inbox or directory
        self._worker = worker

    async def call(
        self,
        op: str,
        message: Message,
        on_event: OnEvent | None = None,
        seconds: float | None = None,
    ) -> Message:
        """Calls the worker. Raises its own `AsgardError`, or `EngineFailed` if it died."""
        try:
            return await self._worker.call(
                {"op": op, "directory": str(self.directory), **message},
                timeout=seconds,
                on_event=on_event,
            )
        except WorkerError as error:
            raise _translated(error) from error
        except WorkerDied as error:
            raise error.translated(READER) from error
        except WorkerTimeout as error:
            raise EngineFailed(
                f"{READER} took longer than {seconds:.0f} s.",
                cause=FailureCause.TIMEOUT,
                retryable=True,
            ) from error


class WorkDirectories:
    """File workers stay warm, since reading a file takes less time than starting one. Their sandbox
    lets them read what is below `roots` and what the gateway downloads for their current job."""

    def __init__(
        self,
        home: Path,
        *,
        roots: Sequence[Path],
        file_workers: int = 2,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._telemetry = telemetry
        self._roots = tuple(roots)
        self._spool = home / "spool"
        self._logs = home / "logs"
        self._folders = WorkerFolders(home / "files")
        self._files = WorkerPool(
            lambda: self._folders.start(self._file_worker),
            file_workers,
            engine="files",
            telemetry=telemetry,
        )
        self._reads: WeakKeyDictionary[WorkerProcess, Identities] = WeakKeyDictionary()

    async def open(self) -> None:
        self._spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        await anyio.to_thread.run_sync(self._sweep)

    async def close(self) -> None:
        await self._files.close()
        await self._folders.close()

    @asynccontextmanager
    async def for_file(self, name: str) -> AsyncIterator[WorkDirectory]:
        async with (
            self._directory(name) as private,
            self._acquired() as worker,
            _working_directory(self._folders.folder_of(worker) / OWN) as directory,
            _working_directory(self._folders.folder_of(worker) / INBOX) as inbox,
        ):
            yield WorkDirectory(directory, worker, private, inbox)

    @asynccontextmanager
    async def for_connector(self, name: str) -> AsyncIterator[WorkDirectory]:
        """Starts a separate worker. Killing it ends the connector and everything it started."""
        async with self._directory(name) as directory:
            worker = await self._connector_worker(name)
            try:
                yield WorkDirectory(directory, worker)
            finally:
                await asyncio.shield(worker.close())

    async def remove(self, name: str) -> None:
        """Removes the directories that a dead run left behind."""
        await anyio.to_thread.run_sync(self._sweep, f"{name}-*")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[WorkerProcess]:
        """Replaces a worker if a directory was replaced after its start, which it cannot read."""
        while True:
            async with self._files.acquire() as worker:
                if self._reads[worker] == _identities(self._roots):
                    yield worker
                    return
                worker.kill()

    async def _connector_worker(self, name: str) -> WorkerProcess:
        try:
            return await WorkerProcess.start(
                CONNECTOR_MODULE,
                name=f"connector {name}",
                log_path=self._logs / "connectors.log",
                handshake={},
                max_rss=CONNECTOR_MEMORY,
                telemetry=self._telemetry,
                engine="connector",
            )
        except WorkerDied as error:
            raise error.translated(READER) from error

    async def _file_worker(self, folder: Path) -> WorkerProcess:
        reads = _identities(self._roots)
        own, inbox = folder / OWN, folder / INBOX
        for part in (own, inbox):
            part.mkdir(mode=0o700)
        worker = await WorkerProcess.start(
            FILE_MODULE,
            name="file worker",
            log_path=self._logs / "file-worker.log",
            handshake={},
            sandbox=Sandbox(own, reads=(*self._roots, inbox)),
            max_rss=FILE_MEMORY,
            telemetry=self._telemetry,
            engine="files",
        )
        self._reads[worker] = reads
        return worker

    @asynccontextmanager
    async def _directory(self, name: str) -> AsyncIterator[Path]:
        directory, lock = self._locked(name)
        try:
            yield directory
        finally:
            lock.close()
            await asyncio.shield(anyio.to_thread.run_sync(remove_tree, directory))

    def _locked(self, name: str) -> tuple[Path, FileLock]:
        """Return a new directory and its lock. Never waits for another process: if one holds the
        lock already, which the sweep of another gateway can do, the next directory is tried."""
        while True:
            directory = Path(mkdtemp(prefix=f"{name}-", dir=self._spool))
            try:
                lock = FileLock(directory / LOCK)
            except FileNotFoundError:
                continue
            if lock.try_exclusive():
                return directory, lock
            lock.close()

    def _sweep(self, pattern: str = "*") -> None:
        """Removes the directories that no living gateway holds. A lock ends with its holder."""
        for directory in self._spool.glob(pattern):
            try:
                lock = FileLock(directory / LOCK, create=False)
            except FileNotFoundError:
                continue  # just created, or just removed
            try:
                if lock.try_exclusive():
                    remove_tree(directory)
            finally:
                lock.close()


def _identities(roots: Sequence[Path]) -> Identities:
    identities: list[tuple[int, int] | None] = []
    for root in roots:
        try:
            status = root.stat()
        except OSError:
            identities.append(None)
        else:
            identities.append((status.st_dev, status.st_ino))
    return tuple(identities)


@asynccontextmanager
async def _working_directory(folder: Path) -> AsyncIterator[Path]:
    directory = Path(mkdtemp(dir=folder))
    try:
        yield directory
    finally:
        await asyncio.shield(anyio.to_thread.run_sync(remove_tree, directory))


def _translated(error: WorkerError) -> AsgardError:
    if own_error := error.to_asgard():
        return own_error
    kind = error.error.get("type")
    if kind == "OSError" and "No space left" in str(error.error.get("message")):
        return EngineFailed(
            "The disk of ASGARD_HOME is full.", hint="Free disk space.", retryable=True
        )
    return EngineFailed(f"Reading failed: {kind}: {error.error.get('message')}"[:2000])
