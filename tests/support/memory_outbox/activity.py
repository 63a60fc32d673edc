"""The outbox in memory: statistics of attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cdc.model.delivery import HOURS_KEPT, MINUTES_KEPT, Activity, ActivityLeaders


def _summed(counters: Sequence[Activity]) -> list[Activity]:
    found: defaultdict[tuple[datetime, str, str], list[Activity]] = defaultdict(list)
    for each in counters:
        found[each[:3]].append(each)
    return [
        Activity(*key, sum(a.delivered for a in those), sum(a.failed for a in those), sum(a.seconds for a in those))
        for key, those in found.items()
    ]


def _most(counters: Sequence[Activity], most: int) -> list[Activity]:
    return sorted(counters, key=lambda each: -each.delivered - each.failed)[:most]


class MemoryActivity:
    def __init__(self) -> None:
        super().__init__()
        self._activity: dict[tuple[datetime, str, str], Activity] = {}

    def _count(self, added: Activity) -> None:
        key = added[:3]
        before = self._activity.get(key, Activity(*key, 0, 0, 0.0))
        sums = (before.delivered + added.delivered, before.failed + added.failed, before.seconds + added.seconds)
        self._activity[key] = Activity(*key, *sums)

    async def activity(
        self, edges: Sequence[datetime], endpoint_ids: Sequence[str] | None = None, source: str | None = None
    ) -> list[Activity]:
        return _summed(
            [
                each._replace(since=since)
                for since, until in pairwise(edges)
                for each in self._activity.values()
                if since <= each.since < until
                and (endpoint_ids is None or each.endpoint_id in endpoint_ids)
                and source in (None, each.source)
            ]
        )

    async def activity_totals(self, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
        every = [each for period in periods for each in await self.activity(period)]
        return _summed([each._replace(endpoint_id="", source="") for each in every])

    async def activity_leaders(self, since: datetime, before: datetime, most: int) -> ActivityLeaders:
        every = await self.activity((since, before))
        return ActivityLeaders(
            _most(_summed([each._replace(source="") for each in every]), most),
            _most(_summed([each._replace(endpoint_id="") for each in every]), most),
        )

    async def gather_activity(self, since: datetime, now: datetime) -> None:
        before = (now - MINUTES_KEPT).replace(minute=0, second=0, microsecond=0)
        kept, self._activity = self._activity.values(), {}
        for each in kept:
            if each.since >= now - HOURS_KEPT:
                self._count(each._replace(since=each.since.replace(minute=0)) if since <= each.since < before else each)
