"""Random histories: the invariants hold at every step, a lease takes what a model says, and outboxes answer alike."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter, defaultdict
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, DeliveryView, LeasedDelivery
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import UsageError
from cdc.model.event import OPERATIONS, Event
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.database import Database
from support.memory_outbox import MemoryOutbox
from support.outboxes import EVERYTHING, NOW, UNFINISHED, check_order, endpoint, event, outcome
from support.selection import examples

T = TypeVar("T")
RECORDS = ("c:A", "c:B", "c:C", "d:1")
WORKERS = ("w1", "w2")
ENDPOINTS = ("ep_a", "ep_b", "ep_c")
NAMES = ("invoice.paid", "stock.changed")
PATTERNS = ("*", "invoice.*", "endpoint.*")
OPERATION = "endpoint:x"  # the record of operational events
STATES = (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.PENDING)

records = st.sampled_from(RECORDS)
workers = st.sampled_from(WORKERS)
endpoint_ids = st.sampled_from(ENDPOINTS)
orders = st.sampled_from(Order)
changes = st.tuples(records, st.none() | records, st.sampled_from(NAMES))


class Outboxes(RuleBasedStateMachine):
    """``outboxes``: to which the same happens; ``durable``: the one that is opened again."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.outboxes = self.empty_outboxes()
        self.durable = self.outboxes[0]
        self.run(self.durable.open())
        self.now = NOW
        self.events = 0
        self.position: str | None = None
        self.leases: list[tuple[str, LeasedDelivery]] = []
        self.held: dict[str, tuple[str, LeasedDelivery]] = {}  # the leases that hold
        self.final: dict[str, DeliveryState] = {}
        self.attempts: Counter[str] = Counter()
        self.wanted = 0
        self.joined = {record: record for record in (*RECORDS, OPERATION)}
        self.orders: dict[str, Order] = {}  # of endpoints that there are or were
        self.patterns: dict[str, str] = {}  # of those that there are
        self.apart: set[str] = set()  # deliveries of tests, which stand in no line but their record's
        self.reordered = False

    def teardown(self) -> None:
        self._drain()
        self.run(self.durable.close())
        self.loop.close()
        self.folder.cleanup()

    def empty_outboxes(self) -> list[OutboxStore]:
        return [SqliteOutbox(Path(self.folder.name) / "outbox.db")]

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The same call on each, which must answer, or refuse, alike."""
        answers = [self.run(self._answer(getattr(each, method)(*arguments, **options))) for each in self.outboxes]
        assert all(answer == answers[0] for answer in answers), (method, answers)
        return answers[0]

    async def _answer(self, call: Coroutine[Any, Any, T]) -> T | str:
        try:
            return await call
        except UsageError as refusal:
            return str(refusal)

    @initialize(order=orders, records=st.lists(records, min_size=1, max_size=4))
    def begin(self, order: Order, records: list[str]) -> None:
        """Random histories alone lease hardly anything."""
        self.add_endpoint("ep_a", "*", True, order)
        self.store([(record, None, "invoice.paid") for record in records])

    @rule(seconds=st.integers(0, 40))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(made=st.lists(changes, max_size=6))
    def store(self, made: list[tuple[str, str | None, str]]) -> None:
        events = []
        for record, former, name in made:
            self.events += 1
            events.append(event(self.events, record, name=name, renamed_from=former if former != record else None))
            self._join(former, record)
        self.position = str(self.events)
        stored = self.ask("store", "main", Position(self.position), events, {}, self.now)
        self.wanted += stored.deliveries

    def _join(self, former: str | None, record: str) -> None:
        into = self.joined[former or record]
        left = self.joined[record]
        self.joined = {name: into if line == left else line for name, line in self.joined.items()}

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def store_again(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.events))
        self.position = str(self.events)
        stored = self.ask("store", "main", Position(self.position), [event(number)], {}, self.now)
        assert stored.events == 0

    @rule()
    def announce(self) -> None:
        self.wanted += self.ask("announce", [self._operation()], self.now).deliveries

    def _operation(self) -> Event:
        self.events += 1
        return event(self.events, OPERATION, name="endpoint.failing", source=OPERATIONS)

    @rule(worker=workers, limit=st.integers(1, 5), room=st.dictionaries(endpoint_ids, st.integers(0, 3)))
    def lease(self, worker: str, limit: int, room: dict[str, int]) -> None:
        self._lease(worker, limit, room, only=False)

    @rule(worker=workers, limit=st.integers(1, 5), most=st.integers(1, 3), without=st.sets(endpoint_ids, max_size=2))
    def lease_what_is_due(self, worker: str, limit: int, most: int, without: set[str]) -> None:
        due = self.ask("due_endpoints", self.now, most, 0, without).ids
        every = {endpoint_id for endpoint_id, places in self._due().items() if places[0][0] <= self.now} - without
        assert set(due) <= every
        assert len(due) == min(most, len(every))
        leased = self._lease(worker, limit, dict.fromkeys(due, 2), only=True)
        assert {each.endpoint_id for each in leased} == set(due[:limit])

    def _lease(self, worker: str, limit: int, room: dict[str, int], *, only: bool) -> list[LeasedDelivery]:
        """Lease the oldest due deliveries of each endpoint, up to its room: the first of each, then the second."""
        turns = {endpoint_id: turn for turn, endpoint_id in enumerate(room)}
        ranked = [
            (rank, turns.get(endpoint_id, -1), place)
            for endpoint_id, places in self._due().items()
            if endpoint_id in room or not only
            for rank, place in enumerate(places[: room.get(endpoint_id, limit)])
            if place[0] <= self.now
        ]
        expected = sorted(place for _, _, place in sorted(ranked)[:limit])
        leased: list[LeasedDelivery] = self.ask(
            "lease", worker, self.now, self.now + timedelta(seconds=30), limit, room, only=only
        )
        assert [int(each.id.removeprefix("dlv_")) for each in leased] == [number for _, number in expected]
        self._hold(worker, leased)
        return leased

    def _hold(self, worker: str, leased: list[LeasedDelivery]) -> None:
        self.leases += [(worker, each) for each in leased]
        self.held |= {each.id: (worker, each) for each in leased}
        self.attempts.update(each.id for each in leased)

    def _holds(self, worker: str, lease: LeasedDelivery) -> bool:
        holder, held = self.held.get(lease.id, ("", lease))
        return holder == worker and held.attempt == lease.attempt

    def _due(self) -> dict[str, list[tuple[datetime, int]]]:
        """When each delivery of an enabled endpoint may be leased, and its number; oldest first."""
        found: dict[str, list[tuple[datetime, int]]] = {one.id: [] for one in self.ask("endpoints") if one.enabled}
        for view in self._views():
            if view.state in {DeliveryState.PENDING, DeliveryState.LEASED} and view.endpoint_id in found:
                due = view.due_at or self.held[view.id][1].lease_until
                found[view.endpoint_id].append((due, int(view.id.removeprefix("dlv_"))))
        return {endpoint_id: sorted(places) for endpoint_id, places in found.items() if places}

    @precondition(lambda self: self.leases)
    @rule(
        data=st.data(),
        states=st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 30)), min_size=1, max_size=4),
        disable=st.booleans(),
        announced=st.booleans(),
    )
    def finish(
        self, data: st.DataObject, states: list[tuple[DeliveryState, int]], disable: bool, announced: bool
    ) -> None:
        """Finish any leases ever made: those that expired, were released or cancelled change nothing."""
        most = len(states)
        drawn = data.draw(st.lists(st.sampled_from(self.leases), min_size=1, max_size=most, unique_by=_lease_id))
        outcomes = []
        for (_, delivery), (state, seconds) in zip(drawn, states, strict=False):
            wait = timedelta(seconds=seconds)
            due: datetime | None = self.now + wait if state is DeliveryState.PENDING else None
            reason = "gone" if disable and state is DeliveryState.DEAD else ""
            outcomes.append(outcome(delivery, state, due, reason, started_at=self.now - wait))
            if self._holds(drawn[0][0], delivery):
                del self.held[delivery.id]
                if state.final:
                    self.final[delivery.id] = state
        announcements = [self._operation()] if announced else []
        self.ask("finish", drawn[0][0], outcomes, self.now, announcements)
        self.wanted += len(announcements) * list(self.patterns.values()).count("endpoint.*")

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), count=st.integers(1, 4), worker=workers)
    def give_back(self, data: st.DataObject, count: int, worker: str) -> None:
        drawn = data.draw(st.lists(st.sampled_from(self.leases), min_size=1, max_size=count, unique_by=_lease_id))
        mine = [delivery.id for _, delivery in drawn if self._holds(worker, delivery)]
        assert self.ask("give_back", worker, [delivery for _, delivery in drawn], self.now) == len(mine)
        for each in mine:
            del self.held[each]
            self.attempts[each] -= 1

    @rule(worker=workers)
    def release(self, worker: str) -> None:
        others = {each: lease for each, lease in self.held.items() if lease[0] != worker}
        assert self.ask("release", worker, self.now) == len(self.held) - len(others)
        self.attempts.subtract(self.held.keys() - others.keys())
        self.held = others

    def _cancel(self, unfinished: list[DeliveryView]) -> None:
        for view in unfinished:
            self.held.pop(view.id, None)
            self.final[view.id] = DeliveryState.CANCELLED

    @rule(endpoint_id=endpoint_ids, pattern=st.sampled_from(PATTERNS), enabled=st.booleans(), order=orders)
    def add_endpoint(self, endpoint_id: str, pattern: str, enabled: bool, order: Order) -> None:
        refused = self.ask("add_endpoint", endpoint(endpoint_id, events=(pattern,), enabled=enabled, order=order))
        if not refused:
            self.orders[endpoint_id], self.patterns[endpoint_id] = order, pattern

    @rule(endpoint_id=endpoint_ids, enabled=st.booleans())
    def enable(self, endpoint_id: str, enabled: bool) -> None:
        self.ask("change_endpoint", endpoint_id, EndpointChange(enabled=enabled))

    @rule(endpoint_id=endpoint_ids, order=orders)
    def reorder(self, endpoint_id: str, order: Order) -> None:
        self.ask("change_endpoint", endpoint_id, EndpointChange(order=order))
        if endpoint_id in self.patterns and self.orders[endpoint_id] is not order:
            self.orders[endpoint_id] = order
            self.apart -= {view.id for view in self._views() if view.endpoint_id == endpoint_id}
            self.reordered = True

    @rule(endpoint_id=st.sampled_from(("ep_b", "ep_c")))
    def remove_endpoint(self, endpoint_id: str) -> None:
        self._cancel([view for view in self._views() if view.endpoint_id == endpoint_id and view.state in UNFINISHED])
        self.ask("remove_endpoint", endpoint_id, self.now)
        self.patterns.pop(endpoint_id, None)

    @rule(endpoint_id=endpoint_ids, record=records, worker=workers)
    def send_test(self, endpoint_id: str, record: str, worker: str) -> None:
        made, until = event(self.events + 1, record), self.now + timedelta(seconds=30)
        answer = self.ask("send_test", endpoint_id, made, worker, self.now, until)
        if isinstance(answer, LeasedDelivery):
            self.events += 1
            self.wanted += 1
            self._hold(worker, [answer])
            self.apart.add(answer.id)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        """One that is not finished is hurried, and keeps its line."""
        delivery_id = f"dlv_{data.draw(st.integers(1, self.wanted))}"
        finished = any(view.id == delivery_id and view.state not in UNFINISHED for view in self._views())
        if self.ask("retry", delivery_id, self.now) is None and finished:
            self.apart.discard(delivery_id)
            del self.final[delivery_id], self.attempts[delivery_id]

    @rule(endpoint_id=st.none() | endpoint_ids, dead=st.booleans(), limit=st.integers(1, 4))
    def replay(self, endpoint_id: str | None, dead: bool, limit: int) -> None:
        which = DeliveryFilter(endpoint_id=endpoint_id, state=DeliveryState.DEAD if dead else None)
        fitting = [
            view
            for view in self._views()
            if view.state in ((DeliveryState.DEAD,) if dead else self.final.values())
            and view.endpoint_id in (self.patterns if endpoint_id is None else {endpoint_id} & self.patterns.keys())
        ]
        done = [self.run(self._replayed(outbox, which, limit)) for outbox in self.outboxes]
        assert all(each == done[0] for each in done)
        again = {view.id for view in fitting if not view.expunged}
        self.final = {each: state for each, state in self.final.items() if each not in again}
        self.attempts = Counter({each: made for each, made in self.attempts.items() if each not in again})
        self.apart -= again
        self.wanted = len(self._views())

    async def _replayed(self, outbox: OutboxStore, which: DeliveryFilter, limit: int) -> tuple[int, int] | str:
        """Step by step: how many deliveries, and how many were expunged; or the refusal."""
        deliveries, expunged, after = 0, 0, None
        try:
            while True:
                step = await outbox.replay(which, limit, self.now, after)
                deliveries, expunged, after = deliveries + step.deliveries, expunged + step.expunged, step.after
                if after is None:
                    return deliveries, expunged
        except UsageError as refusal:
            return str(refusal)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def expunge(self, data: st.DataObject) -> None:
        expunged = f"evt_{data.draw(st.integers(1, self.events))}"
        unfinished = [view for view in self._views() if view.event_id == expunged and view.state in UNFINISHED]
        assert self.ask("expunge", [expunged], self.now) == len(unfinished)
        self._cancel(unfinished)

    @rule()
    def reopen(self) -> None:
        self.run(self.durable.close())
        self.run(self.durable.open())

    @invariant()
    def counts_times_and_lists_agree_with_the_log(self) -> None:
        counts: dict[str, Counter[DeliveryState]] = {one.id: Counter() for one in self.ask("endpoints")}
        for view in self.ask("deliveries", EVERYTHING, 1000):
            if view.endpoint_id in counts:
                counts[view.endpoint_id][view.state] += 1
        assert self.ask("counts") == counts
        due = {endpoint_id: places[0][0] for endpoint_id, places in self._due().items()}
        assert self.ask("next_due", self.now) == min(due.values(), default=None)
        others = [time for endpoint_id, time in due.items() if endpoint_id != "ep_a"]
        assert self.ask("next_due", self.now, {"ep_a"}) == min(others, default=None)
        assert self.ask("oldest_due", self.now) == {each: time for each, time in due.items() if time <= self.now}
        assert self.ask("position", "main") == self.position
        assert [each.id for each in self.ask("events", 1000)] == [f"evt_{1 + each}" for each in range(self.events)]

    @invariant()
    def leases_attempts_and_ends_are_those_that_were_made(self) -> None:
        views = self._views()
        assert {view.id: view.attempts for view in views} == {view.id: self.attempts[view.id] for view in views}
        assert {view.id for view in views if view.state is DeliveryState.LEASED} == self.held.keys()
        assert {view.id: view.state for view in views if view.state not in UNFINISHED} == self.final

    @invariant()
    def nothing_is_lost_and_order_holds(self) -> None:
        views = self._views()
        assert len(views) == self.wanted
        if not self.reordered:
            self.run(check_order(self.durable, self.apart))
        for view in views:
            assert (view.finished_at is None) == (view.state in UNFINISHED)

    @invariant()
    def lines_hold_across_renames(self) -> None:
        """Of all that must go one after the other: when nothing is leased, just the oldest is pending; else nothing
        is."""
        lines: dict[tuple[str, str], list[DeliveryState]] = defaultdict(list)
        for view in reversed(self._views()):
            if view.state in UNFINISHED:
                lines[view.endpoint_id, self._line(view)].append(view.state)
        for states in lines.values():
            free = [state for state in states if state is not DeliveryState.LEASED]
            pending = [] if len(free) < len(states) else [DeliveryState.PENDING]
            assert free == pending + [DeliveryState.WAITING] * (len(free) - len(pending))

    def _views(self) -> list[DeliveryView]:
        return self.run(self.durable.deliveries(EVERYTHING, 1000))

    def _line(self, delivery: DeliveryView | LeasedDelivery) -> str:
        """At its endpoint: names that renames joined are one record."""
        order = self.orders[delivery.endpoint_id]
        if order is Order.RECORD or delivery.id in self.apart:
            return self.joined[delivery.record]
        return "" if order is Order.ENDPOINT else delivery.id

    def _drain(self) -> None:
        """Whatever happened before, everything of an enabled endpoint arrives, line by line in order."""
        for one in self.ask("endpoints"):
            self.ask("change_endpoint", one.id, EndpointChange(enabled=True))
        self.now += timedelta(hours=1)  # every retry is due
        for worker in WORKERS:  # of what is leased, a younger one of a line may go before an older one, or with it
            self.ask("release", worker, self.now)
        sent: dict[tuple[str, str], int] = {}
        while leased := self.ask("lease", "w1", self.now, self.now + timedelta(seconds=30), 5, None):
            for delivery in leased:
                number = int(delivery.event_id.removeprefix("evt_"))
                line = delivery.endpoint_id, self._line(delivery)
                assert sent.get(line, 0) < number
                sent[line] = number
            self.ask("finish", "w1", [outcome(delivery) for delivery in leased], self.now)
        assert not [view for view in self._views() if view.state in UNFINISHED]


def _lease_id(lease: tuple[str, LeasedDelivery]) -> tuple[str, int]:
    return lease[1].id, lease[1].attempt


class PostgresOutboxes(Outboxes):
    database: ClassVar[Database]

    def empty_outboxes(self) -> list[OutboxStore]:
        self.database.execute("DROP SCHEMA IF EXISTS cdc_outbox CASCADE")
        return [PostgresOutbox(self.database.info), MemoryOutbox()]


@pytest.fixture
def postgres(postgres_db: Database) -> None:
    PostgresOutboxes.database = postgres_db


def settings_of(number: int) -> settings:
    return settings(
        max_examples=examples(number), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )


TestOutboxes = Outboxes.TestCase
TestOutboxes.settings = settings_of(60)
TestPostgresOutboxes = pytest.mark.usefixtures("postgres")(PostgresOutboxes.TestCase)
TestPostgresOutboxes.settings = settings_of(20)  # a step asks a server a dozen times
