"""What happens first when the process is asked to end."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """Calls `drain` on the event loop, besides what the server does: it waits for its requests to
    be answered before it closes the application, and those may be waiting for runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    former = {number: signal.getsignal(number) for number in SIGNALS}

    def asked(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(drain)
        handler = former[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    # A signal that the server does not handle keeps its default: ending at once.
    handled = [number for number in SIGNALS if callable(former[number])]
    for number in handled:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, former[number])
