"""A receiver that is down for a day, with the durable outbox and a clock that the test moves: nothing is lost, nothing
is a dead letter, order is kept, and what has waited goes out at the endpoint's rate."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from cdc.dispatch.flow_control import LAST_PROBE
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.dispatching import endpoint, event
from support.manual_clock import START
from support.outboxes import check_order
from support.simulation import REFUSED, TAKEN, Simulation, simulated

DAY = 86_400
EVENTS = 2160  # one every forty seconds
RECORDS = 300
RATE = 20.0
STEP = 20.0  # the simulation passes over moments in which nothing is due: shorter jumps show the same, later
DOWN, WELL = "http://down", "http://well"


class AtOnce(Executor):
    """Does in the caller's thread what is submitted: forty thousand times, two threads would mostly wait for each
    other."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done = Future[Any]()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - it is the caller's, as of any executor
            done.set_exception(error)
        return done


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteOutbox]:
    monkeypatch.setattr("cdc.outbox.sqlite.database.ThreadPoolExecutor", lambda *_args, **_kwargs: AtOnce())
    outbox = SqliteOutbox(tmp_path / "outbox.db")
    await outbox.open()
    await outbox.add_endpoint(endpoint(DOWN, "ep_down", rate=RATE))
    await outbox.add_endpoint(endpoint(WELL, "ep_well"))
    yield outbox
    await outbox.close()


def answer_when_down(request: WebhookRequest) -> Answer:
    return REFUSED if request.url == DOWN else TAKEN


async def let_a_day_pass(simulation: Simulation) -> None:
    """While events arrive; the receiver that works has each at once."""
    for number in range(EVENTS):
        await simulation.store_events([event(number, record=f"facturascli:{number % RECORDS}")])
        await simulation.run(DAY / EVENTS, step=STEP)
    assert len(simulation.receivers.to(WELL)) == EVENTS
    assert all(each.at == int(each.event_id.removeprefix("evt_")) * 40 for each in simulation.receivers.to(WELL))


def assert_rate_kept(times: list[float]) -> None:
    for place, time in enumerate(times):
        within = bisect_right(times, time + 1.0) - place
        assert within <= RATE * 1.0 + RATE + 1e-6  # a second's worth, and a burst of as much
    span = times[-1] - times[0]
    assert len(times) <= RATE * span + RATE + 1


async def test_a_day_without_a_receiver(store: SqliteOutbox) -> None:
    async with simulated(store, answer_when_down) as simulation:
        await let_a_day_pass(simulation)
        failed = len(simulation.receivers.to(DOWN))
        assert DAY / (2 * LAST_PROBE) < failed < DAY / LAST_PROBE + 150  # until it opened, and probes
        counts = (await store.counts())["ep_down"]
        assert set(counts) == {DeliveryState.PENDING, DeliveryState.WAITING}
        assert sum(counts.values()) == EVENTS

        simulation.receivers.answer = lambda _: TAKEN
        back = simulation.now()
        await simulation.run(LAST_PROBE + EVENTS / RATE + 10)

        taken = [each for each in simulation.receivers.to(DOWN) if each.well]
        await assert_all_arrived_once_and_in_order(store, [each.event_id for each in taken])
        assert_rate_kept([each.at for each in taken])
        assert taken[0].at <= back + LAST_PROBE
        assert taken[-1].at - taken[0].at <= EVENTS / RATE * 1.05  # and the rate is made use of
        await assert_attempts_are_exact(simulation)


async def assert_all_arrived_once_and_in_order(store: SqliteOutbox, arrived: list[str]) -> None:
    counts = await store.counts()
    assert counts["ep_down"] == counts["ep_well"] == {DeliveryState.DELIVERED: EVENTS}
    assert len(arrived) == len(set(arrived)) == EVENTS
    by_record = defaultdict(list)
    for event_id in arrived:
        number = int(event_id.removeprefix("evt_"))
        by_record[number % RECORDS].append(number)
    assert by_record == {record: list(range(record, EVENTS, RECORDS)) for record in range(RECORDS)}
    await check_order(store)


async def assert_attempts_are_exact(simulation: Simulation) -> None:
    """As many as the receiver saw, each in the log."""
    seen = simulation.receivers.attempts(DOWN)
    views = await simulation.store.deliveries(DeliveryFilter(endpoint_id="ep_down"), EVENTS + 1)
    assert {view.event_id: view.attempts for view in views} == seen
    logged = await simulation.store.attempts_of([view.id for view in views])
    assert {view.event_id: len(logged[view.id]) for view in views} == seen


async def test_a_day_without_a_receiver_and_a_restart_every_six_hours(store: SqliteOutbox) -> None:
    """Few events, so that each is probed far more often than its schedule is long, by processes that know nothing of
    those before them."""
    clock_start = START
    for life in range(4):
        async with simulated(store, answer_when_down, start=clock_start) as simulation:
            events = [event(number) for number in range(life * 5, life * 5 + 5)]
            await simulation.store_events(
                [*events, *([event(number) for number in range(900, 910)] if not life else [])]
            )
            await simulation.run(DAY / 4, step=STEP)
            clock_start = simulation.clock.now()
        assert DeliveryState.DEAD not in (await store.counts())["ep_down"]
    async with simulated(store, lambda _: TAKEN, start=clock_start) as simulation:
        await simulation.run(LAST_PROBE * 2)
    assert (await store.counts())["ep_down"] == {DeliveryState.DELIVERED: 30}
