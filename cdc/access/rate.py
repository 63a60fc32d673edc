"""How often a token or an address may ask: a bucket of requests for each, filled at a steady rate."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final

_MOST: Final = 10_000


class RateLimit:
    """``rate``: requests a second; ``burst``: as many at once after a quiet time."""

    def __init__(self, rate: float, burst: float) -> None:
        assert rate > 0
        assert burst >= 1
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()  # those used last at the end

    def take(self, key: str, now: datetime) -> float:
        """0.0, and the request counts; or the seconds after which it may be made, and it does not."""
        level, since = self._buckets.pop(key, (self._burst, now))
        # a clock that was set back fills nothing
        level = min(self._burst, level + max(0.0, (now - since).total_seconds()) * self._rate)
        wait = 0.0 if level >= 1 else (1 - level) / self._rate
        self._buckets[key] = (level if wait else level - 1, now)
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        return wait
