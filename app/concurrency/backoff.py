"""Waits until an outage is over, with bounded back-off and jitter."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog

from app.errors import EngineTimeout, EngineUnreachable

T = TypeVar("T")
log = structlog.get_logger()

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0


def backoff_delays(first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    pause = first
    while True:
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311
        pause = min(longest, pause * 2)


async def retry_while_unreachable(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Repeat the call until its engine answers. Only for calls that are safe to repeat."""
    for pause in backoff_delays():
        try:
            return await call()
        except (EngineUnreachable, EngineTimeout) as error:
            log.warning("retrying_after_outage", operation=what, error=error.detail)
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")
