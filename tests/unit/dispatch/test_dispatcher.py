"""The dispatcher on an outbox in memory, a sender in memory, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.dispatch.dispatcher import IN_A_PASS, YIELD, Dispatcher, DispatchSettings
from cdc.dispatch.outcome_writer import LEAST, RESERVE
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, LeasedDelivery
from cdc.model.endpoint import EndpointChange, PayloadFormat
from cdc.outbox.base import Stored
from support.dispatching import WatchedOutbox, dispatching, endpoint, event, store_events
from support.manual_clock import START, ManualClock
from support.waiting import HANG_SECONDS

pytestmark = pytest.mark.usefixtures("few_or_many")


class ScriptedSender:
    """Answers 204, except where a URL holds ``stuck`` (never), ``slow`` (when ``gate`` opens) or ``broken`` (500)."""

    def __init__(self) -> None:
        self.sent: list[WebhookRequest] = []
        self.flying: Counter[str] = Counter()
        self.most_flying: Counter[str] = Counter()
        self.most_in_all = 0
        self.gate = asyncio.Event()

    async def send(self, request: WebhookRequest) -> Answer:
        self.sent.append(request)
        self.flying[request.url] += 1
        self.most_flying[request.url] = max(self.most_flying[request.url], self.flying[request.url])
        self.most_in_all = max(self.most_in_all, self.flying.total())
        try:
            if "stuck" in request.url:
                await asyncio.Event().wait()
            elif "slow" in request.url:
                await self.gate.wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.flying[request.url] -= 1
        return Answer(500 if "broken" in request.url else 204, 0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(HANG_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0)


async def settle() -> None:
    """Let everything happen that can happen without the clock moving."""
    for _ in range(200):
        await asyncio.sleep(0)


async def outbox(*endpoints: Any, events: int = 0) -> WatchedOutbox:
    store = WatchedOutbox()
    for each in endpoints:
        await store.add_endpoint(each)
    await store_events(store, [event(number) for number in range(1, events + 1)])
    return store


async def states(store: WatchedOutbox, endpoint_id: str = "ep_1") -> Counter[DeliveryState]:
    found = await store.deliveries(DeliveryFilter(endpoint_id=endpoint_id), 10_000)
    return Counter(view.state for view in found)


async def test_notify_wakes_without_time_passing() -> None:
    store, sender, clock = await outbox(endpoint("http://a")), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        await settle()
        await store_events(store, [event(1)])
        dispatcher.notify()
        outcome = await store.next_recorded()
    assert outcome.state is DeliveryState.DELIVERED
    assert outcome.attempt.started_at == START


class HangingOutbox(WatchedOutbox):
    """Leases nothing until it ``answers``."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def lease(self, *args: Any, **kwargs: Any) -> Any:
        await self.answers.wait()
        return await super().lease(*args, **kwargs)


async def test_what_was_handed_over_is_on_its_way() -> None:
    store, sender, clock = await outbox(endpoint("http://slow")), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        await settle()
        await store_events(store, [event(1)])
        await dispatcher.wake_and_yield()
        assert len(sender.sent) == 1
        sender.gate.set()
        await store.next_recorded()


async def test_what_a_store_leased_is_sent_without_another_lease() -> None:
    store, sender, clock = HangingOutbox(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a"))
    async with dispatching(store, sender, clock) as dispatcher:
        await settle()
        store.answers.clear()  # a lease for others is under way
        dispatcher.notify()
        await settle()
        await handed_over(dispatcher, store, 1)
        assert (await store.next_recorded()).state is DeliveryState.DELIVERED
        store.answers.set()


async def handed_over(dispatcher: Dispatcher, store: WatchedOutbox, *numbers: int) -> Stored:
    """Store events as a relay does."""
    hand_over = dispatcher.hand_over("main")
    assert hand_over is not None
    events = [event(number) for number in numbers]
    stored = await store.store("main", Position("1"), events, {}, START, hand_over=hand_over)
    hand_over.take(stored.leased)
    return stored


async def test_nothing_is_handed_over_before_the_start_while_nothing_is_recorded_and_after_the_end() -> None:
    store, sender, clock = await outbox(endpoint("http://a"), events=1), ScriptedSender(), ManualClock()
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
    assert dispatcher.hand_over("main") is None
    async with dispatching(store, sender, clock) as dispatcher:
        await store.next_recorded()
        late = dispatcher.hand_over("main")
        assert late is not None
        store.failures = 100
        await handed_over(dispatcher, store, 2)
        await settle()
        assert dispatcher.hand_over("main") is None
        store.failures = 0
        clock.advance(5)
        await store.next_recorded()
    assert dispatcher.hand_over("main") is None
    stored = await store.store("main", Position("1"), [event(3)], {}, START, hand_over=late)
    late.take(stored.leased)
    await settle()
    assert len(sender.sent) == 2  # the lease ends by itself


async def test_hand_over_respects_what_an_endpoint_takes_at_once_and_all_may_hold() -> None:
    store, sender, clock = await outbox(endpoint("http://slow", concurrency=2)), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock, concurrency=4) as dispatcher:
        await settle()
        leased = [len((await handed_over(dispatcher, store, number)).leased) for number in (1, 2, 3)]
        await settle()
        assert leased == [1, 1, 0]
        assert sender.most_flying["http://slow"] == 2
        sender.gate.set()
        dispatcher.notify()
        assert {(await store.next_recorded()).attempt.event_id for _ in range(3)} == {"evt_1", "evt_2", "evt_3"}


async def test_requests_of_a_busy_tenant_let_the_loop_go_round() -> None:
    """One pass of the event loop makes at most `IN_A_PASS` requests: stores and answers wait for the pass."""
    endpoints = [endpoint(f"http://{number}", f"ep_{number}") for number in range(3 * IN_A_PASS)]
    store, clock, made = await outbox(*endpoints, events=2), ManualClock(), list[int]()

    class Sender(ScriptedSender):
        async def send(self, request: WebhookRequest) -> Answer:
            made[-1] += 1
            return await super().send(request)

    async def count() -> None:
        while sum(made) < 2 * len(endpoints):
            made.append(0)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with asyncio.timeout(HANG_SECONDS), dispatching(store, Sender(), clock, concurrency=3 * IN_A_PASS):
        await counting
    assert max(made) <= 2 * IN_A_PASS  # the loop's pass and the test's begin at different places


async def test_who_hands_over_does_not_wait_for_long() -> None:
    store, sender, clock = HangingOutbox(), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        await settle()
        store.answers.clear()
        handing_over = asyncio.create_task(dispatcher.wake_and_yield())
        await settle()
        assert not handing_over.done()
        clock.advance(YIELD)
        await settle()
        assert handing_over.done()
        store.answers.set()


async def test_who_hands_over_to_a_busy_dispatcher_does_not_wait() -> None:
    store, sender, clock = HangingOutbox(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://slow"))
    await store_events(store, [event(1)])
    async with dispatching(store, sender, clock) as dispatcher:
        await until(lambda: bool(sender.sent))
        await settle()
        store.answers.clear()
        handing_over = asyncio.create_task(dispatcher.wake_and_yield())
        await settle()
        assert handing_over.done()
        store.answers.set()
        sender.gate.set()
        await store.next_recorded()


async def test_nobody_waits_for_a_dispatcher_that_does_not_run() -> None:
    settings = DispatchSettings("worker-1")
    async with asyncio.timeout(HANG_SECONDS):
        await Dispatcher(await outbox(), ScriptedSender(), ManualClock(), settings).wake_and_yield()


async def test_a_write_by_another_process_is_seen_within_half_a_second() -> None:
    store, sender, clock = await outbox(endpoint("http://a")), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await settle()
        clock.advance(0.5)  # the question that notices the endpoint's own adding
        await settle()
        await store_events(store, [event(1)])
        await settle()
        assert not sender.sent
        clock.advance(0.5)
        await store.next_recorded()


async def test_a_retry_goes_out_when_it_is_due_and_not_before() -> None:
    store, sender, clock = await outbox(endpoint("http://broken"), events=1), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await store.next_recorded()
        for _ in range(49):
            clock.advance(0.1)
            await settle()
        assert len(sender.sent) == 1
        clock.advance(0.1)
        outcome = await store.next_recorded()
    assert outcome.attempt.number == 2
    assert outcome.attempt.started_at == START + timedelta(seconds=5)
    assert outcome.due_at == START + timedelta(seconds=30)


async def test_bounds_overall_and_for_each_endpoint() -> None:
    endpoints = [endpoint(f"http://slow/{n}", f"ep_{n}", concurrency=5) for n in range(4)]
    store, sender, clock = await outbox(*endpoints, events=50), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock, concurrency=12):
        await until(lambda: sender.flying.total() == 12)
        await settle()
        sender.gate.set()
        for _ in range(200):
            await store.next_recorded()
    assert sender.most_in_all == 12
    assert max(sender.most_flying.values()) <= 5


async def test_a_stuck_endpoint_keeps_nobody_waiting() -> None:
    store = await outbox(endpoint("http://stuck", "ep_stuck"), endpoint("http://a", "ep_1", concurrency=2), events=300)
    sender, clock = ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock):
        for _ in range(300):
            outcome = await store.next_recorded()
            assert outcome.attempt.url == "http://a"
        assert sender.flying["http://stuck"] == 16
    assert (await states(store))[DeliveryState.DELIVERED] == 300


async def test_events_of_one_record_go_out_one_after_the_other_in_order() -> None:
    store, sender, clock = await outbox(endpoint("http://a")), ScriptedSender(), ManualClock()
    await store_events(store, [event(n, record=f"facturascli:{n % 3}") for n in range(60)])
    async with dispatching(store, sender, clock):
        for _ in range(60):
            await store.next_recorded()
    order = defaultdict(list)
    for request in sender.sent:
        number = int(request.headers["webhook-id"].removeprefix("evt_"))
        order[number % 3].append(number)
    assert order == {rest: list(range(rest, 60, 3)) for rest in range(3)}


async def test_outcomes_are_recorded_in_few_writes() -> None:
    store, sender, clock = (
        await outbox(endpoint("http://slow", concurrency=64), events=64),
        ScriptedSender(),
        ManualClock(),
    )
    async with dispatching(store, sender, clock):
        await until(lambda: sender.flying.total() == 64)
        sender.gate.set()
        for _ in range(64):
            await store.next_recorded()
    assert len(store.writes) <= 3
    assert sum(store.writes) == 64


async def test_outcomes_outlive_an_outbox_that_cannot_be_written() -> None:
    store, sender, clock = await outbox(endpoint("http://slow"), events=3), ScriptedSender(), ManualClock()
    with capture_logs() as logs:
        async with dispatching(store, sender, clock):
            await until(lambda: sender.flying.total() == 3)
            store.failures = 4
            sender.gate.set()
            await settle()
            assert store.recorded.empty()
            while store.failures:
                clock.advance(5)
                await settle()
            clock.advance(5)
            for _ in range(3):
                assert (await store.next_recorded()).state is DeliveryState.DELIVERED
    assert len(sender.sent) == 3
    failures = [entry for entry in logs if entry["event"] == "outcomes not recorded"]
    assert failures
    assert "no space left" in failures[0]["error"]


async def test_leasing_goes_on_when_the_outbox_comes_back() -> None:
    store, sender, clock = await outbox(endpoint("http://a"), events=1), ScriptedSender(), ManualClock()
    store.failures = 3
    with capture_logs() as logs:
        async with dispatching(store, sender, clock):
            while store.failures:
                await settle()
                clock.advance(5)
            clock.advance(5)
            await store.next_recorded()
    assert [entry["log_level"] for entry in logs if entry["event"] == "nothing leased"] == ["error"] * 3


async def test_stop_lets_attempts_finish_and_leases_no_more() -> None:
    store, sender, clock = (
        await outbox(endpoint("http://slow", concurrency=2), events=5),
        ScriptedSender(),
        ManualClock(),
    )
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
    running = asyncio.create_task(dispatcher.run())
    await until(lambda: sender.flying.total() == 2)
    dispatcher.stop()
    await settle()
    assert not running.done()
    sender.gate.set()
    await running
    assert len(sender.sent) == 2
    assert await states(store) == {DeliveryState.DELIVERED: 2, DeliveryState.PENDING: 3}


async def test_stop_gives_back_what_was_leased_ahead() -> None:
    store, sender, clock = (
        await outbox(endpoint("http://slow", concurrency=2), events=1),
        ScriptedSender(),
        ManualClock(),
    )
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
    running = asyncio.create_task(dispatcher.run())
    sender.gate.set()
    await store.next_recorded()  # a quick success: from now on deliveries are leased ahead
    sender.gate.clear()
    await store_events(store, [event(n) for n in range(2, 12)])
    dispatcher.notify()
    await until(lambda: sender.flying.total() == 2)
    assert (await states(store))[DeliveryState.LEASED] == 4
    dispatcher.stop()
    sender.gate.set()
    await running
    assert len(sender.sent) == 3
    assert await states(store) == {DeliveryState.DELIVERED: 3, DeliveryState.PENDING: 8}
    views = await store.deliveries(DeliveryFilter(state=DeliveryState.PENDING), 100)
    assert {view.attempts for view in views} == {0}


async def test_what_was_leased_ahead_is_sent_on_a_new_lease_when_the_first_runs_out() -> None:
    store = await outbox(endpoint("http://slow", concurrency=1, timeout=10.0), events=1)
    sender, clock = ScriptedSender(), ManualClock()
    with capture_logs() as logs:
        async with dispatching(store, sender, clock) as dispatcher:
            sender.gate.set()
            await store.next_recorded()
            sender.gate.clear()
            await store_events(store, [event(2), event(3)])
            dispatcher.notify()
            await until(lambda: sender.flying.total() == 1)
            clock.advance(51)  # less than the timeout is left of the lease of a minute
            sender.gate.set()
            assert (await store.next_recorded()).attempt.event_id == "evt_2"
            last = (await store.next_recorded()).attempt
            assert (last.event_id, last.number) == ("evt_3", 1)  # on the first lease nothing was sent
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["lease too short to send"]


async def test_lease_that_ends_too_soon_while_others_are_given_back_is_given_back_next() -> None:
    giving, allowed = asyncio.Event(), asyncio.Event()
    gates = {"http://a": asyncio.Event(), "http://b": asyncio.Event()}

    class SlowOutbox(WatchedOutbox):
        async def give_back(self, *args: Any, **kwargs: Any) -> None:
            giving.set()
            await allowed.wait()
            await super().give_back(*args, **kwargs)

    class GatedSender(ScriptedSender):
        async def send(self, request: WebhookRequest) -> Answer:
            self.sent.append(request)
            await gates[request.url].wait()
            return Answer(204, 0.01)

    store, sender, clock = SlowOutbox(), GatedSender(), ManualClock()
    for url, gate in gates.items():
        await store.add_endpoint(endpoint(url, f"ep_{url[-1]}", concurrency=1, timeout=10.0))
        gate.set()
    await store_events(store, [event(1)])
    async with dispatching(store, sender, clock) as dispatcher:
        for gate in gates.values():
            await store.next_recorded()  # a quick success: from now on deliveries are leased ahead
            gate.clear()
        await store_events(store, [event(2), event(3)])
        dispatcher.notify()
        await until(lambda: len(sender.sent) == 4)
        clock.advance(51)  # less than the timeout is left of the leases of a minute
        gates["http://a"].set()
        async with asyncio.timeout(HANG_SECONDS):
            await giving.wait()
        gates["http://b"].set()
        recorded = [await store.next_recorded() for _ in gates]
        allowed.set()
        recorded += [await store.next_recorded() for _ in gates]
    assert [outcome.attempt.event_id for outcome in recorded] == ["evt_2", "evt_2", "evt_3", "evt_3"]


async def test_stop_gives_up_on_stuck_attempts_and_releases_their_leases() -> None:
    store = await outbox(endpoint("http://stuck", timeout=30.0), events=2)
    sender, clock = ScriptedSender(), ManualClock()
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
    running = asyncio.create_task(dispatcher.run())
    await until(lambda: sender.flying.total() == 2)
    dispatcher.stop()
    await settle()
    clock.advance(7.9)
    await settle()
    assert not running.done()
    clock.advance(0.1)
    await asyncio.wait_for(running, HANG_SECONDS)
    assert sender.flying.total() == 0
    views = await store.deliveries(DeliveryFilter(), 10)
    assert [(view.state, view.attempts) for view in views] == [(DeliveryState.PENDING, 0)] * 2


async def test_stop_ends_within_ten_seconds_though_the_outbox_hangs() -> None:
    class Hanging(WatchedOutbox):
        async def finish(self, *_: Any) -> None:
            await asyncio.Event().wait()

        async def release(self, *args: Any) -> int:
            if self.counted:
                await asyncio.Event().wait()
            self.counted = True
            return await super().release(*args)

        counted = False

    store, sender, clock = Hanging(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a"))
    await store.add_endpoint(endpoint("http://stuck", "ep_2"))
    await store_events(store, [event(1)])
    dispatcher = Dispatcher(store, sender, clock, DispatchSettings("worker-1"))
    running = asyncio.create_task(dispatcher.run())
    await until(lambda: len(sender.sent) == 2)
    with capture_logs() as logs:
        dispatcher.stop()
        while not running.done():
            await settle()
            clock.advance(0.05)
        await running
    assert clock.now() - START < timedelta(seconds=10)
    lost = {entry["event"] for entry in logs if entry["log_level"] == "error"}
    assert lost == {"outcomes lost at stop: they will be sent again", "leases not released at stop: they expire"}


async def test_a_restart_takes_its_own_leases_back_at_once() -> None:
    store, sender, clock = await outbox(endpoint("http://a"), events=1), ScriptedSender(), ManualClock()
    await store.lease("worker-1", START, START + timedelta(hours=1), 10)  # a former life, ended by kill -9
    async with dispatching(store, sender, clock):
        outcome = await store.next_recorded()
    assert outcome.attempt.number == 1


async def test_a_lease_outlives_the_longest_timeout_twice() -> None:
    class Recording(WatchedOutbox):
        async def lease(self, *args: Any, **kwargs: Any) -> Any:
            leased: list[LeasedDelivery] = await super().lease(*args, **kwargs)
            spans.extend(delivery.lease_until - clock.now() for delivery in leased)
            return leased

    spans: list[timedelta] = []
    store, sender, clock = Recording(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a", "ep_1"))
    await store.add_endpoint(endpoint("http://b", "ep_2", timeout=300.0))
    await store_events(store, [event(1)])
    async with dispatching(store, sender, clock, lease=5.0):
        await store.next_recorded()
        await store.next_recorded()
    assert spans == [timedelta(seconds=630)] * 2


async def test_a_changed_endpoint_is_read_again() -> None:
    store, sender, clock = await outbox(endpoint("http://broken"), events=1), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock):
        await store.next_recorded()
        await store.change_endpoint("ep_1", EndpointChange(url="http://mended"))
        clock.advance(0.5)
        await settle()
        clock.advance(4.5)
        outcome = await store.next_recorded()
    assert outcome.attempt.url == "http://mended"
    assert outcome.state is DeliveryState.DELIVERED


async def test_an_endpoint_added_later_gets_its_events() -> None:
    store, sender, clock = await outbox(endpoint("http://a")), ScriptedSender(), ManualClock()
    async with dispatching(store, sender, clock) as dispatcher:
        await settle()
        await store.add_endpoint(endpoint("http://b", "ep_2"))
        await store_events(store, [event(1)])
        dispatcher.notify()
        urls = {(await store.next_recorded()).attempt.url for _ in range(2)}
    assert urls == {"http://a", "http://b"}


async def test_a_delivery_whose_endpoint_is_gone_ends_without_a_request() -> None:
    class Removing(WatchedOutbox):
        async def lease(self, *args: Any, **kwargs: Any) -> Any:
            leased = await super().lease(*args, **kwargs)
            if leased:
                await self.remove_endpoint("ep_1", clock.now())
                dispatcher._scheduler.channels.clear()
            return leased

    store, sender, clock = Removing(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a"))
    await store_events(store, [event(1)])
    async with dispatching(store, sender, clock) as dispatcher:
        outcome = await store.next_recorded()
    assert outcome.state is DeliveryState.CANCELLED
    assert "removed" in outcome.attempt.error
    assert sender.sent == []


async def test_a_delivery_that_cannot_be_built_does_not_stop_the_others() -> None:
    class Poisoned(WatchedOutbox):
        async def lease(self, *args: Any, **kwargs: Any) -> Any:
            leased: list[LeasedDelivery] = await super().lease(*args, **kwargs)
            return [each._replace(body_event=b"{") if each.event_id == "evt_1" else each for each in leased]

    store, sender, clock = Poisoned(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a", format=PayloadFormat.CLOUDEVENTS))
    await store_events(store, [event(1), event(2)])
    with capture_logs() as logs:
        async with dispatching(store, sender, clock):
            outcomes = [await store.next_recorded(), await store.next_recorded()]
    errors = {outcome.attempt.event_id: outcome.attempt.error for outcome in outcomes}
    assert errors["evt_2"] == ""
    assert errors["evt_1"].startswith("The request could not be made")
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["attempt broke off"]


async def test_one_log_line_an_attempt_without_payload_or_secrets() -> None:
    to = endpoint("http://broken/hook?token=planted-query", events=("*",))
    store, sender, clock = await outbox(to, events=1), ScriptedSender(), ManualClock()
    with capture_logs() as logs:
        async with dispatching(store, sender, clock):
            await store.next_recorded()
    (line,) = [entry for entry in logs if entry["event"] == "attempt"]
    assert line == {
        "event": "attempt",
        "log_level": "warning",
        "event_name": "invoice.paid",
        "event_id": "evt_1",
        "record": "facturascli:1",
        "source": "main",
        "endpoint": "ep_1",
        "url": "http://broken/…ep_1",
        "number": 1,
        "status": 500,
        "seconds": 0.01,
        "error": "The endpoint answered 500 Internal Server Error.",
        "state": "pending",
        "next": (START + timedelta(seconds=5)).isoformat(),
    }
    assert "planted" not in repr(logs)
    assert to.secret not in repr(logs)


async def test_an_idle_dispatcher_leases_nothing_again_and_again() -> None:
    class Counting(WatchedOutbox):
        leases = 0

        async def lease(self, *args: Any, **kwargs: Any) -> Any:
            self.leases += 1
            return await super().lease(*args, **kwargs)

    store, sender, clock = Counting(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a"))
    async with dispatching(store, sender, clock):
        for _ in range(20):
            clock.advance(0.5)
            await settle()
        assert store.leases <= 3


async def test_events_of_a_consumer_are_not_sent_beside_those_of_an_endpoint() -> None:
    store, sender, clock = WatchedOutbox(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("pull:orders", "ep_pull", concurrency=0))
    await store.add_endpoint(endpoint("http://plain", "ep_plain"))
    await store_events(store, [event(number) for number in range(100)])
    async with dispatching(store, sender, clock):
        for _ in range(100):
            await store.next_recorded()
    assert {request.url for request in sender.sent} == {"http://plain"}
    views = await store.deliveries(DeliveryFilter(endpoint_id="ep_pull"), 1000)
    assert {(view.state, view.attempts) for view in views} == {(DeliveryState.PENDING, 0)}


class DeafOutbox(WatchedOutbox):
    """Records nothing more once it is ``deaf``; leasing continues."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False

    async def finish(self, *args: Any, **kwargs: Any) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        await super().finish(*args, **kwargs)


async def test_little_is_sent_while_nothing_can_be_recorded() -> None:
    store, sender, clock = DeafOutbox(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://a", concurrency=8))
    async with dispatching(store, sender, clock) as dispatcher:
        await store_events(store, [event(0)])
        dispatcher.notify()
        await store.next_recorded()
        store.deaf = True
        await store_events(store, [event(number) for number in range(1, 500)])
        for _ in range(20):
            dispatcher.notify()
            await settle()
    assert len(sender.sent) <= 1 + LEAST + 8


async def test_idle_tenant_waits_for_no_record_of_a_busy_one() -> None:
    """Some of its requests start although nothing is recorded: no more than a part of those of all."""
    store, sender, clock = DeafOutbox(), ScriptedSender(), ManualClock()
    await store.add_endpoint(endpoint("http://busy", "ep_busy", sources=("main",), concurrency=8))
    await store.add_endpoint(endpoint("http://idle", "ep_idle", sources=("idle",)))
    async with dispatching(store, sender, clock) as dispatcher:
        await store_events(store, [event(0)])
        dispatcher.notify()
        await store.next_recorded()
        store.deaf = True
        await store_events(store, [event(number) for number in range(1, 100)])
        for number in range(100, 150):
            dispatcher.notify()
            await settle()
            await store_events(store, [event(number)._replace(source="idle")])
    idle = [each for each in sender.sent if each.url == "http://idle"]
    assert 1 <= len(idle) <= LEAST // RESERVE + 1
    assert len(sender.sent) - len(idle) <= 1 + LEAST + 8
