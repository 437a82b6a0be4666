"""Wakes every task of this process that waits for a run to change."""

import asyncio
from weakref import WeakValueDictionary


class Notifier:
    """Take `changed` before checking, then wait for it. This misses no notification in between."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def notify(self) -> None:
        event, self.changed = self.changed, asyncio.Event()
        event.set()


class RunNotifiers:
    """One notifier per run, for as long as a caller holds it."""

    def __init__(self) -> None:
        self._notifiers: WeakValueDictionary[str, Notifier] = WeakValueDictionary()

    def of(self, run_id: str) -> Notifier:
        notifier = self._notifiers.get(run_id)
        if notifier is None:
            notifier = self._notifiers[run_id] = Notifier()
        return notifier

    def notify(self, run_id: str) -> None:
        if (notifier := self._notifiers.get(run_id)) is not None:
            notifier.notify()

    def notify_all(self) -> None:
        for notifier in list(self._notifiers.values()):
            notifier.notify()

    def __len__(self) -> int:
        return len(self._notifiers)


async def wait_within(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
