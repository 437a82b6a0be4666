"""Tests wait for a condition, never for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

POLL = 0.02


async def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Asks, also asynchronously, until the answer counts as true, and returns it.

    Raises `TimeoutError`.
    """
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(POLL)


def until_now(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The same, for tests that are no coroutines."""
    patience = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < patience
        time.sleep(POLL)
    return found
