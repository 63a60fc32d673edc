"""Endpoints that fail for long: when they are warned of and disabled, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.dispatch.auto_disable import INTERVAL, AutoDisable, Failures, LastFailure, percent_due, warned_in_time
from cdc.model.delivery import Attempt, DeliveryState, Outcome
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.outbox.base import StoredEvent
from support.dispatching import WatchedOutbox, endpoint, event, store_events
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox

DAY = 86_400.0
ERROR = "The endpoint answered 500 Internal Server Error."


def failing(days: float, **changes: Any) -> Endpoint:
    """An endpoint that has failed for so many days, of the five that it has."""
    return endpoint("https://shop.example.com", failing_since=START - timedelta(days=days), **changes)


@pytest.mark.parametrize(
    ("days", "percent"),
    [(0, 0), (2.49, 0), (2.5, 50), (3.49, 50), (3.5, 70), (4.5, 90), (4.99, 90), (5, 100), (9, 100)],
)
def test_warnings_come_in_steps(days: float, percent: int) -> None:
    assert percent_due(failing(days), LastFailure(START, ERROR), START) == percent


def test_who_does_not_fail_is_disabled_or_is_never_given_up_is_left_alone() -> None:
    last = LastFailure(START, ERROR)
    assert percent_due(endpoint("https://shop.example.com"), last, START) == 0
    assert percent_due(failing(9, enabled=False), last, START) == 0
    assert percent_due(failing(9, disable_after=0.0), last, START) == 0


def test_one_old_failure_is_no_reason() -> None:
    hour = timedelta(hours=1)
    assert percent_due(failing(9), None, START) == 0
    assert percent_due(failing(9), LastFailure(START - 3 * hour, ERROR), START) == 0
    assert percent_due(failing(9), LastFailure(START - hour, ERROR), START) == 100
    slow = failing(9, retry_schedule=(5.0, 20 * 3600.0))
    assert percent_due(slow, LastFailure(START - 40 * hour, ERROR), START) == 100
    assert percent_due(slow, LastFailure(START - 45 * hour, ERROR), START) == 0


def test_a_failure_from_before_the_last_success_is_no_reason() -> None:
    short = endpoint("https://shop.example.com", failing_since=START, disable_after=60.0)
    now = START + timedelta(seconds=60)
    assert percent_due(short, LastFailure(START - timedelta(seconds=1), ERROR), now) == 0
    assert percent_due(short, LastFailure(START, ERROR), now) == 100


def test_notice_is_a_part_of_its_time() -> None:
    one = failing(5)
    assert not warned_in_time(one, None, START)
    assert not warned_in_time(one, START - timedelta(hours=5), START)
    assert warned_in_time(one, START - timedelta(hours=6), START)


class Bench:
    """An outbox in memory with ``ep_1``, which fails, and ``ep_ops``, which wants to know; two dispatchers' watches."""

    def __init__(self, processes: int = 1, **changes: Any) -> None:
        self.store = WatchedOutbox()
        self.clock = ManualClock()
        self.woken = self.disabled = 0
        self._changes = changes
        self._failures = [Failures() for _ in range(processes)]
        self.endurances = [
            AutoDisable(self.store, each, self.clock, self._wake, self._disable) for each in self._failures
        ]
        self._number = 0

    def _wake(self) -> None:
        self.woken += 1

    def _disable(self) -> None:
        self.disabled += 1

    async def prepare(self) -> Bench:
        await self.store.add_endpoint(endpoint("https://shop.example.com/hook?token=planted", **self._changes))
        await self.store.add_endpoint(endpoint("https://ops.example.com", "ep_ops", events=("endpoint.*",)))
        return self

    async def attempt(self, state: DeliveryState = DeliveryState.DEAD, process: int = 0) -> None:
        """One event is sent to ``ep_1``, and this comes of it."""
        self._number += 1
        now = self.clock.now()
        await store_events(self.store, [event(self._number)], now)
        (leased,) = await self.store.lease("w", now, now + timedelta(seconds=60), 10, {"ep_ops": 0})
        error = "" if state is DeliveryState.DELIVERED else ERROR
        made = Attempt(leased.id, 1, leased.event_id, leased.event_name, "", 200, now, 0.1, error, "")
        await self.store.finish("w", [Outcome(made, state)], now)
        self._failures[process].attempted([(Outcome(made, state), "ep_1")])

    async def pass_days(self, days: float, *, every: float = 0.25) -> None:
        """Attempts go on to fail meanwhile, and all processes look."""
        for _ in range(round(days / every)):
            self.clock.advance(every * DAY)
            if (await self.endpoint()).enabled:
                await self.attempt()
            await self.look()

    async def look(self) -> None:
        for each in self.endurances:
            await each.look()

    async def told(self) -> list[tuple[str, int | None]]:
        """What was announced: name and percent."""
        found = await self.store.events(100, after=0, pattern="endpoint.*")
        return [(each.name, each.payload["data"].get("percent")) for each in found]

    async def last_told(self) -> StoredEvent:
        return (await self.store.events(1, pattern="endpoint.*"))[0]

    async def endpoint(self) -> Endpoint:
        found = await self.store.endpoint("ep_1")
        assert found is not None
        return found


WARNED = [("endpoint.failing", 50), ("endpoint.failing", 70), ("endpoint.failing", 90)]


@pytest.mark.parametrize("processes", [1, 3])
async def test_it_is_warned_of_three_times_and_then_disabled(processes: int) -> None:
    bench = await Bench(processes).prepare()
    await bench.attempt()
    for process in range(processes):
        await bench.attempt(process=process)
    await bench.pass_days(2.25)
    assert await bench.told() == []
    await bench.pass_days(2.5)
    assert await bench.told() == WARNED
    assert (await bench.endpoint()).enabled
    await bench.pass_days(0.25)
    assert await bench.told() == [*WARNED, ("endpoint.disabled", None)]
    found = await bench.endpoint()
    assert (found.enabled, found.disabled_reason) == (False, "It has accepted nothing for 5 days.")
    assert bench.disabled == 1
    await bench.pass_days(2)
    assert len(await bench.told()) == 4
    assert bench.woken == 4


async def test_what_is_told_names_the_endpoint_and_no_secret() -> None:
    bench = await Bench(description="Shop").prepare()
    await bench.attempt()
    with capture_logs() as logs:
        await bench.pass_days(2.5)
    told = await bench.last_told()
    data = told.payload["data"]
    assert (told.source, told.record, told.payload["key"]) == ("cdc", "endpoint:ep_1", {"endpoint": "ep_1"})
    assert data["url"] == "https://shop.example.com/…ep_1"
    assert data["failing_since"] == "2026-11-24T21:48:00.000000Z"
    assert data["disabled_at"] == "2026-11-29T21:48:00.000000Z"
    assert (data["description"], data["last_error"]) == ("Shop", ERROR)
    assert "Endpoint ep_1 (Shop) has accepted nothing since 2026-11-24 21:48 UTC." in data["message"]
    assert "planted" not in str(told.payload) + str(logs)
    (line,) = logs
    assert (line["event"], line["endpoint"], line["percent"]) == ("endpoint failing", "ep_1", 50)


async def test_a_success_ends_it_and_is_told_of() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    await bench.pass_days(4.75)
    await bench.attempt(DeliveryState.DELIVERED)
    await bench.look()
    await bench.look()
    assert await bench.told() == [*WARNED, ("endpoint.recovered", None)]
    await bench.pass_days(2.5)  # fails again, from now on
    assert len(await bench.told()) == 4
    await bench.pass_days(0.25)
    assert (await bench.told())[4:] == [("endpoint.failing", 50)]


async def test_a_success_without_a_warning_is_not_worth_telling() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    await bench.pass_days(1)
    await bench.attempt(DeliveryState.DELIVERED)
    await bench.look()
    assert await bench.told() == []


async def test_a_success_while_it_is_being_disabled_wins() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    await bench.pass_days(4.75)
    bench.clock.advance(0.25 * DAY)
    await bench.attempt()
    former = await bench.store.endpoints()
    await bench.attempt(DeliveryState.DELIVERED)

    class Late(MemoryOutbox):
        """Lists what was before the success."""

        disable_failing = bench.store.disable_failing
        event = bench.store.event
        announce = bench.store.announce

        async def endpoints(self) -> list[Endpoint]:
            return former

    failures = Failures()
    failures.last["ep_1"] = LastFailure(bench.clock.now(), ERROR)
    await AutoDisable(Late(), failures, bench.clock, bench._wake, bench._disable).look()
    assert (await bench.endpoint()).enabled
    assert await bench.told() == WARNED


async def test_nothing_to_send_disables_nobody() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    for _ in range(40):
        bench.clock.advance(0.25 * DAY)
        await bench.look()
    assert await bench.told() == []
    assert (await bench.endpoint()).enabled


async def test_whoever_comes_back_warns_before_it_disables() -> None:
    """Nothing ran for a month, or nothing was sent: the first failures since disable nobody at once."""
    bench = await Bench().prepare()
    await bench.attempt()
    bench.clock.advance(30 * DAY)
    await bench.attempt()
    await bench.look()
    assert await bench.told() == [("endpoint.failing", 90)]
    await bench.pass_days(0.25)
    assert [name for name, _ in await bench.told()] == ["endpoint.failing", "endpoint.disabled"]


async def test_a_restart_tells_nothing_twice() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    await bench.pass_days(3.5)
    after = Failures()
    bench.endurances = [AutoDisable(bench.store, after, bench.clock, bench._wake, bench._disable)]
    bench._failures = [after]
    await bench.look()
    await bench.pass_days(0.75)
    assert await bench.told() == WARNED[:2]
    await bench.pass_days(0.75)
    assert await bench.told() == [*WARNED, ("endpoint.disabled", None)]


async def test_enabled_again_it_has_all_its_time_again() -> None:
    bench = await Bench().prepare()
    await bench.attempt()
    await bench.pass_days(5.25)
    assert not (await bench.endpoint()).enabled
    await bench.store.change_endpoint("ep_1", EndpointChange(enabled=True, disabled_reason=""))
    await bench.look()
    await bench.pass_days(2.5)
    assert (await bench.endpoint()).enabled
    await bench.pass_days(2.75)
    assert await bench.told() == 2 * [*WARNED, ("endpoint.disabled", None)]


@pytest.mark.parametrize(
    ("disable_after", "pause"), [(432_000.0, 30.0), (600.0, 30.0), (200.0, 10.0), (5.0, 1.0), (0.0, 30.0)]
)
async def test_short_times_are_looked_at_more_often(disable_after: float, pause: float) -> None:
    bench = await Bench(disable_after=disable_after).prepare()
    assert await bench.endurances[0].look() == pause


async def test_it_looks_now_and_then_and_survives_an_outbox_that_fails() -> None:
    class Failing(WatchedOutbox):
        looked = asyncio.Event()

        async def endpoints(self) -> list[Endpoint]:
            self.looked.set()
            self._fail()
            return await super().endpoints()

    clock, stop, store = ManualClock(), asyncio.Event(), Failing()
    store.failures = 1
    running = asyncio.create_task(AutoDisable(store, Failures(), clock, lambda: None, lambda: None).run(stop))
    for _ in range(2):
        store.looked.clear()
        while not store.looked.is_set():
            clock.advance(INTERVAL)
            await asyncio.sleep(0)
    assert store.failures == 0
    stop.set()
    await running
