"""Workers that share the sources of one PostgreSQL outbox: who has a lease, who loses it, and what is refused then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cdc.model.change import Position
from cdc.model.errors import NotFound, OutboxError, PositionMoved
from cdc.model.worker import Census, SourceLease
from cdc.outbox.base import Fence
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import NOW, Processes, endpoint, event
from support.waiting import HANG_SECONDS

SOURCES = ["main", "shop"]


async def until(outbox: PostgresOutbox, name: str, wanted: Callable[[Census], bool]) -> Census:
    """The census once it is as wanted: PostgreSQL notices the end of a session a moment later."""
    async with asyncio.timeout(HANG_SECONDS):
        while not wanted(found := await outbox.workers.sign(name, SOURCES, {})):  # noqa: ASYNC110 - a server's locks
            await asyncio.sleep(0.05)
    return found


async def store(outbox: PostgresOutbox, number: int, behind: Position | None, epoch: int) -> None:
    await outbox.store("main", Position(str(number)), [event(number)], {}, NOW, fence=Fence(behind, epoch))


async def test_a_lease_has_one_live_holder(processes: Processes) -> None:
    one, two = await processes(2)
    assert (await one.workers.sign("a", SOURCES, {})).leases == dict.fromkeys(SOURCES, SourceLease(None, 0, None))
    assert await one.workers.take("a", SOURCES) == {"main": 1, "shop": 1}
    found = await two.workers.sign("b", SOURCES, {})
    assert found.draining == {"a": False, "b": False}
    assert {lease.worker for lease in found.leases.values()} == {"a"}
    assert await two.workers.take("b", SOURCES) == {}


async def test_workers_that_take_at_the_same_time_share_without_a_deadlock(processes: Processes) -> None:
    many = [f"s{number}" for number in range(200)]
    outboxes = await processes(4)
    for number, each in enumerate(outboxes):
        await each.workers.sign(str(number), many, {})
    taken = await asyncio.gather(*(each.workers.take(str(number), many) for number, each in enumerate(outboxes)))
    assert sorted(source for each in taken for source in each) == sorted(many)


async def test_a_worker_whose_process_died_loses_its_sources_at_once(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    await two.workers.sign("b", SOURCES, {})
    await one.close()  # as a kill: it has not left
    found = await until(two, "b", lambda census: "a" not in census.draining)
    assert {lease.worker for lease in found.leases.values()} == {None}
    assert await two.workers.take("b", SOURCES) == {"main": 2, "shop": 2}


async def test_a_worker_that_gives_no_sign_loses_its_sources_and_cannot_store(
    processes: Processes, postgres_outbox_db: Database
) -> None:
    one, two = await processes(2)
    await one.add_endpoint(endpoint())
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    await store(one, 1, None, 1)
    postgres_outbox_db.execute("UPDATE cdc_outbox.worker SET seen_at = seen_at - interval '9 seconds' WHERE name = 'a'")
    await two.workers.sign("b", SOURCES, {})
    assert await two.workers.take("b", ["main"]) == {"main": 2}
    with pytest.raises(PositionMoved):  # nobody has stored since: the epoch alone tells
        await store(one, 2, Position("1"), 1)
    assert await two.event("evt_2") is None
    await store(two, 3, Position("1"), 2)
    back = await one.workers.sign("a", SOURCES, {})
    assert (back.leases["main"].worker, back.leases["shop"].worker) == ("b", "a")
    await one.store("shop", Position("1"), [event(4, source="shop")], {}, NOW, fence=Fence(None, 1))


async def test_a_source_is_handed_to_the_worker_that_asked_for_it(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    await two.workers.sign("b", SOURCES, {})
    await two.workers.want("b", ["main"])
    assert (await one.workers.sign("a", SOURCES, {})).leases["main"] == SourceLease("a", 1, "b")
    await one.workers.release("a", ["main"])
    assert (await two.workers.sign("b", SOURCES, {})).leases["main"] == SourceLease("b", 2, None)
    await two.workers.release("b", ["main"])
    assert (await two.workers.sign("b", SOURCES, {})).leases["main"] == SourceLease(None, 3, None)


async def test_a_worker_that_leaves_frees_its_sources(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    await one.workers.leave("a")
    found = await two.workers.sign("b", SOURCES, {})
    assert found.draining == {"b": False}
    assert {lease.worker for lease in found.leases.values()} == {None}


async def test_two_processes_cannot_be_the_same_worker(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    with pytest.raises(OutboxError, match="Another process is the worker a"):
        await two.workers.sign("a", SOURCES, {})


async def test_a_worker_that_starts_again_has_its_sources_under_new_epochs(processes: Processes) -> None:
    """What its predecessor, perhaps cut off and still at work, stores is refused."""
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", SOURCES)
    await one.close()

    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                found = await two.workers.sign("a", SOURCES, {})
            except OutboxError:  # the server has not noticed yet
                await asyncio.sleep(0.05)
            else:
                break
    assert found.leases == dict.fromkeys(SOURCES, SourceLease("a", 2, None))
    with pytest.raises(PositionMoved):
        await store(one, 1, None, 1)


async def test_a_worker_that_comes_back_gives_the_others_time_to_come_back(
    processes: Processes, postgres_outbox_db: Database
) -> None:
    """The server was restarted: all sessions ended, and the first worker there must not take everything."""
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await one.workers.take("a", ["main"])
    await two.workers.sign("b", SOURCES, {})
    postgres_outbox_db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with pytest.raises(OutboxError):
        await two.workers.sign("b", SOURCES, {})
    assert (await two.workers.sign("b", SOURCES, {})).leases["main"].worker == "a", "not free yet"
    await until(two, "b", lambda census: census.leases["main"].worker is None)


async def test_a_process_without_leases_is_fenced_by_positions_only(processes: Processes) -> None:
    """One of the release before: it knows no epochs."""
    one, two = await processes(2)
    await one.add_endpoint(endpoint())
    await two.workers.sign("b", SOURCES, {})
    await two.workers.take("b", SOURCES)
    await one.store("main", Position("1"), [event(1)], {}, NOW, fence=Fence(None))
    with pytest.raises(PositionMoved):
        await store(two, 2, None, 1)
    await store(two, 2, Position("1"), 1)


async def test_workers_are_listed_with_their_sources_and_lags(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {"main": 2.5})
    await one.workers.take("a", SOURCES)
    await two.workers.sign("b", SOURCES, {})
    await one.close()
    await until(two, "b", lambda census: "a" not in census.draining)
    a, b = await two.workers.workers()
    assert (a.name, a.alive, set(a.sources), a.lags) == ("a", False, set(SOURCES), {"main": 2.5})
    assert (b.name, b.alive, b.draining, b.sources) == ("b", True, False, {})
    assert a.sources["main"].tzinfo is not None


async def test_a_worker_is_drained_until_it_is_told_otherwise_or_starts_again(processes: Processes) -> None:
    one, two = await processes(2)
    await one.workers.sign("a", SOURCES, {})
    await two.workers.drain("a", draining=True)
    assert (await one.workers.sign("a", SOURCES, {})).draining == {"a": True}
    await two.workers.drain("a", draining=False)
    assert (await one.workers.sign("a", SOURCES, {})).draining == {"a": False}
    with pytest.raises(NotFound):
        await two.workers.drain("nobody", draining=True)
