"""Remembered sums of attempts equal what the outbox holds, and the outbox is asked for little."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc.admin.base import MANY, REREAD, SETTLED, ActivitySums
from cdc.admin.deliveries import Period, slot_edges
from cdc.model.delivery import Activity, ActivityLeaders
from cdc.outbox.database import sqlite_statements
from cdc.outbox.sqlite.rows import micros
from support.manual_clock import START
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class CountingOutbox(MemoryOutbox):
    """``asked``: the periods that totals were asked for last."""

    asked: Sequence[tuple[datetime, datetime]] = ()
    leaders_read = 0

    async def activity_totals(self, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
        self.asked = periods
        return await super().activity_totals(periods)

    async def activity_leaders(self, since: datetime, before: datetime, most: int) -> ActivityLeaders:
        self.leaders_read += 1
        return await super().activity_leaders(since, before, most)

    async def count(self, now: datetime, source: str = "main") -> None:
        """Add an attempt to the statistics, as `finish` does."""
        if not await self.endpoints():
            await self.add_endpoint(endpoint("ep_a"))
        period, counters = micros(now.replace(second=0, microsecond=0)), json.dumps([["ep_a", source, 1, 0, 0.5]])
        await self.thread.rescue(lambda db: db.execute(sqlite_statements()["count_attempts"], (period, counters)))


class SlowOutbox(CountingOutbox):
    """The first question for totals after ``asking`` was cleared sets it, and waits for ``answer``."""

    def __init__(self) -> None:
        super().__init__()
        self.asking, self.answer = asyncio.Event(), asyncio.Event()

    async def activity_totals(self, periods: Sequence[tuple[datetime, datetime]]) -> list[Activity]:
        if not self.asking.is_set():
            self.asking.set()
            await self.answer.wait()
        return await super().activity_totals(periods)


def summed(counters: Sequence[Activity]) -> dict[datetime, int]:
    found: defaultdict[datetime, int] = defaultdict(int)
    for each in counters:
        found[each.since] += each.delivered
    return found


@pytest.mark.parametrize("zone", ["Europe/Madrid", "Asia/Kolkata"])
@pytest.mark.parametrize("seed", range(4))
async def test_sums_equal_the_counters_however_time_passes(zone: str, seed: int) -> None:
    chosen, outbox = random.Random(seed), CountingOutbox()
    sums, now = ActivitySums(outbox), START
    for _ in range(150):
        now += timedelta(seconds=chosen.choice([5, 40, 300, 3000, 20_000]))
        for _ in range(3):
            await outbox.count(now - chosen.random() * (SETTLED - MINUTE))
        if chosen.random() < 0.1:
            await outbox.gather_activity(START, now)
        edges = slot_edges(chosen.choice(tuple(Period)), now, ZoneInfo(zone))
        assert summed(await sums.totals(edges, now)) == summed(await outbox.activity(edges))


async def test_periods_that_have_ended_are_read_once() -> None:
    outbox = CountingOutbox()
    sums, now = ActivitySums(outbox), START.replace(minute=30)
    for period, most in ((Period.DAY, 60), (Period.MONTH, 800), (Period.WEEK, 5), (Period.HOUR, 60)):
        edges = slot_edges(period, now, ZoneInfo("Europe/Madrid"))
        await sums.totals(edges, now)
        assert 1 <= len(outbox.asked) <= most
        await sums.totals(edges, now)
        assert len(outbox.asked) <= 4
    now += HOUR
    edges = slot_edges(Period.DAY, now, ZoneInfo("Europe/Madrid"))
    await sums.totals(edges, now)
    assert len(outbox.asked) < 62


async def test_views_at_the_same_time_do_not_take_each_others_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.admin.base.MOST", 0)  # each view forgets what was remembered before
    outbox, now, zone = SlowOutbox(), START.replace(minute=30), ZoneInfo("Europe/Madrid")
    sums, edges = ActivitySums(outbox), slot_edges(Period.DAY, now, zone)
    await outbox.count(now - HOUR)
    outbox.asking.set()
    expected = await sums.totals(edges, now)
    outbox.asking.clear()
    first = asyncio.create_task(sums.totals(edges, now))
    await outbox.asking.wait()
    await sums.totals(slot_edges(Period.HOUR, now, zone), now)
    outbox.answer.set()
    assert await first == expected


@pytest.mark.parametrize(("number", "reads"), [(MANY, 4), (MANY + 1, 2)])
async def test_leaders_of_many_are_read_now_and_then(number: int, reads: int) -> None:
    outbox = CountingOutbox()
    sums = ActivitySums(outbox)
    for each in range(number):
        await outbox.count(START, f"tenant{each}")
    for passed in (0 * MINUTE, MINUTE, REREAD, REREAD + MINUTE):
        found = await sums.leaders("day", START - HOUR, START + HOUR, START + passed)
        assert len(found.sources) == number
    assert outbox.leaders_read == reads
