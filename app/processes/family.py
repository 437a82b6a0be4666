"""The processes that belong to a worker."""

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def family(pid: int) -> set[int]:
    """Return the pids of a process, its descendants and its session, and none if it is gone.

    A sandboxed process cannot leave the session, which also has the processes whose parent has
    ended."""
    try:
        descendants = set(_descendants(pid))
    except ProcessLookupError:
        return set()
    return {pid, *descendants, *_session(pid)}


def _descendants(pid: int) -> Iterator[int]:
    """Raises `ProcessLookupError` if the process is gone.

    Linux lists the children of each thread. psutil reads the files of all processes of the machine
    instead, which takes a millisecond for every hundred of them."""
    import psutil

    if not _has_lists():
        try:
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        except psutil.NoSuchProcess:
            raise ProcessLookupError(pid) from None
        return
    # Not by recursion: a hostile child may fork to any depth.
    seen = {pid}
    unread = _children(pid)
    while unread:
        child = unread.pop()
        if child not in seen:
            seen.add(child)
            yield child
            with contextlib.suppress(ProcessLookupError):
                unread += _children(child)


def _children(pid: int) -> list[int]:
    try:
        threads = list((Path("/proc") / str(pid) / "task").iterdir())
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    children: list[int] = []
    for thread in threads:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            children += map(int, (thread / "children").read_text().split())
    return children


@cache
def _has_lists() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _session(leader: int) -> Iterator[int]:
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                yield pid
