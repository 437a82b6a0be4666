"""A cancellation waits for a request that is on its way, so that nothing changes afterwards."""

import asyncio
import threading

import anyio.to_thread
import pytest

from app.concurrency.uninterrupted import uninterrupted


async def test_a_cancellation_waits_for_the_thread() -> None:
    sent, answer = threading.Event(), threading.Event()
    done: list[str] = []

    def write() -> None:
        sent.set()
        answer.wait(30)
        done.append("written")

    task = asyncio.create_task(uninterrupted(anyio.to_thread.run_sync(write)))
    await asyncio.to_thread(sent.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    answer.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["written"]
