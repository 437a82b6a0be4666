"""Drains the application as soon as the process receives a signal to stop."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """Call `drain` on the event loop before the server's own handler. The server waits for its
    requests before it closes the application, and those may be waiting for runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)
        handler = previous[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    # A signal that the server does not handle keeps its default: the process ends immediately.
    handled = [number for number in SIGNALS if callable(previous[number])]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, previous[number])
