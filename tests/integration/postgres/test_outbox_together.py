"""Several processes on one PostgreSQL outbox: each with sessions of its own, here in one event loop."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from cdc.admin.base import Writes
from cdc.database.postgres_connection import conninfo
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import OutboxUnavailable, PositionMoved
from cdc.model.event import OPERATIONS, Event
from cdc.outbox.base import Fence, HandOver, Stored
from cdc.outbox.postgres import dispatch
from cdc.outbox.postgres import outbox as postgres_outbox
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import (
    EVERYTHING,
    NOW,
    UNFINISHED,
    Processes,
    at,
    check_order,
    endpoint,
    event,
    finish,
    lease,
    outcome,
    state_of,
    states_of,
    store,
    stored_together,
)
from support.waiting import HANG_SECONDS

OUTCOMES = (DeliveryState.DELIVERED, DeliveryState.DELIVERED, DeliveryState.PENDING, DeliveryState.DEAD)


class Work:
    """Everything that processes do to an outbox, at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = itertools.count(1)
        self._relays = 2

    async def relay(self, outbox: PostgresOutbox, source: str) -> None:
        for batch in range(12):
            events = [self._event(source) for _ in range(self._random.randrange(1, 12))]
            await outbox.store(source, Position(str(batch)), events, {}, NOW)
        self._relays -= 1

    def _event(self, source: str, name: str = "invoice.updated") -> Event:
        record, former = (f"c:{self._random.randrange(5)}" for _ in range(2))
        renamed = former if former != record and self._random.random() < 0.1 else None
        return event(next(self._numbers), record, source=source, name=name, renamed_from=renamed)

    async def dispatch(self, outbox: PostgresOutbox, worker: str) -> None:
        idle = 0
        while idle < 10:
            leased = await outbox.lease(worker, at(1), at(60), self._random.randrange(1, 9))
            if self._random.random() < 0.05:
                await outbox.release(worker, at(1))
            else:
                told = [self._event(OPERATIONS, "endpoint.failing")] if leased and self._random.random() < 0.1 else []
                await outbox.finish(worker, [self._ended(delivery) for delivery in leased], at(1), told)
            idle = 0 if leased or self._relays else idle + 1

    def _ended(self, delivery: LeasedDelivery) -> Outcome:
        state = self._random.choice(OUTCOMES)
        return outcome(delivery, state, at(1) if state is DeliveryState.PENDING else None)

    async def operate(self, outbox: PostgresOutbox) -> None:
        while self._relays:
            for view in await outbox.deliveries(EVERYTHING, 200):
                if view.state.final and self._random.random() < 0.02:
                    await outbox.retry(view.id, at(1))
            for enabled in (False, True):
                await outbox.change_endpoint("ep_b", EndpointChange(enabled=enabled))
            await outbox.change_endpoint("ep_c", EndpointChange(order=self._random.choice(list(Order))))
            await check_order(outbox, without=["ep_c"])


@pytest.mark.parametrize("seed", range(4))
async def test_order_holds_whatever_happens_at_the_same_time(seed: int, processes: Processes) -> None:
    """Two that store (with renames), three that dispatch, one that retries, disables, enables, changes orders, and
    looks."""
    one, two, operator, *workers = await processes(6)
    for name in ("ep_a", "ep_b", "ep_c"):
        await one.add_endpoint(endpoint(name, events=("*", "endpoint.*")))
    work = Work(seed)
    dispatching = (work.dispatch(each, f"w{number}") for number, each in enumerate(workers))
    async with asyncio.timeout(100):
        await asyncio.gather(work.relay(one, "main"), work.relay(two, "shop"), work.operate(operator), *dispatching)
    await check_order(one, without=["ep_c"])
    while leased := await lease(one, at(500), worker="last"):
        await one.finish("last", [outcome(delivery) for delivery in leased], at(500))
    views = await one.deliveries(EVERYTHING, 10_000)
    assert not [view for view in views if view.state in UNFINISHED]
    counts = await one.counts()
    assert sum(sum(states.values()) for states in counts.values()) == len(views)


@pytest.mark.parametrize("whole", [True, False], ids=["function", "statements"])
async def test_store_and_finish_wait_for_each_other_only_where_they_share_a_record(
    processes: Processes, postgres_outbox_db: Database, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    """Each is held open in its transaction, beside the other one."""
    one, two = await processes(2)
    await one.add_endpoint(endpoint())
    await one.store("main", Position("1"), [event(1, "r:1"), event(2, "r:2")], {}, NOW)
    if not whole:
        monkeypatch.setattr(postgres_outbox, "plain", lambda _: False)
    postgres_outbox_db.execute(HOLD)
    first, second = await lease(two, limit=2)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold(*_: object) -> None:
        reached.set()
        async with asyncio.timeout(HANG_SECONDS):
            await go_on.wait()

    async with asyncio.timeout(HANG_SECONDS):
        with psycopg.connect(conninfo(postgres_outbox_db.info, "test"), autocommit=True) as holding:
            holding.execute("SELECT pg_advisory_lock(77)")
            storing = asyncio.create_task(one.store("main", Position("2"), [event(3, "r:1")], {}, NOW))
            await asyncio.to_thread(_until_one_waits, postgres_outbox_db)
            finishing = asyncio.create_task(two.finish("w", [outcome(first), outcome(second)], NOW))
            while await state_of(two, "evt_2") is not DeliveryState.DELIVERED:
                assert not finishing.done()
            assert await state_of(two, "evt_1") is DeliveryState.LEASED
            assert not storing.done()
        await asyncio.gather(storing, finishing)
        assert await states_of(two, 1, 2, 3) == "delivered delivered pending"

        (third,) = await lease(two)
        with monkeypatch.context() as patched:
            patched.setattr(dispatch, "_note_health", hold)
            finishing = asyncio.create_task(two.finish("w", [outcome(third)], NOW))
            await reached.wait()
        await one.store("main", Position("3"), [event(4, "r:2")], {}, NOW)
        storing = asyncio.create_task(one.store("main", Position("4"), [event(5, "r:1")], {}, NOW))
        await asyncio.to_thread(_until_one_waits, postgres_outbox_db)
        assert not storing.done()
        go_on.set()
        await asyncio.gather(storing, finishing)
    assert await states_of(two, 3, 4, 5) == "delivered pending pending"


#: Has stores wait for lock 77 once they have inserted deliveries.
HOLD = """
CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NULL; END';
CREATE TRIGGER hold AFTER INSERT ON cdc_outbox.delivery FOR EACH STATEMENT EXECUTE FUNCTION public.hold()
"""


@pytest.mark.parametrize("whole", [True, False], ids=["function", "statements"])
@pytest.mark.parametrize("committed", [False, True])
async def test_server_cut_at_the_commit_of_a_group_that_handed_over(
    processes: Processes, postgres_outbox_db: Database, monkeypatch: pytest.MonkeyPatch, *, committed: bool, whole: bool
) -> None:
    """All of it is there or nothing; what was leased for the process is sent once the lease has expired."""
    (outbox,) = await processes(1)
    for source in ("a", "b"):
        await outbox.add_endpoint(endpoint(f"ep_{source}", sources=(source,)))
    if whole:  # once it has read the endpoints
        await outbox.store("c", Position("1"), [event(9)._replace(source="c")], {}, NOW)

    async def put(number: int, source: str) -> Stored:
        offer = HandOver("w", at(60), (), 8, lambda _: None)
        mine = [event(number, source=source)]
        return await outbox.store(source, Position("1"), mine, {}, NOW, fence=Fence(None), hand_over=offer)

    commits = itertools.count()
    cut = f"SELECT pg_terminate_backend(%s, {int(HANG_SECONDS) * 1000})"

    def cutting(runs: Any, commit: str) -> Any:
        async def run(db: PostgresDatabase, text: str, *parameters: Any) -> Any:
            second = commit in text and next(commits) == 1
            result = await runs(db, text, *parameters) if committed or not second else None
            if not second:
                return result
            ended = await asyncio.to_thread(postgres_outbox_db.execute, cut, [db.connection.info.backend_pid])
            assert ended == [(True,)]
            return await runs(db, text, *parameters)

        return run

    method, commit = ("query", "cdc_outbox.store(") if whole else ("script", "COMMIT; NOTIFY")
    async with asyncio.timeout(HANG_SECONDS):
        with monkeypatch.context() as patched:
            patched.setattr(PostgresDatabase, method, cutting(getattr(PostgresDatabase, method), commit))
            results, transactions = await stored_together(outbox, put(1, "a"), put(2, "b"))
        assert (transactions, [type(each) for each in results]) == ([["a", "b"]], [OutboxUnavailable] * 2)
        again = await asyncio.gather(put(1, "a"), put(2, "b"), return_exceptions=True)
    assert [type(each) for each in again] == [PositionMoved if committed else Stored] * 2
    assert sorted(each.id for each in await outbox.events(9)) == ["evt_1", "evt_2", *["evt_9"] * whole]
    assert await lease(outbox, at(59)) == []
    assert [(each.event_id, each.attempt) for each in await lease(outbox, at(60))] == [("evt_1", 2), ("evt_2", 2)]


async def test_no_delivery_is_leased_twice(processes: Processes) -> None:
    outboxes = await processes(4)
    await outboxes[0].add_endpoint(endpoint())
    await outboxes[0].store("main", Position("1"), [event(number) for number in range(400)], {}, NOW)

    # A process connects when it first leases: while one connects, the others can lease everything.
    all_lease = asyncio.Barrier(len(outboxes))

    async def take(outbox: PostgresOutbox, worker: str) -> list[str]:
        taken = [delivery.id for delivery in await outbox.lease(worker, NOW, at(60), 7)]
        assert len(taken) == 7, worker
        await all_lease.wait()
        while leased := await outbox.lease(worker, NOW, at(60), 7):
            taken += [delivery.id for delivery in leased]
        return taken

    taken = await asyncio.gather(*(take(each, f"w{number}") for number, each in enumerate(outboxes)))
    assert sorted(itertools.chain(*taken)) == sorted(view.id for view in await outboxes[0].deliveries(EVERYTHING, 1000))


async def test_a_write_wakes_the_others(processes: Processes) -> None:
    here, there = await processes(2)
    woken = asyncio.Event()
    there.on_write(woken.set)
    assert await there.changed()
    woken.clear()
    assert not await there.changed()
    await here.add_endpoint(endpoint())
    async with asyncio.timeout(HANG_SECONDS):
        await woken.wait()
    assert await there.changed()
    woken.clear()
    await here.store("main", Position("1"), [event(1)], {}, NOW)
    async with asyncio.timeout(HANG_SECONDS):
        await woken.wait()
    woken.clear()
    (leased,) = await lease(here)
    await here.finish("w", [outcome(leased)], NOW)  # to be seen, but nothing to be sent
    await here.add_endpoint(endpoint("ep_b"))
    async with asyncio.timeout(HANG_SECONDS):
        await woken.wait()  # notifications come in order
    assert (there._listener.writes, await there.changed(), await there.changed()) == (5, True, False)


async def test_who_is_cut_off_hears_again_and_looks(processes: Processes, postgres_outbox_db: Database) -> None:
    here, there = await processes(2)
    woken = asyncio.Event()
    there.on_write(woken.set)
    await there.changed()
    woken.clear()
    listening = "FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^LISTEN'"
    postgres_outbox_db.execute(f"SELECT pg_terminate_backend(pid) {listening}")
    async with asyncio.timeout(HANG_SECONDS):
        await woken.wait()  # whatever it missed meanwhile
    await here.add_endpoint(endpoint())
    assert await there.changed()


async def test_the_same_outcome_recorded_again_is_recorded_once(processes: Processes) -> None:
    """The answer to a commit was lost: the dispatcher cannot know, and records again."""
    (outbox,) = await processes(1)
    await outbox.add_endpoint(endpoint())
    await outbox.store("main", Position("1"), [event(1, "a:1"), event(2, "a:1")], {}, NOW)
    (leased,) = await lease(outbox)
    for _ in range(2):
        await outbox.finish("w", [outcome(leased, DeliveryState.PENDING, NOW)], NOW)
    assert len(await outbox.attempts(leased.id)) == 1
    (again,) = await lease(outbox)
    assert (again.id, again.attempt) == (leased.id, 2)


async def test_endpoints_changed_in_opposite_orders_by_two_processes_make_no_deadlock(
    processes: Processes, postgres_outbox_db: Database
) -> None:
    """The trigger of their version locks it beside their rows: one that changes several waits before the first."""
    (outbox,) = await processes(1)
    for name in ("ep_a", "ep_b"):
        await outbox.add_endpoint(endpoint(name))
    await outbox.store("main", Position("1"), [event(1)], {}, NOW)
    leased = sorted(await outbox.lease("w", NOW, at(60), 2), key=lambda each: each.endpoint_id)
    gone = [outcome(each, DeliveryState.DEAD, disable_reason="gone") for each in leased]
    other = postgres_outbox_db.connect()
    other.execute("SELECT pg_advisory_xact_lock(1667523328, 4)")
    other.execute("UPDATE cdc_outbox.endpoint SET enabled = true WHERE id = 'ep_b'")
    disabling = asyncio.create_task(outbox.finish("w", gone, NOW))
    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.to_thread(_until_one_waits, postgres_outbox_db)
    other.execute("UPDATE cdc_outbox.endpoint SET enabled = true WHERE id = 'ep_a'")
    other.commit()
    await disabling
    assert [each.enabled for each in await outbox.endpoints()] == [False, False]


def _until_one_waits(database: Database) -> None:
    """PostgreSQL announces no wait."""
    waiting = "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not database.execute(waiting):
        time.sleep(0.05)


async def test_a_process_that_stands_still_in_a_transaction_does_not_stop_the_others(
    processes: Processes, postgres_outbox_db: Database
) -> None:
    """The lock that storing needs, held by somebody; given up by the server when its time is over."""
    (outbox,) = await processes(1)
    await outbox.add_endpoint(endpoint())
    still = postgres_outbox_db.connect()
    still.execute("SET idle_in_transaction_session_timeout = '1s'")
    still.execute("SELECT pg_advisory_xact_lock(1667523328, 4)")
    async with asyncio.timeout(HANG_SECONDS):
        assert (await outbox.store("main", Position("1"), [event(1)], {}, NOW)).deliveries == 1


async def test_a_cancelled_call_leaves_no_lock_and_no_half(processes: Processes, postgres_outbox_db: Database) -> None:
    one, two = await processes(2)
    await one.add_endpoint(endpoint())
    holder = postgres_outbox_db.connect()
    holder.execute("SELECT pg_advisory_xact_lock(1667523328, 4)")
    storing = asyncio.create_task(one.store("main", Position("1"), [event(1)], {}, NOW))
    await asyncio.sleep(0.2)  # it waits for the lock: nothing tells
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(HANG_SECONDS):
            await storing
    holder.rollback()
    assert await two.position("main") is None
    assert (await one.store("main", Position("2"), [event(1)], {}, NOW)).events == 1
    assert await two.events(10) == await one.events(10) != []


async def test_text_that_postgresql_cannot_hold_is_kept_readable(processes: Processes) -> None:
    (outbox,) = await processes(1)
    await outbox.add_endpoint(endpoint())
    await outbox.store("main", Position("1"), [event(1, "a:x\0y"), event(2, "a:x\0y")], {"k\0": "v\0"}, NOW)
    (leased,) = await lease(outbox)
    assert leased.record == "a:x\ufffdy"
    await outbox.finish("w", [outcome(leased, DeliveryState.DEAD, error="No\0", answer="\0")], NOW)
    assert [view.state.value for view in await outbox.deliveries(EVERYTHING, 9)] == ["pending", "dead"]
    await outbox.retry(leased.id, NOW + timedelta(seconds=1))
    assert [view.state.value for view in await outbox.deliveries(EVERYTHING, 9)] == ["waiting", "pending"]
    assert await outbox.states("main") == {"k\ufffd": "v\ufffd"}


async def test_a_request_that_waits_hears_of_what_another_process_stores(processes: Processes) -> None:
    here, there = await processes(2)
    await here.add_endpoint(endpoint("ep_pull", url="pull:orders", concurrency=0))
    writes = Writes(here, SystemClock())
    async with writes.watched(), asyncio.timeout(HANG_SECONDS):
        await writes.next.wait()  # the first look
        written = writes.next
        await store(there, event(1))
        await written.wait()
    assert await here.due_of("ep_pull") == NOW


async def test_processes_that_fetch_at_the_same_time_share_the_events(processes: Processes) -> None:
    several = await processes(3)
    await several[0].add_endpoint(endpoint("ep_pull", url="pull:orders", concurrency=0))
    await store(several[0], *[event(number, f"t:{number % 40}") for number in range(200)])
    seen: list[str] = []

    async def fetch(outbox: PostgresOutbox, worker: str) -> None:
        while leased := await outbox.lease_of("ep_pull", worker, at(1), at(61), 7):
            seen.extend(each.event_id for each in leased)
            await finish(outbox, *leased, worker=worker, now=at(1))

    while len(seen) < 200:
        before = len(seen)
        await asyncio.gather(*(fetch(each, f"w{number}") for number, each in enumerate(several)))
        assert len(seen) > before
    assert len(set(seen)) == 200
    numbers = [int(each.removeprefix("evt_")) for each in seen]
    for record in range(40):
        own = [number for number in numbers if number % 40 == record]
        assert own == sorted(own), record
