"""What was sent, and how far sources were behind: minute by minute, a day of it, in memory, of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cdc.model.delivery import DeliveryState, Outcome

KEPT = timedelta(days=1)
_MINUTE = 60


@dataclass(slots=True)
class ActivityMinute:
    """``start``: seconds since 1970.  ``failed``: attempts.  ``seconds``: what all attempts took.  ``lags``: source →
    the longest lag seen (seconds)."""

    start: int
    delivered: int = 0
    failed: int = 0
    seconds: float = 0.0
    lags: dict[str, float] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.start, UTC)


class Activity:
    def __init__(self) -> None:
        self._minutes: deque[ActivityMinute] = deque(maxlen=KEPT // timedelta(minutes=1))

    def attempted(self, finished: Sequence[tuple[Outcome, str]], now: datetime) -> None:
        minute = self._minute(now)
        for outcome, _ in finished:
            if outcome.state is DeliveryState.DELIVERED:
                minute.delivered += 1
            elif outcome.state is not DeliveryState.CANCELLED:
                minute.failed += 1
            minute.seconds += outcome.attempt.duration

    def lagged(self, source: str, seconds: float, now: datetime) -> None:
        lags = self._minute(now).lags
        lags[source] = max(seconds, lags.get(source, 0.0))

    def _minute(self, now: datetime) -> ActivityMinute:
        start = int(now.timestamp()) // _MINUTE * _MINUTE
        if not self._minutes or self._minutes[-1].start < start:
            self._minutes.append(ActivityMinute(start))
        return self._minutes[-1]

    def last(self, minutes: int, now: datetime) -> list[ActivityMinute]:
        """One for each of the last ``minutes``, this one included, oldest first."""
        newest = int(now.timestamp()) // _MINUTE * _MINUTE
        known = {minute.start: minute for minute in self._minutes}
        starts = range(newest - (minutes - 1) * _MINUTE, newest + 1, _MINUTE)
        return [known.get(start) or ActivityMinute(start) for start in starts]
