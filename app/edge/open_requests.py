"""Limits what the open requests of each caller hold at once: their number, which includes event
streams, and the bytes of their bodies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import TooManyRequests

BODIES_PER_CALLER = 16
BODIES_OF_ALL = 64
"""Bodies of MAX_BODY_BYTES that open requests may hold. A caller with slow or endless bodies leaves
most of the memory to others."""
RETRY_AFTER = 1


@dataclass
class Held:
    requests: int = 0
    body_bytes: int = 0


class OpenRequests:
    def __init__(self, most_per_caller: int, largest_body: int) -> None:
        self._most = most_per_caller
        self._bytes_per_caller = BODIES_PER_CALLER * largest_body
        self._bytes_of_all = BODIES_OF_ALL * largest_body
        self._held: dict[str, Held] = {}
        self._all_bytes = 0

    @contextmanager
    def opened(self, caller: str) -> Iterator["OpenRequest"]:
        """Count a request while it is open. Raise `TooManyRequests` if the caller has too many."""
        held = self._held.setdefault(caller, Held())
        if self._most and held.requests >= self._most:
            raise TooManyRequests(
                f"The caller already has {held.requests} open requests, the maximum "
                "(MAX_OPEN_REQUESTS).",
                hint="Wait until one of them ends. An event stream is open until it is closed.",
                retry_after=RETRY_AFTER,
            )
        held.requests += 1
        request = OpenRequest(self, held)
        try:
            yield request
        finally:
            held.requests -= 1
            held.body_bytes -= request.body_bytes
            self._all_bytes -= request.body_bytes
            if not held.requests:
                del self._held[caller]

    def hold(self, held: Held, count: int) -> bool:
        """Return whether so many bytes of a body may be held, and count them if they may."""
        if held.body_bytes + count > self._bytes_per_caller:
            return False
        if self._all_bytes + count > self._bytes_of_all:
            return False
        held.body_bytes += count
        self._all_bytes += count
        return True


class OpenRequest:
    """One open request of a caller. `body_bytes` counts until the request ends, because its parsed
    body stays until then."""

    def __init__(self, requests: OpenRequests, held: Held) -> None:
        self._requests = requests
        self._held = held
        self.body_bytes = 0

    def hold(self, count: int) -> bool:
        """Return whether so many more bytes of the body may be held."""
        may = self._requests.hold(self._held, count)
        self.body_bytes += count if may else 0
        return may
