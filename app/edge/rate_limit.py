"""Limits the requests of each caller with a token bucket, in this process only."""

import math
import time
from collections.abc import Callable

MOST_BUCKETS = 10_000


class RateLimit:
    """A full bucket holds one minute's requests and refills evenly. 0 means no limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> int | None:
        """Take a token and return None, or return the seconds until there is one."""
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
        """Drop the fuller half of the buckets, starting with those that are full again."""
        levels = {caller: self._level(caller)[0] for caller in self._buckets}
        ordered = sorted(levels, key=lambda caller: levels[caller])
        for caller in ordered[MOST_BUCKETS // 2 :]:
            del self._buckets[caller]
