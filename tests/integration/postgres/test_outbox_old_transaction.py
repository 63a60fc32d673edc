"""While an old transaction (a backup) is open, PostgreSQL removes nothing of what was finished since: leases do not
read it again and again, and find everything all the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from cdc.database.postgres_connection import conninfo
from cdc.model.delivery import DueEndpoints, LeasedDelivery
from cdc.outbox.postgres import floors
from cdc.outbox.postgres.dispatch import SOON, lease_statement
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import NOW, Processes, at, endpoint, event, finish, lease, store

FINISHED = 2000
#: Deliveries to both endpoints, each stored, leased and recorded, as PostgreSQL keeps them.
STORED = """
INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload)
SELECT n, 'evt_old' || n, 'invoice.updated', 'main', 'facturascli:' || n, now(), '{}'
FROM generate_series(1, %(number)s) AS n
""", """
INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)
SELECT (n - 1) * 2 + ep, n, ep, n, 1, %(now)s - interval '1 hour' + n * interval '1 ms', now()
FROM generate_series(1, %(number)s) AS n, generate_series(1, 2) AS ep
""", """
UPDATE cdc_outbox.delivery SET worker = 'w', due = due + interval '60 s', attempts = 1
""", """
UPDATE cdc_outbox.delivery SET state = 2, worker = NULL, finished_at = due
"""  # fmt: skip


@pytest.fixture
def old(postgres_outbox_db: Database) -> psycopg.Connection:
    return psycopg.connect(conninfo(postgres_outbox_db.info, "backup"))


@pytest_asyncio.fixture
async def outboxes(
    processes: Processes, postgres_outbox_db: Database, old: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[PostgresOutbox]]:
    """Two processes; the first has noticed that searches for due deliveries read much, and has made a whole one."""
    monkeypatch.setattr(floors, "MANY_READS", FINISHED)
    for name in ("CONTINUED", "WHOLE"):
        monkeypatch.setattr(floors, name, math.inf)
    first, second = await processes(2)
    for each in ("ep_a", "ep_b"):
        await first.add_endpoint(endpoint(each))
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT count(*) FROM cdc_outbox.delivery")
    for statement in STORED:
        postgres_outbox_db.execute(statement, {"number": FINISHED, "now": NOW})
    await look(first, active=True)
    assert not await lease(first, NOW)
    yield [first, second]
    old.close()


async def look(outbox: PostgresOutbox, *, active: bool) -> None:
    """Lease nothing until the server has counted what that reads."""
    outbox._shared.floors._check_at = 0.0
    async with asyncio.timeout(120):
        while outbox._shared.floors.active != active:
            assert not await lease(outbox, NOW)
            await asyncio.sleep(0.02)


def pages(database: Database, text: str, **values: Any) -> int:
    """Pages that a statement reads, of the index and of rows."""
    given = {"worker": "x", "now": at(900), "until": at(960), "limit": 10, "rooms": "{}"} | values
    with psycopg.connect(conninfo(database.info, "plans"), autocommit=True) as db:
        db.execute("SET enable_seqscan = off")
        row = db.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}".encode(), given).fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def ids(leased: list[LeasedDelivery]) -> set[tuple[str, str]]:
    return {(each.endpoint_id, each.event_id) for each in leased}


async def test_a_lease_reads_little_of_what_was_finished(
    outboxes: list[PostgresOutbox], postgres_outbox_db: Database
) -> None:
    outbox, _ = outboxes
    await store(outbox, *map(event, range(1, 4)), now=at(20))
    await finish(outbox, *await lease(outbox, at(20)))
    whole = pages(postgres_outbox_db, lease_statement(only=False))
    continued = pages(postgres_outbox_db, lease_statement(only=False, resumed=True), **outbox._shared.floors.begin())
    assert continued < whole / 10, "all pages of rows and index, and a few"
    assert await outbox.next_due(at(30)) == at(30) + SOON, "and what is due next is not searched"


async def test_a_whole_search_finds_what_falls_due_with_an_earlier_time(outboxes: list[PostgresOutbox]) -> None:
    outbox, other = outboxes
    await store(other, event(1), now=at(-100))
    assert not await lease(outbox, at(1))
    outbox._shared.floors._whole_at = 0.0
    assert ids(await lease(outbox, at(2))) == {("ep_a", "evt_1"), ("ep_b", "evt_1")}


async def test_a_record_s_next_delivery_is_found_where_it_was_stored(outboxes: list[PostgresOutbox]) -> None:
    outbox, _ = outboxes
    await store(outbox, event(1, "orden:1"), event(2, "orden:1"), now=at(10))
    first = await lease(outbox, at(10), ep_a=1, ep_b=0)
    await store(outbox, event(3), now=at(60))
    assert ids(await lease(outbox, at(60), ep_a=1, ep_b=0)) == {("ep_a", "evt_3")}
    given = outbox._shared.floors.begin()  # of a search that sees nothing of the following record
    await finish(outbox, *first)
    outbox._shared.floors.leased([], at(61), 10, {"ep_a": 10}, only=False)
    assert ids(await lease(outbox, at(61), ep_a=1, ep_b=0)) == {("ep_a", "evt_2")}, given


async def test_an_endpoint_without_room_keeps_its_place(outboxes: list[PostgresOutbox]) -> None:
    outbox, _ = outboxes
    await store(outbox, event(1), now=at(20))
    assert ids(await lease(outbox, at(20), ep_a=10, ep_b=0)) == {("ep_a", "evt_1")}
    await store(outbox, event(2), now=at(50))
    assert ids(await lease(outbox, at(50), limit=2)) == {("ep_a", "evt_2"), ("ep_b", "evt_1")}
    assert ids(await lease(outbox, at(50), limit=2)) == {("ep_b", "evt_2")}
    assert not await lease(outbox, at(51))


async def test_another_worker_s_expired_lease_is_taken(outboxes: list[PostgresOutbox]) -> None:
    outbox, other = outboxes
    await store(other, event(1), now=at(10))
    assert len(await lease(other, at(10), worker="gone", seconds=60)) == 2
    await store(other, event(2), now=at(60))
    assert len(await lease(outbox, at(60))) == 2
    assert ids(await lease(outbox, at(71))) == {("ep_a", "evt_1"), ("ep_b", "evt_1")}


async def test_of_many_endpoints_those_with_something_due_are_found(outboxes: list[PostgresOutbox]) -> None:
    outbox, _ = outboxes
    outbox._shared.floors._whole_at = 0.0
    await store(outbox, event(1), now=at(10))
    found = await outbox.due_endpoints(at(10), 5, 0, ["ep_b"])
    assert found == DueEndpoints(["ep_a"], 0)
    assert len(await outbox.lease("w", at(10), at(90), 10, {"ep_a": 5}, only=True)) == 1
    assert await outbox.due_endpoints(at(20), 5, 0) == DueEndpoints(["ep_b"], 0), "it had no room before"
    assert len(await outbox.lease_of("ep_b", "w", at(20), at(90), 10)) == 1
    assert await outbox.due_endpoints(at(30), 5, 0) == DueEndpoints([], 0)


async def test_searches_are_whole_again_when_the_transaction_ended(
    outboxes: list[PostgresOutbox], postgres_outbox_db: Database, old: psycopg.Connection
) -> None:
    outbox, _ = outboxes
    old.close()
    postgres_outbox_db.execute("VACUUM cdc_outbox.delivery")
    await look(outbox, active=False)
    await store(outbox, event(1), now=at(-100))
    assert len(await lease(outbox, at(1))) == 2
