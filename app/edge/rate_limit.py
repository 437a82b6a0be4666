"""How many requests a caller may make: a bucket each, in this process alone."""

import math
import time
from collections.abc import Callable

MOST_BUCKETS = 10_000


class RateLimit:
    """A full bucket holds a minute's worth, and fills evenly. Without a limit all may pass."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> int | None:
        """None when there was a token; else the seconds until there is one again."""
        if not self._capacity:
            return None
        left, now = self._level(caller)
        if left < 1:
            return max(1, math.ceil((1 - left) / self._per_second))
        self._buckets[caller] = (left - 1, now)
        if len(self._buckets) > MOST_BUCKETS:
            self._forget()
        return None

    def _level(self, caller: str) -> tuple[float, float]:
        now = self._clock()
        level, at = self._buckets.get(caller, (self._capacity, now))
        return min(self._capacity, level + (now - at) * self._per_second), now

    def _forget(self) -> None:
        """Those that are full again, and if that is not enough the fuller half."""
        levels = {caller: self._level(caller)[0] for caller in self._buckets}
        ordered = sorted(levels, key=lambda caller: levels[caller])
        for caller in ordered[MOST_BUCKETS // 2 :]:
            del self._buckets[caller]
