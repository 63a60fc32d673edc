"""The dispatcher with endpoints that want batches, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import orjson
from structlog.testing import capture_logs

from cdc.dispatch.request import WebhookRequest, batch_id
from cdc.dispatch.retry import Answer
from cdc.dispatch.scheduler import WAITING
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS


class BatchSender:
    """Answers 204; 500 to what holds a poisonous event; nothing to a URL with ``stuck``."""

    def __init__(self, poisonous: str = "none") -> None:
        self.poisonous = poisonous
        self.sent: list[tuple[WebhookRequest, list[str]]] = []

    async def send(self, request: WebhookRequest) -> Answer:
        body = orjson.loads(request.body)
        ids = [each["id"] for each in body] if isinstance(body, list) else [body["id"]]
        self.sent.append((request, ids))
        await (asyncio.Event().wait() if "stuck" in request.url else asyncio.sleep(0))
        return Answer(500 if self.poisonous in ids else 204, 0.01)

    @property
    def batches(self) -> list[list[str]]:
        return [ids for _, ids in self.sent]


def ids(first: int, last: int) -> list[str]:
    return [f"evt_{number}" for number in range(first, last + 1)]


async def outbox(*endpoints: Any, events: int = 0) -> WatchedOutbox:
    store = WatchedOutbox()
    for each in endpoints:
        await store.add_endpoint(each)
    await store_events(store, [event(number) for number in range(1, events + 1)])
    return store


async def settle() -> None:
    """Let everything happen that can happen without the clock moving."""
    for _ in range(300):
        await asyncio.sleep(0)


async def delivered(store: WatchedOutbox, count: int) -> None:
    for _ in range(count):
        assert (await store.next_recorded()).state is DeliveryState.DELIVERED


async def test_full_batches_go_at_once_and_the_rest_when_it_has_waited() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=2.0), events=25)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await delivered(store, 20)
        await settle()
        assert sender.batches == [ids(1, 10), ids(11, 20)]
        clock.advance(1.999)
        await settle()
        assert len(sender.sent) == 2
        clock.advance(0.001)
        await delivered(store, 5)
    assert sender.batches[2] == ids(21, 25)
    request = sender.sent[2][0]
    assert request.headers["webhook-id"] == batch_id(ids(21, 25))
    views = await store.deliveries(DeliveryFilter(event_id="evt_25"), 1)
    (attempt,) = await store.attempts(views[0].id)
    assert attempt.started_at == START + timedelta(seconds=2)


async def test_what_comes_while_a_batch_waits_goes_with_it() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=5.0), events=1)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        for number in (2, 3):
            await settle()
            clock.advance(2)
            await store_events(store, [event(number)], clock.now())
            dispatcher.notify()
        await settle()
        assert sender.sent == []
        clock.advance(1)
        await delivered(store, 3)
    assert sender.batches == [ids(1, 3)]


async def test_clock_set_back_delays_no_batch() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=5.0), events=3)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await settle()
        clock.set_wall(-3600)
        clock.advance(4.9)
        await settle()
        assert sender.sent == []
        clock.advance(0.1)
        await delivered(store, 3)
    assert sender.batches == [ids(1, 3)]


async def test_one_event_is_an_array_too() -> None:
    store = await outbox(endpoint("http://a", batch_size=2, batch_wait=0.0), events=1)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await delivered(store, 1)
    assert isinstance(orjson.loads(sender.sent[0][0].body), list)


async def test_a_batch_holds_one_event_of_a_record() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=1.0))
    await store_events(store, [event(number, record=f"facturascli:{number % 2}") for number in range(1, 7)])
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        for turn in range(3):
            await settle()
            clock.advance(1)
            await delivered(store, 2)
            assert sender.batches[turn] == ids(2 * turn + 1, 2 * turn + 2)


async def test_what_is_refused_travels_alone_from_its_third_attempt_on() -> None:
    to = endpoint("http://a", batch_size=4, batch_wait=1.0, retry_schedule=(5, 25, 125))
    store, sender, clock = await outbox(to, events=4), BatchSender("evt_3"), ManualClock()
    seen = Counter[DeliveryState]()
    async with dispatching(store, sender, clock):
        for seconds in (0, 5, 25):
            clock.advance(seconds)
            for _ in range(4):
                seen[(await store.next_recorded()).state] += 1
            if not seconds:
                await store_events(store, [event(number) for number in range(5, 9)], clock.now())
                await delivered(store, 4)  # what comes later keeps clear of what was refused
        clock.advance(125)
        assert (await store.next_recorded()).state is DeliveryState.DEAD
    assert seen == {DeliveryState.PENDING: 9, DeliveryState.DELIVERED: 3}
    assert sender.batches[:3] == [ids(1, 4), ids(5, 8), ids(1, 4)]
    assert sorted(sender.batches[3:]) == [["evt_1"], ["evt_2"], ["evt_3"], ["evt_3"], ["evt_4"]]
    first, _, second = (request.headers["webhook-id"] for request, _ in sender.sent[:3])
    assert first == second  # the same events: the same id


async def test_a_smaller_batch_holds_from_the_next_request_on() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=5.0), events=7)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await settle()
        await store.change_endpoint("ep_1", EndpointChange(batch_size=3))
        clock.advance(0.5)
        await settle()
        clock.advance(4.5)
        await delivered(store, 7)
    assert sorted(sender.batches) == [ids(1, 3), ids(4, 6), ids(7, 7)]


async def test_batches_that_are_switched_off_while_they_gather_go_one_by_one() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=5.0), events=3)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await settle()
        await store.change_endpoint("ep_1", EndpointChange(batch_size=1))
        clock.advance(0.5)
        await settle()
        clock.advance(4.5)
        await delivered(store, 3)
    assert sorted(sender.batches) == [ids(1, 1), ids(2, 2), ids(3, 3)]
    assert all(isinstance(orjson.loads(request.body), dict) for request, _ in sender.sent)


async def test_a_stop_gives_back_what_gathers() -> None:
    store = await outbox(endpoint("http://a", batch_size=10, batch_wait=60.0), events=3)
    sender, clock = BatchSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await settle()
        leased = await store.deliveries(DeliveryFilter(state=DeliveryState.LEASED), 10)
        assert len(leased) == 3
    assert sender.sent == []
    views = await store.deliveries(DeliveryFilter(), 10)
    assert [(view.state, view.attempts) for view in views] == [(DeliveryState.PENDING, 0)] * 3


async def test_a_backlog_waits_in_bounded_memory_and_keeps_nobody_waiting() -> None:
    stuck = [endpoint(f"http://stuck/{n}", f"ep_{n}", batch_size=1000, concurrency=1) for n in range(2, 8)]
    batched = endpoint("http://a", batch_size=100, batch_wait=1.0)
    alone = endpoint("http://b", "ep_b")
    store = await outbox(*stuck, batched, alone, events=1500)
    most = 0

    class Watching(BatchSender):
        async def send(self, request: WebhookRequest) -> Answer:
            nonlocal most
            most = max(most, dispatcher._scheduler.waiting)
            return await super().send(request)

    sender, clock = Watching(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        async with asyncio.timeout(HANG_SECONDS):
            healthy: Counter[str] = Counter()
            while healthy.total() < 3000:
                while store.recorded.empty():
                    await settle()
                    clock.advance(0.001)
                outcome = await store.next_recorded()
                assert outcome.state is DeliveryState.DELIVERED
                healthy[outcome.attempt.url] += 1
    assert healthy == {"http://a": 1500, "http://b": 1500}
    assert most <= 1.5 * WAITING


async def test_a_batch_is_one_log_line() -> None:
    store = await outbox(endpoint("http://a", batch_size=3), events=3)
    sender, clock = BatchSender(), ManualClock()
    with capture_logs() as logs:
        async with dispatching(store, sender, clock):
            await delivered(store, 3)
    (line,) = [entry for entry in logs if entry["event"] == "attempt"]
    assert line == {
        "event": "attempt",
        "log_level": "info",
        "event_name": "batch",
        "event_id": sender.sent[0][0].headers["webhook-id"],
        "batch": 3,
        "record": "",
        "source": "",
        "endpoint": "ep_1",
        "url": "http://a",
        "number": 1,
        "status": 204,
        "seconds": 0.01,
    }
