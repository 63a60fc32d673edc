"""Sums of all attempts, remembered: the overview reads what was counted since it was shown last, not a row an endpoint.

Attempts count for the minute in which they are recorded, so a period that has ended is read once.  Which endpoints and
sources have the most attempts has to be read from all of them: where they are many, only every `REREAD`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from cdc.model.delivery import Activity, ActivityLeaders
from cdc.outbox.base import OutboxStore

#: Endpoints, or sources, that are many.
MANY: Final = 500
REREAD: Final = timedelta(minutes=5)
#: Until so long after a minute attempts may be recorded for it, by a process whose clock is slow.
SETTLED: Final = timedelta(minutes=2)
#: Remembered periods; the hours of a month, and the minutes of two days.
MOST: Final = 4_000
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)

Span = tuple[datetime, datetime]


class ActivitySums:
    def __init__(self, store: OutboxStore) -> None:
        self._store = store
        self._totals: dict[Span, Activity | None] = {}
        self._leaders: dict[Hashable, tuple[datetime, ActivityLeaders]] = {}

    async def totals(self, edges: Sequence[datetime], now: datetime) -> list[Activity]:
        """Return all attempts of each hour or minute in the slots from one edge to the next, where there are any;
        ``since`` is the beginning of the slot."""
        ended = now - SETTLED
        spans = [(slot[0], span) for slot in pairwise(edges) for span in _spans(*slot, ended)]
        found = {span: self._totals[span] for _, span in spans if span in self._totals}
        unknown = [span for _, span in spans if span not in found]
        read = {each.since: each for each in await self._store.activity_totals(unknown)}
        found |= {span: read.get(span[0]) for span in unknown}
        if len(self._totals) > MOST:
            self._totals.clear()
        self._totals |= {span: found[span] for span in unknown if _whole(span) and span[1] <= ended}
        sums = ((start, found[span]) for start, span in spans)
        return [each._replace(since=start) for start, each in sums if each is not None]

    async def leaders(self, key: Hashable, since: datetime, before: datetime, now: datetime) -> ActivityLeaders:
        """Return at least the endpoints and sources with the most attempts.  ``key``: of the times, which move on."""
        read_at, leaders = self._leaders.get(key, (None, None))
        if leaders is None or read_at is None or not read_at <= now < read_at + REREAD:
            leaders = await self._store.activity_leaders(since, before, MANY + 1)
            self._leaders.pop(key, None)
            if max(len(leaders.endpoints), len(leaders.sources)) > MANY:
                self._leaders[key] = now, leaders
        return leaders


def _spans(start: datetime, end: datetime, ended: datetime) -> Iterator[Span]:
    """Yield the hours of a slot that have ended, of one that has not ended its minutes, and the rest."""
    for length in (_HOUR, _MINUTE) if end > ended else (_HOUR,):
        while (following := _floor(start, length) + length) <= min(end, ended):
            yield start, following
            start = following
    if start < end:
        yield start, end


def _whole(span: Span) -> bool:
    """Return whether it is an hour or a minute: others change when their attempts become known by the hour only."""
    return span[1] - span[0] in (_HOUR, _MINUTE) and span[0] == _floor(span[0], span[1] - span[0])


def _floor(moment: datetime, length: timedelta) -> datetime:
    return moment.replace(second=0, microsecond=0, minute=moment.minute if length == _MINUTE else 0)
