"""Measures what a worker does in a call, as spans that the gateway exports.

So a worker needs neither OpenTelemetry, which costs import time and memory in each of them, nor
access to the collector and its credentials.
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
"""The field of a message that holds the gateway's span of the call."""


@dataclass
class Frame:
    """The innermost open span, and those of the call that have ended."""

    span_id: str
    ended: list[dict[str, Any]] = field(default_factory=list)


_current: ContextVar[Frame | None] = ContextVar("worker span", default=None)


@contextmanager
def spans_of_call(parent_id: str | None, name: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the list that collects the spans of this call. Without a parent, it stays empty."""
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
