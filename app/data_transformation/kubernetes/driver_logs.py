"""Follows the log of a driver while it runs, since its pod with the log may vanish at any time."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

from app.data_transformation.kubernetes.api import LOG_BYTES, KubernetesApi
from app.data_transformation.kubernetes.application import driver_pod_name
from app.errors import AsgardError, NotFound
from app.runs.handler import RunControl

RESTART_AFTER = 1.0
"""Seconds after which a stream that ended before its driver is restarted."""
LONGEST_LINE = 16 * 1024
"""Bytes."""
MOST_UNTAKEN = 16
"""Chunks that may wait for the event loop."""
LAST_LINES_WITHIN = 10.0
"""Seconds for which the end of an attempt waits for the driver's last lines."""


class LogLines:
    """Assembles lines from chunks. Keeps only the start of a line that is longer than
    `LONGEST_LINE`: a value of the data can make it any length."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._left_out = 0

    def complete(self, chunk: bytes) -> bytes:
        """Return the lines that end in this chunk."""
        *ends, last = chunk.split(b"\n")
        lines = bytearray()
        for end in ends:
            self._add(end)
            lines += self.rest() + b"\n"
        self._add(last)
        return bytes(lines)

    def rest(self) -> bytes:
        """Return the line that has not ended, and begin another."""
        note = f"… ({self._left_out} more bytes)".encode() if self._left_out else b""
        line = bytes(self._line) + note
        self._line.clear()
        self._left_out = 0
        return line

    def _add(self, part: bytes) -> None:
        room = LONGEST_LINE - len(self._line)
        self._line += part[:room]
        self._left_out += max(0, len(part) - room)


class DriverLog:
    """A thread reads. Complete lines go to the run's log on the event loop that started it."""

    def __init__(self, api: KubernetesApi, pod: str, control: RunControl) -> None:
        self._api = api
        self._pod = pod
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._complete = asyncio.Event()
        self._driver_ended = threading.Event()
        self._closed = False
        self._response: Any = None
        self._received = 0
        self._lines = LogLines()
        self._untaken = threading.Semaphore(MOST_UNTAKEN)
        self._error: AsgardError | None = None
        self.text = ""
        """The driver's log, or the end of a long one."""
        threading.Thread(target=self._follow, name=f"log of {pod}", daemon=True).start()

    @property
    def is_complete(self) -> bool:
        """Returns whether the log is complete."""
        return self._complete.is_set()

    async def read_to_end(self) -> str:
        """Returns the rest of the log, for a driver that has ended."""
        self._driver_ended.set()
        try:
            async with asyncio.timeout(LAST_LINES_WITHIN):
                await self._complete.wait()
        except TimeoutError:
            self._control.log("The end of the driver's log did not arrive in time.")
        if self._error is not None:
            self._control.log(f"The driver's log could not be read: {self._error.detail}")
        return self.text

    def close(self) -> None:
        self._closed = True
        self._driver_ended.set()
        if (response := self._response) is not None:
            with suppress(ValueError, OSError):  # it ended meanwhile
                response.shutdown()

    def _follow(self) -> None:
        while not self._closed:
            last = self._driver_ended.is_set()
            try:
                self._error = None
                self._stream()
            except NotFound as error:
                self._error, last = error, True
            except AsgardError as error:
                self._error = error
            if last:
                break
            self._driver_ended.wait(RESTART_AFTER)
        self._hand_over(self._lines.rest())
        self._on_loop(self._complete.set)

    def _stream(self) -> None:
        """Reads from the beginning, as the API requires, and skips what was received before."""
        self._response = self._api.follow_log(self._pod)
        position = 0
        try:
            for chunk in self._api.chunks(self._response):
                new = chunk[max(0, self._received - position) :]
                position += len(chunk)
                if new:
                    self._received = position
                    self._hand_over(self._lines.complete(new))
        finally:
            response, self._response = self._response, None
            response.close()

    def _hand_over(self, lines: bytes) -> None:
        """Waits while the event loop has enough to do: the driver may be faster than the loop."""
        while lines and not self._closed:
            if self._untaken.acquire(timeout=RESTART_AFTER):
                self._on_loop(self._append, lines)
                return

    def _append(self, lines: bytes) -> None:
        self._untaken.release()
        text = lines.decode("utf-8", "replace")
        self.text = (self.text + text)[-LOG_BYTES:]
        self._control.log_lines(text)

    def _on_loop(self, work: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(work, *arguments)
        except RuntimeError:
            self._closed = True  # the loop was closed without us


class DriverLogs:
    """The logs that this process follows, by the id of the run."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._followed: dict[str, DriverLog] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._followed

    def follow(self, run_id: str, control: RunControl) -> DriverLog:
        """Follows the log until the pod is gone, even if the run is stopped: it still counts."""
        driver_log = self._followed.get(run_id)
        if driver_log is None or driver_log.is_complete:
            driver_log = DriverLog(self._api, driver_pod_name(run_id), control)
            self._followed[run_id] = driver_log
        return driver_log

    async def read_to_end(self, run_id: str, control: RunControl) -> str:
        """Returns the log of a driver that has ended."""
        text = await self.follow(run_id, control).read_to_end()
        self._followed.pop(run_id).close()
        return text

    def forget(self, run_id: str) -> None:
        self._followed.pop(run_id, None)

    def close(self) -> None:
        for followed in self._followed.values():
            followed.close()
