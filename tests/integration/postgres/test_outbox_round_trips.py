"""A store on PostgreSQL is one statement, wherever nothing but events, positions and states is stored."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.model.change import Position
from cdc.model.errors import PositionMoved
from cdc.outbox.base import Fence, HandOver, Stored
from cdc.outbox.database import postgres_statements
from cdc.outbox.postgres.database import PostgresDatabase
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import NOW, at, endpoint, event, event_ids, states_of, stored_together
from support.outboxes import store as put

INSERTS = ("set_position", "insert_event", "insert_delivery", "lease_new")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements, in order."""
    names, query, write = list[str](), PostgresDatabase.query, PostgresDatabase.write
    known = {text: name for name, text in postgres_statements().items()}

    async def noting_query(self: PostgresDatabase, text: str, parameters: Any) -> Any:
        names.append(known.get(text, text))
        return await query(self, text, parameters)

    async def noting_write(self: PostgresDatabase, name: str, /, **parameters: Any) -> int:
        names.append(name)
        return await write(self, name, **parameters)

    monkeypatch.setattr(PostgresDatabase, "query", noting_query)
    monkeypatch.setattr(PostgresDatabase, "write", noting_write)
    return names


async def test_stores_of_several_sources_are_one_statement(postgres_outbox_db: Database, ran: list[str]) -> None:
    outbox = PostgresOutbox(postgres_outbox_db.info)
    await outbox.open()
    for name in ("ep_a", "ep_b"):
        await outbox.add_endpoint(endpoint(name, sources=(name[-1],)))
    await put(outbox, event(90))  # reads the endpoints
    offer = HandOver("w", at(60), (), 8, lambda _: None)
    ran.clear()
    results, _ = await stored_together(
        outbox,
        outbox.store("a", Position("1"), [event(1)._replace(source="a")], {"x": "1", "y": None}, NOW, hand_over=offer),
        outbox.store("b", Position("7"), [event(2)._replace(source="b")], {}, NOW, fence=Fence(None), hand_over=offer),
    )
    assert ran == ["store", "store"]  # the first of them is what the others waited for
    stored = [each for each in results if isinstance(each, Stored)]
    assert [(each.events, each.deliveries, event_ids(list(each.leased))) for each in stored] == [
        (1, 1, ["evt_1"]),
        (1, 1, ["evt_2"]),
    ]
    await outbox.store("a", Position("2"), [], {"x": None, "z": "3"}, NOW)
    assert (await outbox.states("a"), await outbox.position("a")) == ({"z": "3"}, "2")
    await outbox.close()


async def test_what_changed_since_is_stored_step_by_step(postgres_outbox_db: Database, ran: list[str]) -> None:
    """Another process adds an endpoint, stores for the source, or has stored the event; nothing is stored twice."""
    outbox, other = PostgresOutbox(postgres_outbox_db.info), PostgresOutbox(postgres_outbox_db.info)
    await outbox.open()
    await other.open()
    await outbox.add_endpoint(endpoint())
    await put(outbox, event(90))
    await other.add_endpoint(endpoint("ep_b"))
    ran.clear()
    assert await outbox.store("a", Position("1"), [event(1)], {}, NOW) == Stored(1, 2)
    assert ran[0] == "store"
    assert {*INSERTS[:3]} <= set(ran)
    assert await outbox.store("a", Position("2"), [event(1), event(2)], {}, NOW) == Stored(1, 2)
    await other.store("a", Position("9"), [], {}, NOW)
    with pytest.raises(PositionMoved):
        await outbox.store("a", Position("3"), [event(3)], {"x": "1"}, NOW, fence=Fence(Position("2")))
    with pytest.raises(PositionMoved):
        await outbox.store("a", Position("3"), [event(3)], {}, NOW, fence=Fence(Position("9"), epoch=5))
    assert (await outbox.position("a"), await outbox.states("a")) == ("9", {})
    assert [each.id for each in await outbox.events(9)] == ["evt_90", "evt_1", "evt_2"]
    await outbox.close()
    await other.close()


async def test_later_delivery_of_a_record_waits(postgres_outbox_db: Database, ran: list[str]) -> None:
    outbox = PostgresOutbox(postgres_outbox_db.info)
    await outbox.open()
    await outbox.add_endpoint(endpoint())
    await put(outbox, event(90))
    ran.clear()
    await outbox.store("main", Position("1"), [event(1, "r:1"), event(2, "r:1")], {}, NOW)
    await outbox.store("main", Position("2"), [event(3, "r:1"), event(4, "r:2")], {}, NOW)
    assert ran == ["store", "store"]
    assert await states_of(outbox, 1, 2, 3, 4) == "pending waiting waiting pending"
    await outbox.close()
