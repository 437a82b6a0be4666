"""Sends the answer: sets its headers, limits its time, and records the change first."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from app.edge.security_headers import HEADERS, HTTPS_ONLY

Recorder = Callable[[int, bytes], Awaitable[None]]


class ResponseGuard:
    """Sends only the first answer, and holds its status: 0 until it has started.

    With `record`, the whole answer waits until that has returned, so a change is recorded before
    the client learns of it.
    """

    def __init__(self, send: Send, request_id: str, is_https: bool, is_head: bool = False) -> None:
        self._send = send
        self._is_head = is_head
        self._request_id = request_id
        self._is_https = is_https
        self._held: list[Message] = []
        self._late: list[Message] = []
        self._late_record: Recorder | None = None
        self.record: Recorder | None = None
        self.traceresponse: str | None = None
        """The span that answered (W3C Trace Context Level 2)."""
        self.status = 0
        self.is_late = False
        """Whether the deadline has answered. The handler's own answer is then dropped."""

    async def __call__(self, message: Message) -> None:
        if self.is_late:
            await self._record_late(message)
        else:
            await self.send(message)

    async def _record_late(self, message: Message) -> None:
        """Record the handler's own answer, too: it tells what became of the change."""
        if self._late_record is None:
            return
        if message["type"] == "http.response.start":
            self._late = [message]
            return
        self._late.append(message)
        if not message.get("more_body", False):
            await self._late_record(self._late[0]["status"], _body(self._late))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._set_headers(message)
        if self.record is None:
            await self._pass(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self.record(self.status, _body(self._held))
            self.record, self._late_record = None, self.record
            for held in self._held:
                await self._send(held)

    async def _pass(self, message: Message) -> None:
        """Send the message. An answer to HEAD ends after its head, even if it is a stream."""
        if not self._is_head:
            await self._send(message)
        elif message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b""})

    def _set_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self._request_id
        if self.traceresponse:
            headers["Traceresponse"] = self.traceresponse
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        if self._is_https:
            headers["Strict-Transport-Security"] = HTTPS_ONLY


def _body(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


class Deadline:
    """Calls `late` after `seconds`, unless it is stopped. A handler can extend the time.

    The handler itself continues: if it were cancelled, it could leave a run without an owner.
    """

    def __init__(self, seconds: float, late: Callable[[], Awaitable[None]]) -> None:
        self._seconds = seconds
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._fire)
        self.answering: asyncio.Task[None] | None = None

    def extend(self, seconds: float) -> None:
        self._restart(self._timer.when() - self._loop.time() + seconds)

    def restart(self) -> None:
        self._restart(self._seconds)

    def stop(self) -> None:
        self._timer.cancel()

    def _restart(self, seconds: float) -> None:
        if self.answering is None:
            self._timer.cancel()
            self._timer = self._loop.call_later(max(0, seconds), self._fire)

    def _fire(self) -> None:
        self.answering = self._loop.create_task(self._answer())

    async def _answer(self) -> None:
        await self._late()
