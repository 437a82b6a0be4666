"""Wakes whoever waits for a run to change, however many and wherever in this process."""

import asyncio
from weakref import WeakValueDictionary


class Bell:
    """Take `rung` before looking, then wait for it: no ring in between is missed."""

    def __init__(self) -> None:
        self.rung = asyncio.Event()

    def ring(self) -> None:
        event, self.rung = self.rung, asyncio.Event()
        event.set()


class Bells:
    """One bell a run, for as long as somebody holds it."""

    def __init__(self) -> None:
        self._bells: WeakValueDictionary[str, Bell] = WeakValueDictionary()

    def of(self, run_id: str) -> Bell:
        bell = self._bells.get(run_id)
        if bell is None:
            bell = self._bells[run_id] = Bell()
        return bell

    def ring(self, run_id: str) -> None:
        if (bell := self._bells.get(run_id)) is not None:
            bell.ring()

    def ring_all(self) -> None:
        for bell in list(self._bells.values()):
            bell.ring()

    def __len__(self) -> int:
        return len(self._bells)


async def ring_within(event: asyncio.Event, seconds: float | None) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
