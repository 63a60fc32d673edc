"""What every outbox holds: what waits for what at endpoints of each order, and what a change of the order does."""

from __future__ import annotations

import pytest

from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    NOW,
    at,
    delivery_of,
    endpoint,
    event,
    event_ids,
    finish,
    lease,
    outcome,
    state_of,
    states_of,
    store,
)

DEAD, PENDING = DeliveryState.DEAD, DeliveryState.PENDING


async def turns(outbox: OutboxStore) -> list[list[str]]:
    """Which events go at a time, until all have gone."""
    found = []
    while leased := await lease(outbox, at(1000)):
        found.append(event_ids(leased))
        await finish(outbox, *leased, now=at(1000))
    return found


async def reorder(outbox: OutboxStore, order: Order) -> None:
    assert (await outbox.change_endpoint("ep_a", EndpointChange(order=order))).order is order


async def test_without_order_nothing_waits(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "b:1"))
    await store(outbox, event(4, "a:1"), event(5, "a:2", renamed_from="a:1"))
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending pending pending pending pending"
    leased = await lease(outbox, limit=2)
    await finish(outbox, leased[0], state=PENDING, due_at=at(500))
    await finish(outbox, leased[1], state=DEAD)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending dead pending pending pending"


async def test_in_order_of_the_endpoint_each_waits_for_all_before_it(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.ENDPOINT))
    await store(outbox, event(1, "a:1"), event(2, "b:1"), event(3, "a:1", source="shop"))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(5))
    await store(outbox, event(4, "c:1"))
    assert await lease(outbox, at(4)) == []
    assert await states_of(outbox, 1, 2, 3, 4) == "pending waiting waiting waiting"
    assert await turns(outbox) == [["evt_1"], ["evt_2"], ["evt_3"], ["evt_4"]]


async def test_each_endpoint_has_its_own_order(outbox: OutboxStore) -> None:
    for order in Order:
        await outbox.add_endpoint(endpoint(f"ep_{order.value}", order=order))
    await outbox.add_endpoint(endpoint("ep_other", order=Order.ENDPOINT))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "b:1"))
    leased = [(one.endpoint_id, one.event_id) for one in await lease(outbox)]
    assert sorted(leased) == [
        ("ep_endpoint", "evt_1"),
        ("ep_none", "evt_1"),
        ("ep_none", "evt_2"),
        ("ep_none", "evt_3"),
        ("ep_other", "evt_1"),
        ("ep_record", "evt_1"),
        ("ep_record", "evt_3"),
    ]


async def test_a_retry_by_hand_keeps_the_order_of_its_endpoint(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.ENDPOINT))
    await store(outbox, event(1, "a:1"), event(2, "b:1"), event(3, "c:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(30))
    await outbox.retry((await delivery_of(outbox, 1)).id, at(10))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    await finish(outbox, *await lease(outbox, at(10)), now=at(10))
    assert await states_of(outbox, 1, 2, 3) == "delivered pending waiting"
    assert (await delivery_of(outbox, 2)).due_at == at(30)
    sending = await lease(outbox, at(30))
    await outbox.retry((await delivery_of(outbox, 1)).id, at(31))
    assert await states_of(outbox, 1, 2, 3) == "waiting leased waiting"
    await finish(outbox, *sending, now=at(32))
    assert await states_of(outbox, 1, 2, 3) == "pending delivered waiting"


async def test_a_retry_by_hand_without_order_goes_at_once(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    first, _ = await lease(outbox)
    await finish(outbox, first, state=DEAD)
    await outbox.retry(first.id, at(1))
    assert await states_of(outbox, 1, 2) == "pending leased"


@pytest.mark.parametrize(
    ("order", "states"),
    [(Order.RECORD, "waiting pending"), (Order.ENDPOINT, "waiting pending"), (Order.NONE, "pending pending")],
)
async def test_a_retry_by_hand_keeps_to_the_order_of_now(outbox: OutboxStore, order: Order, states: str) -> None:
    """Its endpoint had another one when it was finished."""
    await outbox.add_endpoint(endpoint(order=Order.NONE if order is not Order.NONE else Order.RECORD))
    await store(outbox, event(1, "a:1"))
    (done,) = await lease(outbox)
    await finish(outbox, done)
    await reorder(outbox, order)
    await store(outbox, event(2, "a:1"))
    await outbox.retry(done.id, at(1))
    assert await states_of(outbox, 2, 1) == states


async def test_a_rename_changes_nothing_for_the_other_orders(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_none", order=Order.NONE))
    await outbox.add_endpoint(endpoint("ep_line", order=Order.ENDPOINT))
    await store(outbox, event(1, "c:A"), event(2, "c:B"))
    await store(outbox, event(3, "c:B", renamed_from="c:A"))
    for number, states in ((1, "pending pending"), (2, "pending waiting"), (3, "pending waiting")):
        found = [(await state_of(outbox, f"evt_{number}", name)).value for name in ("ep_none", "ep_line")]
        assert " ".join(found) == states


async def test_renames_count_when_records_are_ordered_later(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, event(1, "c:A"), event(2, "c:B", renamed_from="c:A"), event(3, "c:C", renamed_from="c:B"))
    await store(outbox, event(4, "c:C"), event(5, "d:1"))
    await reorder(outbox, Order.RECORD)
    await store(outbox, event(6, "c:A"))
    assert await states_of(outbox, 1, 2, 3, 4, 5, 6) == "pending waiting waiting waiting pending waiting"
    assert await turns(outbox) == [["evt_1", "evt_5"], ["evt_2"], ["evt_3"], ["evt_4"], ["evt_6"]]


EVENTS = (event(1, "a:1"), event(2, "a:1"), event(3, "b:1"), event(4, "b:1"), event(5, "c:1"))
STATES = {
    Order.RECORD: "pending waiting pending waiting pending",
    Order.ENDPOINT: "pending waiting waiting waiting waiting",
    Order.NONE: "pending pending pending pending pending",
}


@pytest.mark.parametrize("before", list(Order))
@pytest.mark.parametrize("after", list(Order))
async def test_what_waits_keeps_to_a_new_order_at_once(outbox: OutboxStore, before: Order, after: Order) -> None:
    await outbox.add_endpoint(endpoint(order=before))
    await outbox.add_endpoint(endpoint("ep_b", order=before, enabled=False, events=("stock.*",)))
    await store(outbox, *EVENTS, event(6, "a:1", name="stock.changed"), event(7, "a:1", name="stock.changed"))
    other = [await state_of(outbox, f"evt_{number}", "ep_b") for number in (6, 7)]
    await reorder(outbox, after)
    states = [(await state_of(outbox, f"evt_{number}", "ep_a")).value for number in (1, 2, 3, 4, 5)]
    assert " ".join(states) == STATES[after]
    assert [await state_of(outbox, f"evt_{number}", "ep_b") for number in (6, 7)] == other, "of another endpoint"
    await reorder(outbox, before)
    states = [(await state_of(outbox, f"evt_{number}", "ep_a")).value for number in (1, 2, 3, 4, 5)]
    assert " ".join(states) == STATES[before], "and back"


@pytest.mark.parametrize(
    ("after", "states", "then"),
    [
        (Order.RECORD, "leased leased leased leased leased waiting", "delivered leased leased leased leased waiting"),
        (Order.ENDPOINT, "leased leased leased leased leased waiting", "delivered leased leased leased leased waiting"),
    ],
)
async def test_what_is_on_its_way_when_order_is_wanted_is_waited_for(
    outbox: OutboxStore, after: Order, states: str, then: str
) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, *EVENTS)
    leased = await lease(outbox)
    assert len(leased) == len(EVENTS)
    await reorder(outbox, after)
    await store(outbox, event(6, "a:1"))
    assert await states_of(outbox, 1, 2, 3, 4, 5, 6) == states
    await finish(outbox, leased[0])
    assert await states_of(outbox, 1, 2, 3, 4, 5, 6) == then
    await finish(outbox, *leased[1:], state=PENDING, due_at=at(5))
    waiting = {Order.RECORD: "pending pending waiting pending waiting", Order.ENDPOINT: "pending" + " waiting" * 4}
    assert await states_of(outbox, 2, 3, 4, 5, 6) == waiting[after]


async def test_order_given_up_while_something_is_on_its_way_frees_the_rest(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.ENDPOINT))
    await store(outbox, *EVENTS)
    leased = await lease(outbox)
    await reorder(outbox, Order.NONE)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "leased pending pending pending pending"
    await finish(outbox, *leased, state=PENDING, due_at=at(9))
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending pending pending pending pending"
    assert (await delivery_of(outbox, 1)).due_at == at(9)


async def test_records_instead_of_one_line_wait_for_what_is_on_its_way(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.ENDPOINT))
    await store(outbox, *EVENTS)
    leased = await lease(outbox)
    await reorder(outbox, Order.RECORD)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "leased waiting pending waiting pending"
    await finish(outbox, *leased)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "delivered pending pending waiting pending"


async def test_one_line_instead_of_records_waits_for_all_that_is_on_its_way(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *EVENTS)
    first, third, fifth = await lease(outbox)
    await reorder(outbox, Order.ENDPOINT)
    await finish(outbox, third, fifth)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "leased waiting delivered waiting delivered"
    await finish(outbox, first)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "delivered pending delivered waiting delivered"
    assert await turns(outbox) == [["evt_2"], ["evt_4"]]


async def test_a_retry_keeps_its_time_through_a_change_of_order(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(30))
    for order in (Order.RECORD, Order.ENDPOINT, Order.NONE):
        await reorder(outbox, order)
    assert await outbox.next_due(NOW) == at(30)
    assert [(await delivery_of(outbox, number)).due_at for number in (1, 2)] == [at(30), at(30)]
    assert [(await delivery_of(outbox, number)).attempts for number in (1, 2)] == [1, 1]


async def test_leases_given_back_after_a_change_of_order_keep_to_it(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, *EVENTS)
    await lease(outbox)
    await reorder(outbox, Order.RECORD)
    assert await outbox.release("w", at(3)) == len(EVENTS)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == STATES[Order.RECORD]


async def test_removing_an_endpoint_of_another_order_cancels_what_is_unfinished(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(order=Order.NONE))
    await store(outbox, *EVENTS)
    leased = await lease(outbox, limit=1)
    await reorder(outbox, Order.ENDPOINT)
    await outbox.remove_endpoint("ep_a", at(2))
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "cancelled cancelled cancelled cancelled cancelled"
    await outbox.finish("w", [outcome(leased[0])], at(3))
    assert await states_of(outbox, 1) == "cancelled"


@pytest.mark.parametrize("order", list(Order))
async def test_a_test_waits_for_nothing_and_nothing_for_it(outbox: OutboxStore, order: Order) -> None:
    """Whoever asks why an endpoint is stuck must not stand in its line."""
    await outbox.add_endpoint(endpoint(order=order))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(3600))
    tested = await outbox.send_test("ep_a", event(3, "test:1"), "t", at(1), at(61))
    states = await states_of(outbox, 1, 2)
    await finish(outbox, tested, worker="t", now=at(2))
    assert await states_of(outbox, 1, 2, 3) == f"{states} delivered"
    await outbox.send_test("ep_a", event(4, "test:2"), "t", at(3), at(63))  # broken off
    behind = ["evt_2"] if order is Order.NONE else []
    assert event_ids(await lease(outbox, at(3600))) == ["evt_4", "evt_1", *behind]


async def test_names_that_differ_where_no_text_can_be_kept_share_a_line(outbox: OutboxStore) -> None:
    """A retry by hand finds the line of its record again, whatever the store made of the name."""
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:x\0y"), event(2, "a:x\0y"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    await reorder(outbox, Order.NONE)
    await reorder(outbox, Order.RECORD)
    await store(outbox, event(3, "a:x\0y"))
    await outbox.retry((await delivery_of(outbox, 1)).id, at(1))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
