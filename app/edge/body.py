"""Reads a request's body: limits its size and restarts the deadline when it is complete."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from app.edge.body_size import TOO_MANY_PARTS, has_too_many_parts
from app.edge.open_requests import RETRY_AFTER, OpenRequest

TOO_MANY_BODIES = (
    "The bodies of open requests use too much memory, either for this caller or for all callers "
    "together. Try again when some requests have ended."
)
TWO_LENGTHS = "Content-Length and Transfer-Encoding are both given; expected one of them."


class BodyReader:
    def __init__(
        self,
        receive: Receive,
        headers: Headers,
        limit: int,
        request: OpenRequest | None,
        arrived: Callable[[], None],
    ) -> None:
        self._receive = receive
        self._limit = limit
        self._request = request
        self._arrived = arrived
        self._seen = 0
        self._pieces: list[bytes] = []
        length = headers.get("content-length")
        self._is_whole = "transfer-encoding" not in headers and length in {None, "0"}
        self.is_awaited = False
        """Whether the handler is waiting for the rest of the body."""

    async def __call__(self) -> Message:
        """Return the next message, counting bytes: Content-Length may be missing or wrong."""
        self.is_awaited = not self._is_whole
        message = await self._receive()
        self.is_awaited = False
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            if self._seen > self._limit:
                raise HTTPException(413, too_large(self._limit))
            self._hold(len(message.get("body", b"")))
            self._pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                # The framework parses the body before any other check.
                pieces, self._pieces = self._pieces, []
                if has_too_many_parts(b"".join(pieces)):
                    raise HTTPException(422, TOO_MANY_PARTS)
            if not message.get("more_body", False) and not self._is_whole:
                self._is_whole = True
                self._arrived()
        return message

    def _hold(self, count: int) -> None:
        if count and self._request is not None and not self._request.hold(count):
            raise HTTPException(429, TOO_MANY_BODIES, {"Retry-After": str(RETRY_AFTER)})


def too_large(limit: int) -> str:
    return f"The body is too large: expected at most {limit} bytes (MAX_BODY_BYTES)."
