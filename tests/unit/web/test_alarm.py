"""Sources that stand still are told of once, and that they are read again, with a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from cdc.model.change import Position
from cdc.model.errors import OutboxError, SourceUnavailable
from cdc.model.event import Event
from cdc.outbox.base import StoredEvent
from cdc.web.health import Alarm, warnings
from cdc.web.monitor import INTERVAL
from support.dispatching import endpoint
from support.dispatching import event as row_event
from support.manual_clock import ManualClock
from support.waiting import HANG_SECONDS
from support.watching import BOUNDS, Watch, batch, change

GONE = SourceUnavailable("The database does not answer.", "Is it up?")


class Bench:
    """A watched source, and an endpoint that wants to know of it."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.woken = 0
        self.alarm = self._alarm()

    def _alarm(self) -> Alarm:
        watch = self.watch
        return Alarm(watch.monitor, BOUNDS, watch.store, watch.clock, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def start_anew(self) -> None:
        """As a process that is started anew: it knows what is in the outbox."""
        before, self.watch = self.watch, Watch()
        self.watch.clock, self.watch.store = before.clock, before.store
        self.watch.monitor._clock = self.watch.reported._clock = before.clock
        self.watch.reported.sources["main"].since = before.clock.now()
        self.alarm = self._alarm()

    async def look(self, *, minutes: float = 0.0, ahead: float = 0.0) -> None:
        """Every five seconds for so long."""
        for second in range(5, int(60 * minutes) + 1, 5):
            self.watch.clock.advance(5)
            self.watch.queue()
            self.watch.answer(ahead + second if ahead else 0.0, 2 if ahead else 0)
            await self.alarm.check()

    async def told(self) -> list[str]:
        return [event.name for event in await self.events()]

    async def events(self) -> list[StoredEvent]:
        return await self.watch.store.events(100, after=0, pattern="source.*")


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    made.watch.reading()
    await made.watch.store.add_endpoint(endpoint("https://ops.example.com", events=("source.*",)))
    return made


async def test_a_source_that_cannot_be_read_is_told_of_once(bench: Bench) -> None:
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=0.9)
    assert await bench.told() == []
    await bench.look(minutes=30)
    (event,) = await bench.events()
    assert (event.name, event.record, event.payload["key"]) == ("source.stalled", "source:main", {"source": "main"})
    assert event.payload["data"] == {
        "source": "main",
        "since": "2026-11-24T21:48:00.000000Z",
        "message": "Source main has not been readable since 2026-11-24 21:48:00 UTC (60 s): "
        "The database does not answer. Is it up?",
    }
    assert bench.woken == 1


async def test_that_it_is_read_again_is_told_of_too(bench: Bench) -> None:
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=2)
    bench.watch.reported.reading("main", Position("0"))
    await bench.look(minutes=2)
    assert await bench.told() == ["source.stalled", "source.resumed"]
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=2)
    assert await bench.told() == ["source.stalled", "source.resumed", "source.stalled"]


async def test_one_that_opens_and_fails_at_once_has_not_resumed(bench: Bench) -> None:
    for _ in range(5):
        bench.watch.reported.source_failed("main", GONE)
        await bench.look(minutes=0.5)
        bench.watch.reported.opening("main")
        bench.watch.reported.reading("main", None)
        await bench.alarm.check()
    assert await bench.told() == ["source.stalled"]


async def test_one_that_stores_nothing_while_its_database_has_changes(bench: Bench) -> None:
    await bench.look(minutes=1.5, ahead=1)
    (event,) = await bench.events()
    assert event.payload["data"]["message"].startswith("Source main is stalled: it has stored nothing since 2026-11-24")
    bench.watch.reported.stored("main", batch("1", change()), (), 1)
    await bench.look(minutes=1)
    assert await bench.told() == ["source.stalled", "source.resumed"]


async def test_one_that_another_process_hands_over_is_not_stalled_at_once(bench: Bench) -> None:
    """What it was like here before that process read it does not count."""
    bench.watch.reported.source_failed("main", GONE)
    bench.watch.source.standby = True
    await bench.look(minutes=30)
    bench.watch.source.standby = False
    bench.watch.reported.opening("main")
    await bench.look(minutes=0.8)
    assert await bench.told() == []
    assert bench.watch.reasons() == ["Source main is being opened."]
    await bench.look(minutes=1)
    assert await bench.told() == ["source.stalled"]


async def test_one_that_is_never_opened() -> None:
    bench = Bench()
    await bench.look(minutes=0.9)
    assert await bench.told() == []
    await bench.look(minutes=5)
    (event,) = await bench.events()
    assert event.payload["data"]["message"] == "Source main is being opened."


async def test_nothing_to_read_is_no_stall(bench: Bench) -> None:
    await bench.look(minutes=30)
    assert await bench.told() == []


async def test_an_unanswered_question_is_one_only_where_nothing_is_stored(bench: Bench) -> None:
    for number in range(20):
        bench.watch.clock.advance(30)
        bench.watch.reported.stored("main", batch(str(number), change()), (), 1)
        await bench.alarm.check()
    assert await bench.told() == []
    bench.watch.clock.advance(60)
    await bench.alarm.check()
    assert await bench.told() == ["source.stalled"]


async def test_a_standby_says_nothing_and_takes_over_what_was_told(bench: Bench) -> None:
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=2)
    bench.start_anew()
    bench.watch.source.standby = True
    await bench.look(minutes=5)
    assert await bench.told() == ["source.stalled"]
    bench.watch.source.standby = False
    bench.watch.reading()
    await bench.look(minutes=0.1)
    assert await bench.told() == ["source.stalled", "source.resumed"]


async def test_a_stall_that_outlives_the_process_is_not_told_of_again(bench: Bench) -> None:
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=2)
    store = bench.watch.store
    await store.store("other", Position("1"), [row_event(number) for number in range(50)], {}, bench.watch.clock.now())
    bench.start_anew()
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=5)
    assert await bench.told() == ["source.stalled"]
    bench.watch.reading()
    await bench.look(minutes=1)
    stalled, resumed = await bench.events()
    assert resumed.name == "source.resumed"
    assert resumed.payload["data"]["since"] == stalled.payload["data"]["since"]
    bench.start_anew()
    bench.watch.reading()
    await bench.look(minutes=5)
    assert len(await bench.told()) == 2


async def test_other_sources_are_not_meant(bench: Bench) -> None:
    bench.watch.reported.source_failed("main", GONE)
    await bench.look(minutes=2)
    (stalled,) = await bench.events()
    other = Event(
        id="evt_other", name="source.resumed", source="cdc", table="source", record="source:shop", key={}, data={},
        previous=None, time=stalled.time, transaction="",
    )  # fmt: skip
    await bench.watch.store.announce([other], stalled.time)
    bench.start_anew()
    bench.watch.reading()
    await bench.look(minutes=1)
    assert await bench.told() == ["source.stalled", "source.resumed", "source.resumed"]


async def test_it_looks_now_and_then_and_survives_an_outbox_that_fails(bench: Bench) -> None:
    """What could not be told is told later."""
    watch, stop = bench.watch, asyncio.Event()
    announce, refused = watch.store.announce, asyncio.Event()

    async def refuse_once(*args: object) -> object:
        watch.store.announce = announce  # type: ignore[method-assign]  # as it was
        refused.set()
        raise OutboxError("The disk is full.")

    watch.store.announce = refuse_once  # type: ignore[method-assign, assignment]  # a store that fails once
    watch.reported.source_failed("main", GONE)
    running = asyncio.create_task(bench.alarm.run(stop))
    async with asyncio.timeout(HANG_SECONDS):
        while await bench.told() == []:
            await _tick(watch.clock)
    assert refused.is_set()
    stop.set()
    await running


async def _tick(clock: ManualClock) -> None:
    clock.advance(INTERVAL)
    await asyncio.sleep(0)


async def test_component_that_broke_off_is_told_of_once_a_failure() -> None:
    bench = Bench()
    await bench.watch.store.add_endpoint(endpoint("https://ops.example.com", events=("component.failed",)))
    bench.watch.reading()
    for _ in range(2):
        bench.watch.reported.component_started("retention")
        bench.watch.reported.component_failed("retention", OutboxError("The disk is full."))
        await bench.look(minutes=0.25)
    found = await bench.watch.store.events(100, after=0, pattern="component.*")
    assert [(event.name, event.record) for event in found] == [("component.failed", "component:retention")]
    assert "The disk is full." in found[0].payload["data"]["message"]
    assert bench.woken == 1
    bench.watch.reported.component_started("retention")
    await bench.look(minutes=1)
    bench.watch.reported.component_failed("retention", OutboxError("The disk is full."))
    await bench.look(minutes=0.25)
    assert len(await bench.watch.store.events(100, after=0, pattern="component.*")) == 2


async def test_clock_that_is_set_is_reported_once_and_warned_of_for_an_hour() -> None:
    bench = Bench()
    await bench.watch.store.add_endpoint(endpoint("https://ops.example.com", events=("component.*",)))
    await bench.look(minutes=1)
    for seconds in (20 * 86_400, -20 * 86_400, 59):
        bench.watch.clock.set_wall(seconds)
        await bench.look(minutes=1)
    found = await bench.watch.store.events(100, after=0, pattern="component.clock_set")
    assert [event.record for event in found] == ["component:clock"] * 2
    messages = [str(event.payload["data"]["message"]) for event in found]
    assert "moved forward by 20 days, 0:00:00, to 2026-12-14 21:49:05 UTC" in messages[0]
    assert "moved back by 20 days" in messages[1]
    assert warnings(bench.watch.monitor, BOUNDS) == messages[1:]
    await bench.look(minutes=60)
    assert warnings(bench.watch.monitor, BOUNDS) == []
