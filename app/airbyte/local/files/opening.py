"""Opens the file that the gateway has allowed, and not one that was put in its place since."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import SourceNotFound

STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


@contextmanager
def opened_without_links(path: Path, name: str) -> Iterator[Path]:
    """Give a path that leads to the opened file, whatever happens to `path` meanwhile. Only Linux
    has such paths. `path` is resolved: a link in it was put there later. Raises `SourceNotFound`
    with `name`, which is what the client calls the file."""
    try:
        file = _open(path)
    except FileNotFoundError:
        raise SourceNotFound(f"{name} does not exist.") from None
    except PermissionError:
        raise SourceNotFound(f"{name} may not be read by the gateway's user.") from None
    except OSError:
        raise SourceNotFound(f"{name} is not a regular file.") from None
    try:
        yield Path(f"/proc/self/fd/{file}") if sys.platform == "linux" else path
    finally:
        os.close(file)


def _open(path: Path) -> int:
    directory = os.open(path.anchor, STEP)
    try:
        for part in path.parts[1:-1]:
            inner = os.open(part, STEP, dir_fd=directory)
            os.close(directory)
            directory = inner
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path} is not a regular file")
    return file
