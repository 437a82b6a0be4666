"""Opens files that a sandboxed child hands over, without trusting the child."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def open_handed_over(folder: Path, name: str) -> BinaryIO:
    """Open the regular file `name` in the child's own `folder` for reading. Raises `OSError` for
    anything else: the child could put a pipe there, or a link to a file of the gateway."""
    directory = os.open(folder, FOLDER)
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{name} is not a regular file")
    return os.fdopen(file, "rb")


def take_over(folder: Path, file: Path, target: Path) -> None:
    """Move the regular `file`, which is somewhere below the child's own `folder`, to `target`,
    where the child cannot change it. Raises `OSError` for anything else, including a file that is
    reached through a link."""
    *parents, name = file.relative_to(folder).parts
    if ".." in (*parents, name):
        raise OSError(f"{file} is outside of the folder")
    directory = os.open(folder, FOLDER)
    try:
        for parent in parents:
            inner = os.open(parent, FOLDER, dir_fd=directory)
            os.close(directory)
            directory = inner
        os.rename(name, target, src_dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISREG(target.lstat().st_mode):
        if not target.is_dir() or target.is_symlink():
            target.unlink()
        raise OSError(f"{name} is not a regular file")
