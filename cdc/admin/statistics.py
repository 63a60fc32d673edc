"""Statistics of attempts over the last hour, day, week or month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from typing import Final

from cdc.admin.base import UseCases
from cdc.model.delivery import Activity

#: Endpoints, and sources, that are named where all are summed up.
TOP: Final = 20


class Period(StrEnum):
    """Slots: 60 minutes, 24 hours, 7 days of four parts, 30 days."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(slots=True)
class Figures:
    """``seconds``: duration of all attempts."""

    delivered: int = 0
    failed: int = 0
    seconds: float = 0.0

    def add(self, counted: Activity) -> None:
        self.delivered += counted.delivered
        self.failed += counted.failed
        self.seconds += counted.seconds

    @property
    def attempts(self) -> int:
        return self.delivered + self.failed

    @property
    def success(self) -> float | None:
        return self.delivered / self.attempts if self.attempts else None

    @property
    def average(self) -> float | None:
        return self.seconds / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class PeriodFigures:
    """``starts``: of the slots, oldest first.  ``endpoints`` (by id) and ``sources``: at least the `TOP` ones with the
    most attempts; of many, as they were read last."""

    starts: Sequence[datetime]
    slots: Sequence[Figures]
    total: Figures
    endpoints: Mapping[str, Figures]
    sources: Mapping[str, Figures]


def slot_edges(period: Period, now: datetime, zone: tzinfo) -> list[datetime]:
    """Return the edges of the slots, in UTC; the last slot contains ``now``.  Days begin at midnight in ``zone``."""
    if period is Period.HOUR:
        minute = now.replace(second=0, microsecond=0)
        return [minute + timedelta(minutes=number) for number in range(-59, 2)]
    if period is Period.DAY:
        hour = now.replace(minute=0, second=0, microsecond=0)
        return [hour + timedelta(hours=number) for number in range(-23, 2)]
    days, hours = (7, range(0, 24, 6)) if period is Period.WEEK else (30, range(1))
    today = now.astimezone(zone).date()
    every = [
        datetime.combine(today + timedelta(days=number), time(hour), zone).astimezone(UTC)
        for number in range(1 - days, 2)
        for hour in hours
    ]
    past = [edge for edge in every if edge <= now]
    return every[: len(past) + 1]


class Statistics(UseCases):
    async def of(
        self, period: Period, zone: tzinfo, *, endpoint_id: str | None = None, source: str | None = None
    ) -> PeriodFigures:
        """Return the figures of what the principal sees; of one endpoint or source if it is named."""
        edges = slot_edges(period, self._clock.now(), zone)
        slots = {edge: Figures() for edge, _ in pairwise(edges)}
        total = Figures()
        endpoints: defaultdict[str, Figures] = defaultdict(Figures)
        sources: defaultdict[str, Figures] = defaultdict(Figures)
        owned = await self._owned()
        if endpoint_id is None and source is None and owned is None:
            now, sums = self._clock.now(), self._service.activity_sums
            counted: Sequence[Activity] = await sums.totals(edges, now)
            leaders = await sums.leaders((period, zone), edges[0], edges[-1], now)
            for each in leaders.endpoints:
                endpoints[each.endpoint_id].add(each)
            for each in leaders.sources:
                sources[each.source].add(each)
        else:
            asked = owned if endpoint_id is None else [endpoint_id]
            found = await self._store.activity(edges, None if asked is None else sorted(asked), source)
            counted = [each for each in found if self._sees(each, owned)]
            for each in counted:
                endpoints[each.endpoint_id].add(each)
                sources[each.source].add(each)
        for each in counted:
            slots[each.since].add(each)
            total.add(each)
        return PeriodFigures(list(slots), list(slots.values()), total, endpoints, sources)

    async def totals(self, period: Period, zone: tzinfo, endpoint_ids: Sequence[str]) -> dict[str, Figures]:
        """Return the figures of these endpoints of the principal, by id; one without attempts is absent."""
        edges, found = slot_edges(period, self._clock.now(), zone), defaultdict[str, Figures](Figures)
        for each in await self._store.activity([edges[0], edges[-1]], endpoint_ids):
            if self._principal.sees(each.source):
                found[each.endpoint_id].add(each)
        return found

    async def _owned(self) -> frozenset[str] | None:
        """Return the ids of the principal's endpoints; None: it sees all, removed ones too."""
        if not self._principal.sources:
            return None
        return frozenset(each.id for each in await self._store.endpoints() if self._principal.owns(each.sources))

    def _sees(self, counted: Activity, owned: frozenset[str] | None) -> bool:
        return owned is None or (counted.endpoint_id in owned and self._principal.sees(counted.source))
