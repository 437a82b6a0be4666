"""Opens the file that the gateway has allowed, not one that has replaced it since."""

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
    """Yield a path that leads to the opened file, whatever happens to `path` meanwhile. Only Linux
    has such paths. `path` is resolved, so a link in it was put there later. Raises
    `SourceNotFound` with `name`, the client's name for the file."""
    try:
        file = _open(path)
    except FileNotFoundError:
        raise SourceNotFound(f"{name} does not exist.") from None
    except PermissionError:
        raise SourceNotFound(f"The gateway's user may not read {name}.") from None
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
