"""Which attempts are on their way, and how many more may start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cdc.model.endpoint import Endpoint

#: An attempt that has taken longer than this (seconds) waits for its receiver and costs nothing but a socket …
STALLED_AFTER = 1.0
#: … so it stops counting towards the overall bound, until there are this many times the bound in all.
STALLED_FACTOR = 16


class InFlight:
    """Bounds attempts overall (``limit``) and for each endpoint (its ``concurrency``).

    Stalled attempts do not count towards ``limit``: receivers that hang, however many of them, never use up what the
    others need.  ``now``: monotonic seconds.
    """

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._started: dict[int, float] = {}  # token → time, in order of start
        self._by_endpoint: Counter[str] = Counter()
        self._next_token = 0

    def __len__(self) -> int:
        return len(self._started)

    def start(self, endpoint_id: str) -> int:
        """Count one attempt; the token ends it."""
        self._next_token += 1
        self._started[self._next_token] = self._now()
        self._by_endpoint[endpoint_id] += 1
        return self._next_token

    def end(self, token: int, endpoint_id: str) -> None:
        del self._started[token]
        self._by_endpoint[endpoint_id] -= 1
        if not self._by_endpoint[endpoint_id]:
            del self._by_endpoint[endpoint_id]

    def free(self) -> int:
        """How many more may start now."""
        count = len(self._started)
        counted = count if count < self._limit else count - self._stalled()
        return max(min(self._limit - counted, self._limit * STALLED_FACTOR - count), 0)

    def room(self, endpoint: Endpoint) -> int:
        """How many more may start to this endpoint; negative when its concurrency was lowered meanwhile."""
        return endpoint.concurrency - self._by_endpoint.get(endpoint.id, 0)

    def _stalled(self) -> int:
        before = self._now() - STALLED_AFTER
        stalled = 0
        for started in self._started.values():
            if started > before:
                break
            stalled += 1
        return stalled
