"""Opens files that a sandboxed child hands over, without trusting the child."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_handed_over(folder: Path, name: str) -> BinaryIO:
    """Open the regular file `name` in the child's own `folder` for reading. Raises `OSError` for
    anything else: the child could put a pipe there, or a link to a file of the gateway."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{name} is not a regular file")
    return os.fdopen(file, "rb")
