"""Reads HTTP/1.1 strictly: refuses what a proxy could read differently, and closes the connection.
uvicorn's own protocol accepts bare LF, folded headers and two lengths, and waits indefinitely for
the rest of a request and for a client that does not read its answer."""

import asyncio
import contextlib
import fcntl
import re
import socket
import struct
import termios
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11
from h11._receivebuffer import ReceiveBuffer
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.edge.body import TWO_LENGTHS
from app.edge.security_headers import HEADERS
from app.errors import AsgardError, MalformedRequest, RequestTooSlow
from app.http.dependencies import request_id_of_task
from app.http.problems import problem_response

FAULTS = (
    (re.compile(rb"(?<!\r)\n"), "A line ends with LF alone; expected CR and LF."),
    (re.compile(rb"\r(?!\n|\Z)"), "A CR is not followed by LF; expected CR and LF."),
    (
        re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        "The request line or a header has a control character; expected visible text.",
    ),
    (re.compile(rb"\n[ \t]"), "A header continues on the next line; expected one line per header."),
)
CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}(;[^\x00-\x08\x0a-\x1f\x7f]{0,200})?\r\n")
LONGEST_CHUNK_LINE = 256
SMALL_CHUNK = 64
"""Bytes. A smaller chunk costs the gateway more than its bytes do."""
MOST_SMALL_CHUNKS = 2000
TOO_SMALL = (
    f"The body has more than {MOST_SMALL_CHUNKS} chunks of less than {SMALL_CHUNK} bytes; expected "
    "larger chunks."
)
RESET = struct.pack("ii", 1, 0)
"""A value of SO_LINGER."""
NOT_HTTP = "The request is not valid HTTP/1.1."


class Lines(ReceiveBuffer):
    """Holds what has arrived but has not been read. `fault` says why the last read was refused."""

    def __init__(self, is_at_head: Callable[[], bool]) -> None:
        super().__init__()
        self._is_at_head = is_at_head
        self._checked = 0
        self._small_chunks = 0
        self.fault: str | None = None

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """Return the head of a request, or the trailers of a chunked body."""
        self._check()
        lines = super().maybe_extract_lines()
        if lines and self._is_at_head():
            self._small_chunks = 0
            self._refuse_if(_framing_fault(lines))
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """Return the line before a chunk."""
        line = super().maybe_extract_next_line()
        arrived = self._data if line is None else line
        is_wrong = len(arrived) > LONGEST_CHUNK_LINE or (line and not CHUNK_LINE.fullmatch(line))
        self._refuse_if("The size of a chunk is not valid." if is_wrong else None)
        if line and int(line.partition(b";")[0], 16) < SMALL_CHUNK:
            self._small_chunks += 1
            self._refuse_if(TOO_SMALL if self._small_chunks > MOST_SMALL_CHUNKS else None)
        return line

    def _check(self) -> None:
        """Look at each byte once, however slowly the bytes arrive."""
        if self._data.startswith(b"\r\n"):
            end = 2
        else:
            head_end = self._data.find(b"\r\n\r\n", max(0, self._checked - 3))
            end = len(self._data) if head_end < 0 else head_end + 4
        for pattern, fault in FAULTS:
            if pattern.search(self._data, max(0, self._checked - 2), end):
                self._refuse_if(fault)
        self._checked = end

    def _refuse_if(self, fault: str | None) -> None:
        if fault is not None:
            self.fault = fault
            raise h11.LocalProtocolError(fault)

    def _extract(self, count: int) -> bytearray:
        self._checked = 0
        return super()._extract(count)


class CountingConnection(h11.Connection):
    """Counts the bytes that were given to the transport."""

    sent = 0

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        pieces = super().send_with_data_passthrough(event)
        self.sent += sum(map(len, pieces or ()))
        return pieces


class Awaited(Enum):
    """The part of a request that a connection is waiting for."""

    FIRST_BYTE = "the first byte"
    HEAD = "the head of the request"
    BODY = "the next part of the body"
    REST = "the rest of a body that was answered before it arrived"


class Wire(H11Protocol):
    head_seconds = 30.0
    """The time for a request's whole head, however many parts it arrives in."""
    silent_seconds = 30.0
    """The time between two parts of a body. REQUEST_TIMEOUT limits the whole body."""
    unread_seconds = 60.0
    """The time between two parts of an answer that the client reads. A system with large buffers
    reports what its program reads in large steps, so this is longer than the other times."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn: CountingConnection = CountingConnection(
            h11.SERVER, self.conn._max_incomplete_event_size
        )
        self._lines = Lines(lambda: self.conn.their_state is h11.IDLE)
        self.conn._receive_buffer = self._lines
        self._awaited: Awaited | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await(Awaited.FIRST_BYTE)
        self._watch_answer(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        awaited = self._awaits()
        # Only a body gets more time with each part.
        if awaited is not self._awaited or awaited is Awaited.BODY:
            self._await(awaited)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await(self._awaits())

    def _awaits(self) -> Awaited | None:
        ours, theirs = self.conn.our_state, self.conn.their_state
        if theirs is h11.SEND_BODY:
            return Awaited.REST if ours in {h11.DONE, h11.MUST_CLOSE} else Awaited.BODY
        if theirs is h11.IDLE and len(self._lines):
            return Awaited.HEAD
        return None

    def _await(self, awaited: Awaited | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = awaited
        is_body = awaited in {Awaited.BODY, Awaited.REST}
        seconds = self.silent_seconds if is_body else self.head_seconds
        self._timer = self.loop.call_later(seconds, self._give_up) if awaited else None

    def _give_up(self) -> None:
        """Answer 408 if the client can still expect an answer, and close the connection."""
        if self._awaited is Awaited.BODY and self.flow.read_paused:
            # The gateway is the slow one.
            self._await(Awaited.BODY)
            return
        awaited = self._awaited
        self._await(None)
        if self.transport.is_closing():
            return
        if awaited in {Awaited.HEAD, Awaited.BODY}:
            seconds = self.head_seconds if awaited is Awaited.HEAD else self.silent_seconds
            detail = f"{awaited.value} did not arrive within {seconds:g} s."
            self._end(RequestTooSlow(detail.capitalize(), retry_after=1))
        else:
            self.transport.close()

    def _watch_answer(self, earlier: int | None) -> None:
        """Drop the connection if its answer waits, and the client has read nothing since this was
        called with `earlier`. Closing it would wait for the client."""
        read = self._read_by_client()
        if read is not None and read == earlier:
            # Without a reset, the system would keep its part of the answer for minutes.
            with contextlib.suppress(OSError):  # The client may be gone.
                connection = self.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
            return
        self._watch = self.loop.call_later(self.unread_seconds, self._watch_answer, read)

    def _read_by_client(self) -> int | None:
        """Return how many bytes have left this machine, or `None` if no answer waits here. The
        transport's buffer alone would not do: it shrinks only after much of the system's has."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            return None
        with contextlib.suppress(OSError):
            descriptor = self.transport.get_extra_info("socket").fileno()
            [queued] = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
            waiting += queued
        return self.conn.sent - waiting

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 — uvicorn's words
        self._end(MalformedRequest(self._lines.fault or NOT_HTTP))

    def _end(self, error: AsgardError) -> None:
        """Answer with a problem, unless an answer has already begun, and close the connection."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse(error)
        self.transport.close()

    def _refuse(self, error: AsgardError) -> None:
        request_id = uuid.uuid4().hex
        token = request_id_of_task.set(request_id)
        response = problem_response(error, "", {**HEADERS, "X-Request-Id": request_id})
        request_id_of_task.reset(token)
        headers = [*self.server_state.default_headers, *response.raw_headers]
        for event in (
            h11.Response(
                status_code=error.status,
                headers=[*headers, (b"connection", b"close")],
                reason=HTTPStatus(error.status).phrase.encode(),
            ),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")


def _framing_fault(lines: Sequence[bytearray]) -> str | None:
    """Return a fault that h11 accepts, although another program may see the request's end elsewhere
    (RFC 9112, 6.1 and 6.3)."""
    version = bytes(lines[0].rpartition(b" ")[2])
    if version not in {b"HTTP/1.0", b"HTTP/1.1"}:
        return "The request line does not name a valid HTTP version; expected HTTP/1.1."
    fields = [line.partition(b":") for line in lines[1:]]
    lengths = [
        bytes(value.strip(b" \t")) for name, _, value in fields if name.lower() == b"content-length"
    ]
    is_chunked = any(name.lower() == b"transfer-encoding" for name, _, _ in fields)
    if is_chunked and lengths:
        return TWO_LENGTHS
    if is_chunked and version == b"HTTP/1.0":
        return "HTTP/1.0 has no Transfer-Encoding; expected HTTP/1.1 or a Content-Length."
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        return "Content-Length is invalid; expected one whole number."
    return None
