"""The answer on its way out: its headers, its time limit, and the audit before it leaves."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from app.edge.security_headers import HEADERS, HTTPS_ONLY

Recorder = Callable[[int, bytes], Awaitable[None]]


class ResponseGuard:
    """Passes an answer on, the first one only, and remembers its status; 0 until it has started.

    With `keep` the whole answer waits until that has returned: a change is on record before
    anybody hears that it was made.
    """

    def __init__(self, send: Send, request_id: str, is_https: bool, is_head: bool = False) -> None:
        self._send = send
        self._is_head = is_head
        self._request_id = request_id
        self._is_https = is_https
        self._held: list[Message] = []
        self.keep: Recorder | None = None
        self.traceresponse: str | None = None
        """As W3C Trace Context Level 2 names it: the span that answered."""
        self.status = 0
        self.is_late = False
        """The clock has answered; what the handler says is not heard any more."""

    async def __call__(self, message: Message) -> None:
        if not self.is_late:
            await self.say(message)

    async def say(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._set_headers(message)
        if self.keep is None:
            await self._pass(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            body = b"".join(held.get("body", b"") for held in self._held)
            await self.keep(self.status, body)
            self.keep = None
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


class Deadline:
    """Calls `late` after so many seconds, unless it is stopped; a handler can have more of them.

    The handler itself goes on: cut off half-way it could leave a run that nobody owns.
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
