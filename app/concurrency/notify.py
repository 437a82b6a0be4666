"""Wakes whoever waits for a run to change, however many and wherever in this process."""

import asyncio
from weakref import WeakValueDictionary


class Notifier:
    """Take `changed` before looking, then wait for it: no ring in between is missed."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    def notify(self) -> None:
        event, self.changed = self.changed, asyncio.Event()
        event.set()


class RunNotifiers:
    """One bell a run, for as long as somebody holds it."""

    def __init__(self) -> None:
        self._bells: WeakValueDictionary[str, Notifier] = WeakValueDictionary()

    def of(self, run_id: str) -> Notifier:
        bell = self._bells.get(run_id)
        if bell is None:
            bell = self._bells[run_id] = Notifier()
        return bell

    def notify(self, run_id: str) -> None:
        if (bell := self._bells.get(run_id)) is not None:
            bell.notify()

    def notify_all(self) -> None:
        for bell in list(self._bells.values()):
            bell.notify()

    def __len__(self) -> int:
        return len(self._bells)


async def wait_within(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
