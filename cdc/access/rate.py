"""How often a token or an address may ask: a bucket of requests for each, filled at a steady rate."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MOST: Final = 10_000


class RateLimit:
    """``rate``: requests a second; ``burst``: as many at once after a quiet time."""

    def __init__(self, rate: float, burst: float) -> None:
        assert rate > 0
        assert burst >= 1
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # those used last at the end

    def take(self, key: str, now: float) -> float:
        """Return 0.0, and count the request; or the seconds after which it may be made, and do not count it.  ``now``:
        monotonic seconds."""
        level, since = self._buckets.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._buckets[key] = (level if wait else level - 1, now)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return wait
