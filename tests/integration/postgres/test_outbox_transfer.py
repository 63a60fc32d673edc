"""`cdc outbox migrate`: everything moves, in any direction, to an empty outbox that nobody uses."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc.model.change import Position
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Order
from cdc.outbox.database import migrations
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.postgres.schema import ENGINE
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from cdc.outbox.transfer import COLUMNS, TransferPart
from support.consumer import Consumer, database_url
from support.database import Database
from support.outboxes import EVERYTHING, NOW, endpoint, event, finish, lease

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {
    "former_secret_until": EARLIER, "timeout": 2.5, "retry_schedule": (0.5, 300), "concurrency": 3, "origin": "x.es",
    "rate": 2.5, "batch_size": 50, "batch_wait": 0.25, "fields": ("idfactura", "total"), "proxy": "outgoing",
    "headers": (("X-Api-Key", "k1"), ("X-Tenant", "")), "client_certificate": "bank", "disable_after": 86_400.5,
}  # fmt: skip


async def fill(outbox: OutboxStore) -> None:
    """Every state, a rename, a removed endpoint, a dead letter; a lease that expired; an endpoint that fails, with all
    settings."""
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_a", description="Señor", former_secret="whsec_Zm9ybWVy", **SETTINGS))
    await outbox.add_endpoint(endpoint("ep_gone"))
    events = [event(1, "c:A"), event(2, "c:B", renamed_from="c:A"), event(3), event(4), event(5), event(6)]
    await outbox.store("main", Position("p7"), events, {"user:ann": "in"}, EARLIER)
    await outbox.remove_endpoint("ep_gone", EARLIER)
    first, third, fourth, _ = await lease(outbox, EARLIER, limit=4)
    await finish(outbox, third, now=EARLIER)
    await finish(outbox, fourth, state=DeliveryState.DEAD, now=EARLIER)
    await finish(outbox, first, state=DeliveryState.PENDING, due_at=EARLIER + timedelta(days=9000), now=EARLIER)
    await outbox.close()


async def content(outbox: OutboxStore) -> dict[str, Any]:
    await outbox.open()
    views = await outbox.deliveries(EVERYTHING, 100)
    found = {
        "endpoints": await outbox.endpoints(),
        "events": [asdict(one) for one in await outbox.events(100)],
        "deliveries": views,
        "attempts": [await outbox.attempts(view.id) for view in views],
        "counts": await outbox.counts(),
        "activity": await outbox.activity([NOW - timedelta(days=9999), NOW + timedelta(days=9999)]),
        "position": await outbox.position("main"),
        "states": await outbox.states("main"),
    }
    await outbox.close()
    return found


async def test_all_of_it_moves_there_and_back(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    first, there = SqliteOutbox(tmp_path / "cdc.db"), PostgresOutbox(postgres_db.info)
    await fill(first)
    url = database_url(postgres_db.info)
    moved = json.loads(await consumer.call("outbox", "migrate", f"sqlite:///{tmp_path / 'cdc.db'}", url, "--json"))
    assert {part: number for part, number in moved.items() if number} == {
        "endpoint": 2, "event": 6, "delivery": 12, "attempt": 3, "lane_alias": 1, "source_position": 1,
        "source_state": 1, "activity": 1,
    }  # fmt: skip
    before = await content(first)
    assert {view.state for view in before["deliveries"]} == set(DeliveryState)
    assert before["endpoints"][0] == replace(
        endpoint("ep_a", description="Señor", former_secret="whsec_Zm9ybWVy", **SETTINGS), failing_since=NOW
    )
    assert await content(there) == before
    await consumer.call("outbox", "migrate", url, f"sqlite:///{tmp_path / 'back.db'}")
    assert await content(SqliteOutbox(tmp_path / "back.db")) == before


async def test_an_order_and_a_condition_move_as_well(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    first, there = SqliteOutbox(tmp_path / "cdc.db"), PostgresOutbox(postgres_db.info)
    await first.open()
    for order in Order:
        await first.add_endpoint(endpoint(f"ep_{order.value}", order=order))
    await first.store("main", Position("p"), [event(1, "a:1"), event(2, "a:1"), event(3)], {}, EARLIER)
    await first.add_endpoint(endpoint("ep_if", condition="data.total > 1.0"))
    await first.close()
    url = database_url(postgres_db.info)
    await consumer.call("outbox", "migrate", f"sqlite:///{tmp_path / 'cdc.db'}", url)
    assert await content(there) == await content(first)
    await consumer.call("outbox", "migrate", url, f"sqlite:///{tmp_path / 'back.db'}")
    for outbox in (there, SqliteOutbox(tmp_path / "back.db")):
        await outbox.open()
        leased = [(one.endpoint_id, one.event_id) for one in await lease(outbox, EARLIER)]
        assert sorted(leased) == [
            ("ep_endpoint", "evt_1"), ("ep_none", "evt_1"), ("ep_none", "evt_2"), ("ep_none", "evt_3"),
            ("ep_record", "evt_1"), ("ep_record", "evt_3"),
        ]  # fmt: skip
        await outbox.close()


async def test_what_moved_goes_on(postgres_db: Database, tmp_path: Path) -> None:
    """Order across the move, new ids behind the old ones, no endpoint's id twice."""
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    await fill(SqliteOutbox(tmp_path / "cdc.db"))
    await consumer.call("outbox", "migrate", f"sqlite:///{tmp_path / 'cdc.db'}", database_url(postgres_db.info))
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_b"))
    await outbox.store("main", Position("p8"), [event(7, "c:A")], {}, EARLIER)
    late = EARLIER + timedelta(days=9001)
    sent = []
    while leased := await lease(outbox, late):
        sent += [(one.endpoint_id, one.event_id) for one in leased]
        await finish(outbox, *leased, now=late)
    ours = [event_id for endpoint_id, event_id in sent if endpoint_id == "ep_a"]
    assert [one for one in ours if one in ("evt_1", "evt_2", "evt_7")] == ["evt_1", "evt_2", "evt_7"]
    assert sorted(ours) == ["evt_1", "evt_2", "evt_5", "evt_6", "evt_7"]
    assert ("ep_b", "evt_7") in sent
    assert [one.sequence for one in await outbox.events(100)] == list(range(1, 8))
    await outbox.close()


async def test_it_refuses_what_would_mix_or_send_twice(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    source, url = f"sqlite:///{tmp_path / 'cdc.db'}", database_url(postgres_db.info)
    assert "There is no outbox" in consumer.fail("outbox", "migrate", source, url, expect=2)
    assert "is not the URL of an outbox" in consumer.fail("outbox", "migrate", source, "mysql://a:b@h/c", expect=2)
    store = SqliteOutbox(tmp_path / "cdc.db")
    await fill(store)
    await store.open()
    now = datetime.now(UTC)
    await lease(store, now, limit=1)
    assert "are being sent" in consumer.fail("outbox", "migrate", source, url)
    await store.release("w", now)
    assert await store.become_dispatcher()
    assert "A process dispatches from the outbox" in consumer.fail("outbox", "migrate", source, url)
    await store.close()
    consumer.run("outbox", "migrate", source, url)
    assert "is not empty" in consumer.fail("outbox", "migrate", source, url, expect=2)


async def test_no_table_and_no_column_is_forgotten(postgres_db: Database, tmp_path: Path) -> None:
    """Whoever adds one to the outbox must move it, too."""
    beside = {"finished_count", "endpoint_outline", "migration"}  # computed; of the schema
    beside |= {"resealing"}  # of the tables of this outbox, with its own keys
    beside |= {"worker", "source_lease", "live_worker", "endpoint_version", "endpoint_limit"}  # of processes that run
    store = SqliteOutbox(tmp_path / "cdc.db")
    await store.open()
    await store.close()
    with closing(sqlite3.connect(tmp_path / "cdc.db")) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}
    assert tables - beside == {part.value for part in TransferPart}
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    await outbox.close()
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'cdc_outbox'"
    postgres = {tuple(row) for row in postgres_db.execute(query)}
    assert {table for table, _ in postgres} - beside == {part.value for part in TransferPart}
    for part in set(TransferPart) - {TransferPart.ENDPOINTS}:
        assert set(COLUMNS[part]) == set(columns[part]) == {column for table, column in postgres if table == part}


@pytest.mark.parametrize("by", ["dba", "consumer"])
async def test_the_printed_sql_makes_the_tables(by: str, postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.with_sources(tmp_path, f'[source.main]\nurl = "{database_url(postgres_db.info)}"')
    if by == "dba":
        postgres_db.script(consumer.run("outbox", "sql"))
    outbox = PostgresOutbox(postgres_db.info)
    await outbox.open()
    await outbox.close()
    made = postgres_db.execute("SELECT number, name FROM cdc_outbox.migration ORDER BY number")
    assert made == [(step.number, step.name) for step in migrations(ENGINE)]
