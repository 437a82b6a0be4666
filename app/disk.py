"""Keeps a part of the gateway's disk free. On a full disk, the embedded lake accepts nothing."""

import shutil
from pathlib import Path

from app.errors import EngineFailed
from app.failure import FailureCause

RESERVE = 256 * 2**20
"""Bytes that runs leave free. SeaweedFS, runs and logs need some to continue."""


def room(folder: Path) -> int:
    """Return how many bytes runs may still write to the disk of `folder`."""
    return max(0, shutil.disk_usage(folder).free - RESERVE)


def require_room(folder: Path, wanted: int = 1) -> None:
    """Raises `EngineFailed` if `wanted` more bytes would take a part of the reserve."""
    if room(folder) < wanted:
        raise disk_full()


def disk_full() -> EngineFailed:
    return EngineFailed(
        "The disk of the gateway is full.", cause=FailureCause.INTERNAL, retryable=True
    )
