"""Retention at work: in small steps with pauses, every hour, whatever else happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from cdc.model.errors import OutboxError
from cdc.outbox.base import Retained, Retention
from cdc.outbox.tidy import AGAIN, BATCH, EVERY, PAUSE, RetentionPolicy, keep_tidy
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.outboxes import endpoint, event, finish, lease, store
from support.waiting import HANG_SECONDS

DAY = 86_400.0


class Watched(MemoryOutbox):
    """Tells of each step; ``failing``: refuses them."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Retention] = []
        self.failing = False

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        self.steps.append(what)
        if self.failing:
            raise OutboxError("The outbox cannot be written: no space left on the disk.")
        return await super().retain(what, limit, after)

    async def reseal(self, limit: int) -> bool:
        return False


@asynccontextmanager
async def tidying(outbox: Watched, kept: RetentionPolicy, clock: ManualClock) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(keep_tidy(outbox, kept, clock, stop))
    yield task
    stop.set()
    await asyncio.wait_for(task, HANG_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    """All is in memory: the loop need only turn."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("It does not come to that.")


async def test_rounds_go_in_small_steps_with_pauses(caplog: pytest.LogCaptureFixture) -> None:
    outbox, clock = Watched(), ManualClock()
    await store(outbox, *[event(number, time=START) for number in range(2 * BATCH + 50)])
    clock.advance(31 * DAY)
    async with tidying(outbox, RetentionPolicy(30, 0, 0), clock):
        for steps in (1, 2, 3):
            await until(lambda: clock.next_wake() is not None)
            assert len(outbox.steps) == steps
            assert len(await outbox.events(1000)) == max(1, 2 * BATCH + 50 - steps * BATCH)
            wake = clock.next_wake()
            assert wake == clock.now() + timedelta(seconds=PAUSE if steps < 3 else EVERY)
            clock.advance(PAUSE if steps < 3 else 0)
            await asyncio.sleep(0)
        clock.advance(EVERY)
        await until(lambda: len(outbox.steps) == 4)


async def test_what_is_kept_is_counted_back_from_now() -> None:
    assert RetentionPolicy(30, 100, 7).at(START) == Retention(
        settled_before=START - timedelta(hours=1),
        finished_before=START - timedelta(days=30),
        most_events=100,
        payloads_before=START - timedelta(days=7),
        now=START,
    )
    assert RetentionPolicy(0, 0, 0).at(START) == Retention(START - timedelta(hours=1), now=START)


async def test_an_outbox_that_fails_is_asked_again() -> None:
    outbox, clock = Watched(), ManualClock()
    outbox.failing = True
    await store(outbox, event(1, time=START), event(2, time=START))
    clock.advance(31 * DAY)
    async with tidying(outbox, RetentionPolicy(30, 0, 0), clock):
        await until(lambda: clock.next_wake() is not None)
        outbox.failing = False
        clock.advance(AGAIN)
        await until(lambda: len(outbox.steps) == 2)
        await until(lambda: clock.next_wake() is not None)
    assert [one.id for one in await outbox.events(9)] == ["evt_2"]


async def test_statistics_are_gathered_every_hour_even_if_everything_is_kept() -> None:
    outbox, clock = Watched(), ManualClock()
    await outbox.add_endpoint(endpoint())
    for number in range(3):
        await store(outbox, event(number), now=START)
        await finish(outbox, *await lease(outbox, START), now=START + timedelta(minutes=number))
    hour = START.replace(minute=0, second=0, microsecond=0)
    async with tidying(outbox, RetentionPolicy(0, 0, 0), clock):
        for hours in (0, 3):
            clock.advance(hours * EVERY)
            await until(lambda: clock.next_wake() == clock.now() + timedelta(seconds=EVERY))
            found = await outbox.activity([hour + timedelta(minutes=number) for number in range(61)])
            assert [each.delivered for each in found] == ([1, 1, 1] if hours == 0 else [3])
    assert outbox.steps == []
