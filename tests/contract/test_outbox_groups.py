"""Stores of several sources in one transaction: each has its own fence, and what fails of one harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cdc.model.change import Position, SnapshotChange, SnapshotRow
from cdc.model.errors import OutboxError, OutboxUnavailable, PositionMoved
from cdc.model.event import Event
from cdc.outbox.base import Fence, HandOver, Stored
from cdc.outbox.relay import StoreRequest
from cdc.outbox.store import OutboxStore, StoreQueue
from support.outboxes import NOW, at, endpoint, event, event_ids, lease, states_of, stored_together
from support.waiting import HANG_SECONDS

SOURCES = ("a", "b", "c")


async def put(outbox: OutboxStore, source: str, *events: Event, position: str = "1", **fields: Any) -> Stored:
    mine = [each._replace(source=source) for each in events]
    now = at(fields.pop("seconds", 1))
    return await outbox.store(source, Position(position), mine, fields.pop("states", {}), now, **fields)


def hand_over(most: int = 8) -> HandOver:
    return HandOver("w", at(60), (), most, lambda _: None)


async def test_what_waits_is_stored_together_and_each_gets_its_own(outbox: OutboxStore) -> None:
    for source in SOURCES:
        await outbox.add_endpoint(endpoint(f"ep_{source}", sources=(source,)))
    stores = [
        put(outbox, source, event(n), event(n + 1), states={"of": source}, hand_over=hand_over())
        for n, source in zip((1, 3, 5), SOURCES, strict=True)
    ]
    repeated = put(outbox, "a", event(1), event(7), position="2", seconds=1.5, hand_over=hand_over())  # known, and new
    results, transactions = await stored_together(outbox, *stores, repeated)
    assert transactions == [[*SOURCES], ["a"]]
    made = [each for each in results if isinstance(each, Stored)]
    assert [(each.events, each.deliveries) for each in made] == [(2, 2), (2, 2), (2, 2), (1, 1)]
    leased = [[(one.event_id, one.endpoint_id) for one in each.leased] for each in made]
    assert leased == [[("evt_1", "ep_a")], [("evt_3", "ep_b")], [("evt_5", "ep_c")], []]  # ep_a has something due
    assert [await outbox.position(source) for source in SOURCES] == ["2", "1", "1"]
    assert [await outbox.states(source) for source in SOURCES] == [{"of": source} for source in SOURCES]
    assert [each.id for each in await outbox.events(9)] == [f"evt_{n}" for n in (1, 2, 3, 4, 5, 6, 7)]
    assert event_ids(await lease(outbox, at(2))) == ["evt_2", "evt_4", "evt_6", "evt_7"]


async def test_many_share_what_may_be_handed_over(outbox: OutboxStore) -> None:
    for number in range(12):
        await outbox.add_endpoint(endpoint(f"ep_{number}"))
    stores = [put(outbox, source, event(n), hand_over=hand_over(6)) for n, source in enumerate(SOURCES)]
    results, _ = await stored_together(outbox, *stores)
    assert [len(each.leased) for each in results if isinstance(each, Stored)] == [2, 2, 2]


async def test_fence_of_one_holds_back_no_other(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    kept = SnapshotChange("t", (SnapshotRow(b"k", b"d", b"c"),), behind=Position("5"))
    results, transactions = await stored_together(
        outbox,
        put(outbox, "a", event(1), states={"x": "y"}, fence=Fence(Position("0"))),
        put(outbox, "b", event(2), fence=Fence(None), hand_over=hand_over()),
        put(outbox, "c", event(3), kept=kept),
    )
    assert transactions == [[*SOURCES]]
    assert [type(each) for each in results] == [PositionMoved, Stored, PositionMoved]
    assert [each.id for each in await outbox.events(9)] == ["evt_2"]
    assert [await outbox.position(source) for source in SOURCES] == [None, "1", None]
    assert (await outbox.states("a"), await outbox.snapshot_digests("c", "t", 9)) == ({}, [])


async def test_poisonous_event_is_alone_in_failing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    poison: Any = event(2)._replace(id=None)
    results, transactions = await stored_together(
        outbox, put(outbox, "a", event(1)), put(outbox, "b", poison), put(outbox, "c", event(3))
    )
    assert transactions == [[*SOURCES], ["a"], ["b"], ["c"]]
    assert [isinstance(each, OutboxError) for each in results] == [False, True, False]
    assert [each.id for each in await outbox.events(9)] == ["evt_1", "evt_3"]
    assert await outbox.position("b") is None
    assert (await put(outbox, "b", event(4))).events == 1


async def test_renamed_record_in_a_group_keeps_its_order(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await put(outbox, "a", event(1, "r:1"))
    renamed = event(2, "r:2", renamed_from="r:1")
    results, _ = await stored_together(
        outbox, put(outbox, "a", renamed, position="2"), put(outbox, "b", event(3, "r:2"))
    )
    assert results == [Stored(1, 1), Stored(1, 1)]
    assert await states_of(outbox, 1, 2, 3) == "pending waiting pending"


async def test_what_was_handed_to_a_relay_that_ended_is_sent(outbox: OutboxStore) -> None:
    """Its lease would have to expire first."""
    await outbox.add_endpoint(endpoint())
    sent, begun, free = list[str](), asyncio.Event(), asyncio.Event()

    async def run(requests: Sequence[StoreRequest]) -> Any:
        begun.set()
        await free.wait()
        return await outbox._store(requests)

    outbox._stores = StoreQueue(run)
    first = asyncio.create_task(put(outbox, "a"))
    offer = HandOver("w", at(60), (), 8, lambda leased: sent.extend(event_ids(list(leased))))
    ended = asyncio.create_task(put(outbox, "b", event(1), hand_over=offer))
    other = asyncio.create_task(put(outbox, "c", event(2)))
    async with asyncio.timeout(HANG_SECONDS):
        await begun.wait()
        begun.clear()
        free.set()
        await first
        free.clear()
        await begun.wait()  # the other two
        ended.cancel()
        free.set()
        await other
        while not sent:  # noqa: ASYNC110 - nobody waits for it
            await asyncio.sleep(0)
    assert sent == ["evt_1"]


@pytest.mark.parametrize("passes", [None, 0, 1, 3])
async def test_outbox_that_is_away_is_asked_once_and_a_closed_one_says_so(passes: int | None) -> None:
    """``passes``: of the event loop until it is closed, None: it is not."""
    asked, free, answers = list[int](), asyncio.Event(), asyncio.Event()

    async def away(requests: Any) -> Any:
        asked.append(len(requests))
        await (free if len(requests) == 1 or passes is None else answers).wait()
        raise OutboxUnavailable("It does not answer.")

    queue = StoreQueue(away)
    requests = [StoreRequest(source, Position("1"), [], {}, NOW) for source in SOURCES]
    stores = [asyncio.create_task(queue.add(each)) for each in requests]
    await asyncio.sleep(0)
    free.set()
    if passes is not None:
        for _ in range(passes):
            await asyncio.sleep(0)
        await queue.close()
    results = await asyncio.gather(*stores, return_exceptions=True)
    says = "It does not answer." if passes is None else "The outbox is closed."
    assert [str(each) for each in results] == ["It does not answer.", says, says]
    assert asked == [1, 2][: 2 if passes in (None, 3) else 1]
