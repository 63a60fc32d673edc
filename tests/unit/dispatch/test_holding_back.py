"""What the dispatcher holds back: rates, pauses that were asked for, and endpoints that do not work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from cdc.dispatch.dispatcher import FORWARD, POLL
from cdc.dispatch.flow_control import FIRST_PROBE, LAST_PROBE, LEAST_RESULTS
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView, Held, Hold, LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange, Order
from cdc.model.observer import Observer
from support.dispatching import endpoint, event
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.simulation import REFUSED, TAKEN, Receivers, Simulation, simulated, stepping

pytestmark = pytest.mark.usefixtures("few_or_many")
A = "http://a"
BROKEN = Answer(500, 0.01)


class Countdown:
    """An answer that is ``first`` for so many requests to ``A``, and then `TAKEN`."""

    def __init__(self, first: Answer, times: int) -> None:
        self._first = first
        self.left = times

    def __call__(self, request: WebhookRequest) -> Answer:
        if request.url != A or not self.left:
            return TAKEN
        self.left -= 1
        return self._first


def always(answer: Answer) -> Countdown:
    return Countdown(answer, 1_000_000)


def events(first: int, last: int) -> list[Any]:
    return [event(number) for number in range(first, last + 1)]


async def outbox(*endpoints: Endpoint) -> MemoryOutbox:
    store = MemoryOutbox()
    for each in endpoints or (endpoint(A),):
        await store.add_endpoint(each)
    return store


async def views(simulation: Simulation, state: DeliveryState | None = None) -> list[DeliveryView]:
    return await simulation.store.deliveries(DeliveryFilter(endpoint_id="ep_1", state=state), 10_000)


async def assert_attempts_are_exact(simulation: Simulation) -> None:
    """As many as the receiver saw, each with its record."""
    seen = simulation.receivers.attempts(A)
    for view in await views(simulation):
        assert view.attempts == seen[view.event_id]
        assert len(await simulation.store.attempts(view.id)) == view.attempts


# -- rate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.5, 4, 150])
async def test_a_backlog_goes_out_at_the_rate(rate: float) -> None:
    async with simulated(await outbox(endpoint(A, rate=rate)), always(TAKEN)) as simulation:
        await simulation.store_events(events(1, 400))
        await simulation.run(20)
        times = [each.at for each in simulation.receivers.sent]
        await assert_attempts_are_exact(simulation)
    burst = max(rate, 1)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= rate * (times[last] - times[first]) + burst + 1e-6
    assert len(times) >= min(400, int(rate * 20 * 0.98))


async def test_what_the_rate_holds_back_is_not_leased() -> None:
    async with simulated(await outbox(endpoint(A, rate=4)), always(TAKEN)) as simulation:
        await simulation.store_events(events(1, 40))
        assert len(simulation.receivers.sent) == 4
        assert await views(simulation, DeliveryState.LEASED) == []
        await simulation.run(2.1)
        assert len(simulation.receivers.sent) == 12
        assert await views(simulation, DeliveryState.LEASED) == []


class SlowLeases(MemoryOutbox):
    """An outbox of which each lease takes ``seconds``."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.seconds = 0.0
        self._clock = clock

    async def lease(self, *arguments: Any, **options: Any) -> Any:
        self._clock.advance(self.seconds)
        return await super().lease(*arguments, **options)

    async def changed(self) -> bool:
        return False  # as SQLite, which reports other processes' writes only


async def test_rate_that_admits_a_request_while_leases_are_taken_is_noticed() -> None:
    clock = ManualClock()
    store = SlowLeases(clock)
    await store.add_endpoint(endpoint(A, rate=0.5))
    receivers = Receivers(clock, always(TAKEN))
    async with stepping(store, receivers, clock) as simulation:
        await simulation.store_events(events(1, 1))
        await simulation.run(1.5)
        store.seconds = 0.6
        await simulation.store_events(events(2, 2))
        store.seconds = 0.0
        await simulation.run(3)
    assert len(receivers.sent) == 2


async def test_a_batch_is_one_request_of_the_rate() -> None:
    store = await outbox(endpoint(A, rate=1, batch_size=10, batch_wait=0.2))
    async with simulated(store, always(TAKEN)) as simulation:
        await simulation.store_events(events(1, 40))
        await simulation.run(2.5)
        assert [each.at for each in simulation.receivers.sent] == pytest.approx([0, 1, 2], abs=0.06)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 30


async def test_a_changed_rate_holds_at_once() -> None:
    async with simulated(await outbox(endpoint(A, rate=0.01)), always(TAKEN)) as simulation:
        await simulation.store_events(events(1, 10))
        assert len(simulation.receivers.sent) == 1
        await simulation.store.change_endpoint("ep_1", EndpointChange(rate=100.0))
        await simulation.run(2 * POLL)
        assert len(simulation.receivers.sent) == 10


# -- breaker ----------------------------------------------------------------------------------------------------------


async def test_while_an_endpoint_does_not_work_only_probes_are_sent() -> None:
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 500))
        opened = len(simulation.receivers.sent)
        assert LEAST_RESULTS <= opened <= 16  # those on their way when it opened
        assert await views(simulation, DeliveryState.LEASED) == []
        await simulation.run(3600)
        probes = [each.at for each in simulation.receivers.sent[opened:]]
        waits = [second - first for first, second in pairwise(probes)]
        assert probes[0] == FIRST_PROBE
        assert waits[:4] == [2 * FIRST_PROBE, 4 * FIRST_PROBE, 8 * FIRST_PROBE, LAST_PROBE]
        assert set(waits[4:]) == {LAST_PROBE}
        assert len(await views(simulation, DeliveryState.PENDING)) == 500
        await assert_attempts_are_exact(simulation)


async def test_no_probe_makes_a_dead_letter_and_all_flows_after_the_first_success() -> None:
    """Fifteen events, each probed far more often than its schedule is long."""
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 15))
        await simulation.run(86_400, step=5)
        assert min(simulation.receivers.attempts(A).values()) > 50
        assert len(await views(simulation, DeliveryState.PENDING)) == 15
        simulation.receivers.answer = always(TAKEN)
        await simulation.run(LAST_PROBE + 1)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 15
        await assert_attempts_are_exact(simulation)


async def test_an_event_an_hour_is_enough_to_tell_that_the_endpoint_is_down() -> None:
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        for number in range(1, 25):
            await simulation.store_events([event(number)])
            await simulation.run(3600, step=5)
        assert len(await views(simulation, DeliveryState.PENDING)) == 24
        await assert_attempts_are_exact(simulation)


async def test_a_relapse_right_after_the_recovery_makes_no_dead_letters() -> None:
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 15))
        await simulation.run(86_400, step=5)
        answers = iter([TAKEN])  # the probe; what follows it is refused
        simulation.receivers.answer = lambda _: next(answers, REFUSED)
        await simulation.run(LAST_PROBE + 1)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 1
        assert len(await views(simulation, DeliveryState.PENDING)) == 14


async def test_an_event_that_is_refused_by_an_endpoint_that_works_is_a_dead_letter_after_its_schedule() -> None:
    def answer(request: WebhookRequest) -> Answer:
        return BROKEN if request.headers["webhook-id"] == "evt_1" else TAKEN

    async with simulated(await outbox(), answer) as simulation:
        for number in range(400):
            await simulation.store_events([event(number + 1)])
            await simulation.run(10, step=1)
        (dead,) = await views(simulation, DeliveryState.DEAD)
        assert (dead.event_id, dead.attempts) == ("evt_1", 6)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 399


async def test_events_that_are_refused_for_what_they_are_open_nothing() -> None:
    async with simulated(await outbox(endpoint(A, retry_schedule=(5.0,))), always(Answer(422, 0.01))) as simulation:
        await simulation.store_events(events(1, 50))
        assert len(simulation.receivers.sent) == 50
        await simulation.run(6)
        assert len(await views(simulation, DeliveryState.DEAD)) == 50
        await assert_attempts_are_exact(simulation)


async def test_in_an_endpoints_own_order_a_probe_is_the_oldest() -> None:
    store = await outbox(endpoint(A, order=Order.ENDPOINT, retry_schedule=(1.0,) * 20))
    async with simulated(store, always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 5))
        await simulation.run(1000)
        assert set(simulation.receivers.attempts(A)) == {"evt_1"}
        simulation.receivers.answer = always(TAKEN)
        await simulation.run(LAST_PROBE + 1)
        assert [each.event_id for each in simulation.receivers.sent if each.well] == [f"evt_{n}" for n in range(1, 6)]


async def test_another_endpoint_feels_nothing_of_it() -> None:
    """Neither new events nor retries, which come at their very moment, while much waits at the one that is held."""
    other = endpoint("http://other", "ep_2")
    refused = {"evt_600"}

    def answer(request: WebhookRequest) -> Answer:
        if request.url == A:
            return REFUSED
        number = request.headers["webhook-id"]
        return BROKEN if number in refused and simulation.now() < 60 else TAKEN

    async with simulated(await outbox(endpoint(A), other), answer) as simulation:
        await simulation.store_events(events(1, 500))
        await simulation.run(40.25)
        await simulation.store_events(events(600, 601))
        await simulation.run(31)
        assert (await simulation.store.counts())["ep_2"] == {DeliveryState.DELIVERED: 502}
        times = [each.at for each in simulation.receivers.to(other.url) if each.event_id == "evt_600"]
        assert times == [40.25, 45.25, 70.25]


class CountingOutbox(MemoryOutbox):
    def __init__(self) -> None:
        super().__init__()
        self.leases = 0

    async def lease(self, *args: Any, **more: Any) -> list[LeasedDelivery]:
        self.leases += 1
        return await super().lease(*args, **more)


async def test_what_is_held_back_is_not_looked_at_again_and_again() -> None:
    store = CountingOutbox()
    await store.add_endpoint(endpoint(A))
    async with simulated(store, always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 100))
        await simulation.run(400)
        before, sent = store.leases, len(simulation.receivers.sent)
        await simulation.run(600)
        assert len(simulation.receivers.sent) - sent == 10
        assert store.leases - before <= 3 * 10


# -- pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
async def test_nothing_is_sent_before_the_time_that_was_asked_for(status: int) -> None:
    answer = Countdown(Answer(status, 0.01, retry_after="30"), 1)
    async with simulated(await outbox(endpoint(A, concurrency=2)), answer) as simulation:
        await simulation.store_events(events(1, 20))
        await simulation.run(29.9)
        assert [each.event_id for each in simulation.receivers.sent] == ["evt_1", "evt_2"]
        assert await views(simulation, DeliveryState.LEASED) == []
        await simulation.run(0.2)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 20
        await assert_attempts_are_exact(simulation)


async def test_what_was_leased_ahead_is_given_back_uncounted_at_a_pause() -> None:
    answer = Countdown(Answer(429, 0.01, retry_after="60"), 0)
    async with simulated(await outbox(endpoint(A, concurrency=2)), answer) as simulation:
        await simulation.store_events([event(1)])  # a quick success: from now on deliveries are leased ahead
        answer.left = 1
        await simulation.store_events(events(2, 30))
        assert len(simulation.receivers.sent) <= 4
        assert await views(simulation, DeliveryState.LEASED) == []
        await assert_attempts_are_exact(simulation)


# -- changes and restarts ---------------------------------------------------------------------------------------------


async def test_a_mended_endpoint_is_tried_at_once() -> None:
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 50))
        await simulation.run(300)
        await simulation.store.change_endpoint("ep_1", EndpointChange(url="http://mended"))
        await simulation.run(2 * POLL)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 50


async def test_what_was_disabled_and_enabled_at_once_is_tried_at_once() -> None:
    """Whoever disables it tells the dispatcher, which need not come upon it by itself in time."""
    async with simulated(await outbox(), always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 50))
        await simulation.run(300)
        simulation.receivers.answer = lambda _: TAKEN
        await simulation.store.change_endpoint("ep_1", EndpointChange(enabled=False))
        simulation.dispatcher.reload_endpoints()
        await simulation.idle()
        await simulation.store.change_endpoint("ep_1", EndpointChange(enabled=True))
        await simulation.run(2 * POLL)
        assert len(await views(simulation, DeliveryState.DELIVERED)) == 50


async def test_a_restart_during_an_outage_makes_no_dead_letters() -> None:
    store = await outbox()
    async with simulated(store, always(REFUSED)) as simulation:
        await simulation.store_events(events(1, 15))
        await simulation.run(86_400, step=5)
        stopped_at = simulation.clock.now()
    async with simulated(store, always(REFUSED), start=stopped_at + timedelta(seconds=90)) as simulation:
        await simulation.idle()
        assert len(simulation.receivers.sent) == 1
        await simulation.run(3600)
        assert len(await views(simulation, DeliveryState.PENDING)) == 15


async def test_a_stop_gives_back_all_that_was_leased() -> None:
    store = await outbox(endpoint(A, rate=5))
    async with simulated(store, always(TAKEN)) as simulation:
        await simulation.store_events(events(1, 50))
    assert await views(simulation, DeliveryState.LEASED) == []
    await assert_attempts_are_exact(simulation)


# -- what is told of it -----------------------------------------------------------------------------------------------


class Told(Observer):
    def __init__(self) -> None:
        self.told: list[Mapping[str, Held]] = []

    def held(self, endpoints: Mapping[str, Held]) -> None:
        self.told.append(dict(endpoints))


async def holds(endpoint_of: Endpoint, answer: Answer, count: int) -> Sequence[Mapping[str, Held]]:
    observer = Told()
    async with simulated(await outbox(endpoint_of), Countdown(answer, count), observer=observer) as simulation:
        await simulation.store_events(events(1, count + 5))
        await simulation.run(60)
    assert observer.told[-1] == {}
    return observer.told


async def test_who_is_held_back_is_told_why_and_until_when() -> None:
    told = await holds(endpoint(A), REFUSED, 10)
    assert {"ep_1": Held(Hold.BREAKER, START + timedelta(seconds=FIRST_PROBE))} in told
    told = await holds(endpoint(A), Answer(429, 0.01, retry_after="20"), 1)
    assert {"ep_1": Held(Hold.PAUSE, START + timedelta(seconds=20))} in told
    told = await holds(endpoint(A, rate=2), TAKEN, 10)
    assert {"ep_1": Held(Hold.RATE, START + timedelta(seconds=0.5))} in told


async def test_a_retry_that_a_wrong_clock_scheduled_is_sent_although_nothing_is_written() -> None:
    store = await outbox()
    years = 5 * 365 * 86_400.0
    async with simulated(store, Countdown(REFUSED, 1)) as simulation:
        simulation.clock.set_wall(years)
        await simulation.store_events([event(1)])
        simulation.clock.set_wall(-years)
        await simulation.run(FORWARD + 2 * POLL)
        assert [each.well for each in simulation.receivers.sent] == [False, True]
