"""Copies a child's output to its log, without the secrets that this process knows."""

import asyncio
import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import BinaryIO

from app.redaction import Scope, clean, scope, within

CHUNK = 64 * 1024
LONGEST_LINE = 256 * 1024
PIPE_BYTES = 1024 * 1024


class LogPipe:
    """Pass `write_end` to the child, then close it here. After `drain`, the log has everything that
    the child wrote before it answered."""

    def __init__(self, log: BinaryIO, path: Path) -> None:
        self.path = path
        self._log = log
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        if sys.platform == "linux":
            # A blocked gateway must not block its SeaweedFS, which other gateways also use.
            with contextlib.suppress(OSError):  # an unprivileged user's pipes may be limited
                fcntl.fcntl(self._read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._unfinished = b""
        self._scope = scope()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_end, self._read)

    @property
    def is_open(self) -> bool:
        return self._read_end >= 0

    def started(self) -> None:
        """Close the write end, which the child now has."""
        os.close(self.write_end)

    def belong_to(self, scope: Scope | None) -> None:
        """Assign what the child prints from now on to this request or run, not to the last one."""
        if scope is self._scope:
            return
        self.drain()
        self._write(self._unfinished)
        self._unfinished = b""
        self._scope = scope

    def drain(self) -> None:
        """Read what the pipe holds now, but not what a busy child adds meanwhile."""
        remaining = PIPE_BYTES
        while remaining > 0 and (count := self._read()):
            remaining -= count

    def close(self) -> None:
        if self.is_open:
            self.drain()
        if self.is_open:
            self._end()

    def _read(self) -> int:
        """Read once, and return the number of bytes."""
        if not self.is_open:
            return 0
        try:
            data = os.read(self._read_end, CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._end()
            return 0
        lines, newline, self._unfinished = (self._unfinished + data).rpartition(b"\n")
        self._write(lines + newline)
        if len(self._unfinished) > LONGEST_LINE:
            self._write(self._unfinished)
            self._unfinished = b""
        return len(data)

    def _end(self) -> None:
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        self._read_end = -1
        self._write(self._unfinished)
        with contextlib.suppress(OSError):
            self._log.close()

    def _write(self, data: bytes) -> None:
        if data:
            # A full disk must not end the reading, or the child would wait forever.
            with contextlib.suppress(OSError), within(self._scope):
                self._log.write(clean(data.decode(errors="replace")).encode())
                self._log.flush()
