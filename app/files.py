"""Locks and replaces files that several processes share."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

LOCK_PAUSE = 0.2
LOCK_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL
PRIVATE = 0o600


class FileLock:
    """A lock by `flock`, which the kernel releases with the process, however that ends. Children do
    not inherit its descriptor, so none of them can keep the lock. Raises `FileNotFoundError` if the
    file does not exist and is not to be created."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        flags = LOCK_FLAGS | (os.O_CREAT if create else 0)
        self._descriptor: int | None = os.open(path, flags, PRIVATE)

    def try_exclusive(self) -> bool:
        """Return False if others hold the lock. A shared lock that this process held is then
        lost."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        return self._try(fcntl.LOCK_SH)

    def wait_exclusive(self) -> None:
        """Block until no one else holds the lock."""
        fcntl.flock(self._open_descriptor(), fcntl.LOCK_EX)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._open_descriptor(), kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the lock is closed")
        return self._descriptor


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the file's lock, and hold it. Blocks, so call it in a thread."""
    lock = FileLock(path)
    try:
        lock.wait_exclusive()
        yield
    finally:
        lock.close()


@asynccontextmanager
async def locked_by_polling(path: Path) -> AsyncIterator[None]:
    """Wait for the file's lock, and hold it. Can be cancelled, unlike a thread that waits."""
    lock = FileLock(path)
    try:
        while not lock.try_exclusive():  # noqa: ASYNC110 — the kernel has no event for a free lock
            await asyncio.sleep(LOCK_PAUSE)
        yield
    finally:
        lock.close()


def replace_atomically(path: Path, content: bytes) -> None:
    """Write the file whole or not at all. Other users can never read it, not even for a moment.
    Only one writer at a time may replace a file: hold a lock where there can be several."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, NEW_FILE, PRIVATE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
