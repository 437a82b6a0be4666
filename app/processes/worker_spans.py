"""What a worker did in a call, as spans: measured here, told to the gateway, exported by it.

So a worker needs neither OpenTelemetry, which would cost each of them its import and memory, nor
the way to the collector with its credentials.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

EVENT = "spans"
PARENT_SPAN = "parent_span"
"""Of a message: the span in the gateway that the call is."""


@dataclass
class Frame:
    """The innermost open span, and those of the call that have ended."""

    span_id: str
    ended: list[dict[str, Any]] = field(default_factory=list)


_current: ContextVar[Frame | None] = ContextVar("worker span", default=None)


@contextmanager
def spans_of_call(parent_id: str | None, name: str) -> Iterator[list[dict[str, Any]]]:
    """Yields the list that the spans of this call are put into; without a parent none are."""
    if parent_id is None:
        yield []
        return
    root = Frame(parent_id)
    token = _current.set(root)
    try:
        with span(name):
            yield root.ended
    finally:
        _current.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    parent = _current.get()
    if parent is None:
        yield
        return
    frame = Frame(secrets.token_hex(8), parent.ended)
    token, started, error = _current.set(frame), time.time_ns(), None
    try:
        yield
    except BaseException as raised:
        error = type(raised).__name__
        raise
    finally:
        _current.reset(token)
        parent.ended.append(
            {
                "name": name,
                "span_id": frame.span_id,
                "parent_id": parent.span_id,
                "start": started,
                "end": time.time_ns(),
                "error": error,
            }
        )
