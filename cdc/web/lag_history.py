"""The longest lag of each source by the minute, for an hour, in memory, of this process."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

#: Minutes.
KEPT: Final = 60


class LagHistory:
    def __init__(self) -> None:
        self._minutes: defaultdict[str, deque[tuple[datetime, float]]] = defaultdict(lambda: deque(maxlen=KEPT))

    def lagged(self, source: str, seconds: float, now: datetime) -> None:
        minutes, minute = self._minutes[source], _minute(now)
        if minutes and minutes[-1][0] >= minute:
            minutes[-1] = (minutes[-1][0], max(seconds, minutes[-1][1]))
        else:
            minutes.append((minute, seconds))

    def last(self, source: str, now: datetime) -> Sequence[float | None]:
        """Return the lag (seconds) in each of the last 60 minutes, this one included, oldest first; None: not known."""
        known = dict(self._minutes.get(source, ()))
        return [known.get(_minute(now) - timedelta(minutes=ago)) for ago in range(KEPT - 1, -1, -1)]


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)
