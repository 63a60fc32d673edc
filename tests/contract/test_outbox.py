"""What every outbox holds: storing, positions, states, events."""

from __future__ import annotations

from datetime import timedelta, timezone

import orjson
import pytest

from cdc.model.change import Position
from cdc.model.errors import PositionMoved, UsageError
from cdc.model.event import event_payload
from cdc.outbox.base import Fence, Stored
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, NOW, at, endpoint, event, event_ids, lease, store


async def test_a_new_outbox_is_empty(outbox: OutboxStore) -> None:
    assert await outbox.position("main") is None
    assert await outbox.states("main") == {}
    assert await outbox.endpoints() == []
    assert await outbox.events(10) == []
    assert await outbox.deliveries(EVERYTHING, 10) == []
    assert await outbox.counts() == {}
    assert await outbox.next_due(NOW) is None
    assert await lease(outbox) == []


async def test_events_deliveries_position_and_states_are_stored(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    stored = await outbox.store("main", Position("p1"), [event(1), event(2)], {"user:ann": "in"}, NOW)
    assert stored == Stored(events=2, deliveries=2)
    assert await outbox.position("main") == "p1"
    assert await outbox.states("main") == {"user:ann": "in"}
    assert [one.id for one in await outbox.events(10)] == ["evt_1", "evt_2"]
    assert len(await outbox.deliveries(EVERYTHING, 10)) == 2


async def test_a_batch_without_events_moves_the_position(outbox: OutboxStore) -> None:
    assert await outbox.store("main", Position("p9"), [], {}, NOW) == Stored(0, 0)
    assert await outbox.position("main") == "p9"


async def test_sources_have_their_own_positions_and_states(outbox: OutboxStore) -> None:
    await outbox.store("main", Position("p1"), [], {"a": "1", "b": "2"}, NOW)
    await outbox.store("shop", Position("q1"), [], {"a": "3"}, NOW)
    await outbox.store("main", Position("p2"), [], {"a": None, "b": "4", "gone": None}, NOW)
    assert (await outbox.position("main"), await outbox.position("shop")) == ("p2", "q1")
    assert (await outbox.states("main"), await outbox.states("shop")) == ({"b": "4"}, {"a": "3"})


@pytest.mark.parametrize("stored", [None, Position("p1")])
async def test_fence_behind_the_stored_position_lets_the_next_one_in(
    outbox: OutboxStore, stored: Position | None
) -> None:
    if stored is not None:
        await outbox.store("main", stored, [], {}, NOW, fence=Fence(None))
    assert (await outbox.store("main", Position("p2"), [event(1)], {}, NOW, fence=Fence(stored))).events == 1
    assert await outbox.position("main") == "p2"


@pytest.mark.parametrize(
    ("stored", "expected"), [(None, "p1"), ("p1", None), ("p0", "p1")], ids=["gone", "another's", "older"]
)
async def test_fence_behind_another_position_stores_nothing(
    outbox: OutboxStore, stored: str | None, expected: str | None
) -> None:
    if stored is not None:
        await outbox.store("main", Position(stored), [], {}, NOW)
    fence = Fence(None if expected is None else Position(expected))
    with pytest.raises(PositionMoved, match="source main"):
        await outbox.store("main", Position("p2"), [event(1)], {"a": "1"}, NOW, fence=fence)
    assert await outbox.position("main") == stored
    assert (await outbox.events(9), await outbox.states("main")) == ([], {})


async def test_open_outbox_exists_and_is_in_its_place(outbox: OutboxStore) -> None:
    assert await outbox.exists()
    await outbox.check()


async def test_nothing_is_stored_when_an_event_cannot_be(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await outbox.store("main", Position("p1"), [event(1)], {"a": "1"}, NOW)
    with pytest.raises(orjson.JSONEncodeError):
        await outbox.store("main", Position("p2"), [event(2), event(3, data={"x": object()})], {"a": "2"}, NOW)
    assert await outbox.position("main") == "p1"
    assert await outbox.states("main") == {"a": "1"}
    assert [one.id for one in await outbox.events(10)] == ["evt_1"]
    assert len(await outbox.deliveries(EVERYTHING, 10)) == 1


async def test_an_event_id_is_stored_once(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await outbox.add_endpoint(endpoint("ep_b"))
    stored = await store(outbox, event(1, data={"other": 1}), event(2), event(2, data={"other": 2}), position="p2")
    assert stored == Stored(events=1, deliveries=2)
    assert await outbox.position("main") == "p2"
    first, second = await outbox.events(10)
    assert (first.payload["data"], second.payload["data"]) == (event(1).data, event(2).data)
    assert len(await outbox.deliveries(EVERYTHING, 10)) == 3


async def test_twins_in_a_batch_stand_where_the_first_stands(outbox: OutboxStore) -> None:
    await store(outbox, event(1), event(2), event(1), event(3))
    assert [one.id for one in await outbox.events(10)] == ["evt_1", "evt_2", "evt_3"]


async def test_each_endpoint_gets_the_events_that_it_wants(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_all"))
    await outbox.add_endpoint(endpoint("ep_paid", events=("invoice.paid", "receipt.*")))
    await outbox.add_endpoint(endpoint("ep_shop", sources=("shop",)))
    await outbox.add_endpoint(endpoint("ep_off", enabled=False, events=("*.paid",)))
    events = [
        event(1, name="invoice.paid"),
        event(2, name="invoice.updated"),
        event(3, name="receipt.created", source="shop"),
    ]
    assert await store(outbox, *events) == Stored(events=3, deliveries=7)
    got = [(view.event_id, view.endpoint_id) for view in reversed(await outbox.deliveries(EVERYTHING, 20))]
    assert got == [
        ("evt_1", "ep_all"),
        ("evt_1", "ep_paid"),
        ("evt_1", "ep_off"),
        ("evt_2", "ep_all"),
        ("evt_3", "ep_all"),
        ("evt_3", "ep_paid"),
        ("evt_3", "ep_shop"),
    ]


async def test_an_event_that_nobody_wants_is_kept(outbox: OutboxStore) -> None:
    assert await store(outbox, event(1)) == Stored(events=1, deliveries=0)
    assert await outbox.event("evt_1") is not None


async def test_an_event_reads_as_it_was_stored(outbox: OutboxStore) -> None:
    one = event(1, time=at(0.123456), data={"name": "Señor O'Brien 😀", "paid": True, "total": 0.1, "none": None})
    await outbox.add_endpoint(endpoint())
    await store(outbox, one)
    found = await outbox.event("evt_1")
    assert found is not None
    assert (found.id, found.name, found.source, found.record, found.time) == (
        "evt_1",
        one.name,
        "main",
        one.record,
        one.time,
    )
    assert found.payload == orjson.loads(event_payload(one))
    assert (await lease(outbox))[0].body_event == event_payload(one)
    assert await outbox.event("evt_2") is None


async def test_times_of_another_zone_are_the_same_moments(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    madrid = at(1).astimezone(timezone(timedelta(hours=1)))
    await store(outbox, event(1, time=madrid), now=madrid)
    assert await lease(outbox, at(0)) == []
    assert event_ids(await lease(outbox, at(1))) == ["evt_1"]


async def test_events_are_listed_in_the_order_stored(outbox: OutboxStore) -> None:
    for number in range(1, 8):
        await store(outbox, event(number, name="invoice.paid" if number % 2 else "stock.changed"))
    newest = await outbox.events(3)
    assert [one.id for one in newest] == ["evt_5", "evt_6", "evt_7"]
    assert [one.sequence for one in newest] == sorted(one.sequence for one in newest)
    everything = await outbox.events(100)
    assert [one.id for one in await outbox.events(2, after=everything[1].sequence)] == ["evt_3", "evt_4"]
    assert await outbox.events(2, after=everything[-1].sequence) == []
    assert [one.id for one in await outbox.events(2, pattern="stock.*")] == ["evt_4", "evt_6"]
    assert [one.id for one in await outbox.events(9, after=0, pattern="*.paid")] == ["evt_1", "evt_3", "evt_5", "evt_7"]
    with pytest.raises(UsageError, match="not an event pattern"):
        await outbox.events(9, pattern="[a-z]")


async def test_changed_tells_of_writes_since_the_last_call(outbox: OutboxStore) -> None:
    await outbox.changed()
    assert not await outbox.changed()
    await outbox.add_endpoint(endpoint())
    assert await outbox.changed()
    assert not await outbox.changed()
    await store(outbox, event(1))
    assert await outbox.changed()
    await lease(outbox, at(-1))  # nothing due, nothing written
    await outbox.deliveries(EVERYTHING, 10)
    assert not await outbox.changed()


async def test_last_reading_session_of_each_source_is_noted(outbox: OutboxStore) -> None:
    assert await outbox.reading_session("main") == ""
    for session in ("17", "18"):
        await outbox.note_reading_session("main", session)
    await outbox.note_reading_session("other", "19")
    assert [await outbox.reading_session(source) for source in ("main", "other", "third")] == ["18", "19", ""]
    assert await outbox.states("main") == {}
