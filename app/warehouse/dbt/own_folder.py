"""Writes files below a folder that other users of the machine may have prepared.

For example, another user can create `/tmp/dbt_projects` first and put links into it. No link is
followed here, and no folder of another user is used.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
PRIVATE_FILE = 0o600


def make_folder(path: Path, *, private: bool) -> None:
    """Raises `OSError` if another user owns the folder or can write to it, or if it is a link.
    `private` takes the rights of other users away, unless it is a mounted volume of root."""
    if path.is_symlink():
        raise _refused(path, "is a link")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path, FOLDER)
    try:
        if private and os.fstat(folder).st_uid == os.getuid():
            os.fchmod(folder, 0o700)
        _require_trust(folder, path)
    finally:
        os.close(folder)


@contextmanager
def opened(root: Path, *parts: str) -> Iterator[int]:
    """Yield a descriptor of the folder `parts` below `root`, which is made if it does not exist."""
    path = root
    folder = os.open(root, FOLDER)
    try:
        _require_trust(folder, path)
        for part in parts:
            path /= part
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=folder)
            if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                raise _refused(path, "is a link")
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
            _require_trust(folder, path)
        yield folder
    finally:
        os.close(folder)


def write_file(root: Path, name: str, text: str) -> None:
    """Write the file whole or not at all, by rename, with mode 0600. `name` is below `root`."""
    *parents, last = PurePosixPath(name).parts
    with opened(root, *parents) as folder:
        write_in(folder, last, text)


def read_file(root: Path, name: str) -> bytes | None:
    """Return the bytes of a file in `root`, or None for anything but a private file of our own."""
    with opened(root) as folder:
        return _read(folder, name)


def write_in(folder: int, name: str, text: str) -> None:
    """Write a file as `write_file` does."""
    if _read(folder, name) == text.encode():
        return
    temporary = f".{name}.{os.getpid()}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=folder)
    descriptor = os.open(temporary, NEW_FILE, PRIVATE_FILE, dir_fd=folder)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def files_below(root: Path, folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the names, below `root`, of the files below `folder` that end so."""
    with opened(root, folder) as top:
        for below, _, files, _ in os.fwalk(".", dir_fd=top):
            for file in files:
                if file.endswith(suffixes):
                    yield str(PurePosixPath(folder, below, file))


def _read(folder: int, name: str) -> bytes | None:
    """Return the file's bytes, or None for anything but a private file of our own."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(file, "rb") as opened_file:
        status = os.fstat(file)
        own = status.st_uid == os.getuid() and status.st_mode == stat.S_IFREG | PRIVATE_FILE
        return opened_file.read() if own else None


def _require_trust(folder: int, path: Path) -> None:
    status = os.fstat(folder)
    if status.st_uid not in {0, os.getuid()}:
        raise _refused(path, "belongs to another user")
    volume = status.st_uid == 0 and _is_mounted(path)
    if status.st_mode & stat.S_IWOTH and not volume:
        raise _refused(path, "can be written by every user")


def _is_mounted(path: Path) -> bool:
    """Volumes of a pod often have the device of their parent, which `Path.is_mount` compares."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return path.is_mount()
    return str(path) in {line.split()[4] for line in mounts.read_text().splitlines()}


def _refused(path: Path, why: str) -> OSError:
    return OSError(errno.EPERM, f"{path} {why}. Name a folder that only Asgard's user can write")
