"""What every outbox holds: the order of a record's events at an endpoint."""

from __future__ import annotations

from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import EndpointChange
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    at,
    check_order,
    delivery_of,
    endpoint,
    event,
    event_ids,
    finish,
    lease,
    state_of,
    states_of,
    store,
)

DEAD, PENDING = DeliveryState.DEAD, DeliveryState.PENDING


async def test_of_one_record_one_delivery_goes_at_a_time(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "facturascli:7"), event(2, "facturascli:7"))
    await store(outbox, event(3, "facturascli:7"))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    for number, states in (
        (1, "delivered pending waiting"),
        (2, "delivered delivered pending"),
        (3, "delivered delivered delivered"),
    ):
        leased = await lease(outbox)
        assert event_ids(leased) == [f"evt_{number}"]
        assert await lease(outbox) == []
        await finish(outbox, *leased)
        assert await states_of(outbox, 1, 2, 3) == states


async def test_records_and_endpoints_do_not_wait_for_each_other(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "b:1"), event(4, "a:1", source="shop"))
    leased = await lease(outbox)
    assert event_ids(leased) == ["evt_1", "evt_1", "evt_3", "evt_3", "evt_4", "evt_4"]
    await finish(outbox, *[one for one in leased if one.endpoint_id == "ep_a"])
    again = await lease(outbox)
    assert [(one.endpoint_id, one.event_id) for one in again] == [("ep_a", "evt_2")]


async def test_a_retry_keeps_its_successors_waiting(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(5))
    assert await states_of(outbox, 1, 2) == "pending waiting"
    assert await lease(outbox, at(4.999)) == []
    assert event_ids(await lease(outbox, at(5))) == ["evt_1"]


async def test_a_dead_letter_lets_the_next_go(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    assert await states_of(outbox, 1, 2) == "dead pending"
    assert event_ids(await lease(outbox)) == ["evt_2"]


async def test_a_record_that_is_finished_starts_anew(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"))
    await finish(outbox, *await lease(outbox))
    await store(outbox, event(2, "a:1"))
    assert await states_of(outbox, 1, 2) == "delivered pending"


async def test_finishing_several_records_at_once_lets_all_their_next_go(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(n, f"a:{n % 3}") for n in range(9)])
    await finish(outbox, *await lease(outbox))
    assert event_ids(await lease(outbox)) == ["evt_3", "evt_4", "evt_5"]


async def test_a_renamed_record_keeps_order_with_its_former_name(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "clientes:A"))
    await store(outbox, event(2, "clientes:B", renamed_from="clientes:A"))
    await store(outbox, event(3, "clientes:B"))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    for number in (1, 2, 3):
        leased = await lease(outbox)
        assert event_ids(leased) == [f"evt_{number}"]
        await finish(outbox, *leased)


async def test_a_rename_counts_also_where_nobody_wants_its_event(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("customer.created", "customer.deleted")))
    await store(outbox, event(1, "clientes:A", name="customer.created"))
    await store(outbox, event(2, "clientes:B", name="customer.updated", renamed_from="clientes:A"))
    await store(outbox, event(3, "clientes:B", name="customer.deleted"))
    assert await states_of(outbox, 1, 3) == "pending waiting"


async def test_renames_in_a_chain_keep_order(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(
        outbox,
        event(1, "c:A"),
        event(2, "c:B", renamed_from="c:A"),
        event(3, "c:C", renamed_from="c:B"),
        event(4, "c:A", renamed_from="c:C"),
        event(5, "c:A"),
    )
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending waiting waiting waiting waiting"


async def test_a_rename_onto_a_busy_name_puts_both_in_one_line(outbox: OutboxStore) -> None:
    """B was deleted, then A took its name; both still had something to send."""
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1, "c:B"), event(2, "c:A"), event(3, "c:B"), event(4, "c:A"))
    assert await states_of(outbox, 1, 2, 3, 4) == "pending pending waiting waiting"
    await store(outbox, event(5, "c:B", renamed_from="c:A"))
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending waiting waiting waiting waiting"
    for number in range(1, 6):
        leased = await lease(outbox)
        assert event_ids(leased) == [f"evt_{number}"]
        await finish(outbox, *leased)


async def test_a_rename_while_both_names_are_being_sent_waits_for_both(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "c:B"), event(2, "c:A"))
    first, second = await lease(outbox)
    await store(outbox, event(3, "c:B", renamed_from="c:A"))
    assert await states_of(outbox, 1, 2, 3) == "leased leased waiting"
    await finish(outbox, first)
    assert await states_of(outbox, 1, 2, 3) == "delivered leased waiting"
    await finish(outbox, second, state=PENDING, due_at=at(5))
    assert await states_of(outbox, 2, 3) == "pending waiting"
    await finish(outbox, *await lease(outbox, at(5)))
    assert await states_of(outbox, 2, 3) == "delivered pending"


async def test_a_failed_delivery_in_a_merged_line_lets_the_older_go_first(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "c:B"), event(2, "c:A"))
    first, second = await lease(outbox)
    await store(outbox, event(3, "c:B", renamed_from="c:A"))
    await finish(outbox, first, state=PENDING, due_at=at(9))
    assert await states_of(outbox, 1, 2, 3) == "waiting leased waiting"
    await finish(outbox, second, state=PENDING, due_at=at(5))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    assert (await delivery_of(outbox, 1)).due_at == at(9)


async def test_a_replayed_rename_changes_nothing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "c:A"), event(2, "c:B", renamed_from="c:A"))
    await store(outbox, event(2, "c:B", renamed_from="c:A"), event(3, "c:C"))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting pending"


async def test_a_retry_by_hand_goes_before_later_events_of_its_record(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "a:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(30))
    await outbox.retry((await delivery_of(outbox, 1)).id, at(10))
    assert await states_of(outbox, 1, 2, 3) == "pending waiting waiting"
    await finish(outbox, *await lease(outbox, at(10)), now=at(10))
    assert await states_of(outbox, 1, 2, 3) == "delivered pending waiting"
    assert (await delivery_of(outbox, 2)).due_at == at(30)


async def test_a_retry_by_hand_waits_for_what_is_being_sent(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "a:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    sending = await lease(outbox)
    await outbox.retry((await delivery_of(outbox, 1)).id, at(10))
    assert await states_of(outbox, 1, 2, 3) == "waiting leased waiting"
    await finish(outbox, *sending, now=at(11))
    assert await states_of(outbox, 1, 2, 3) == "pending delivered waiting"


async def test_released_leases_let_an_older_retry_go_first(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await finish(outbox, *await lease(outbox), state=DEAD)
    await lease(outbox)
    await outbox.retry((await delivery_of(outbox, 1)).id, at(10))
    assert await outbox.release("w", at(11)) == 1
    assert await states_of(outbox, 1, 2) == "pending waiting"


async def test_a_test_delivery_keeps_out_of_the_way_of_other_records(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await outbox.send_test("ep_a", event(3, "test:1"), "t", at(0), at(60))
    await store(outbox, event(4, "test:1"))
    assert await states_of(outbox, 1, 2, 3, 4) == "pending waiting leased waiting"
    await check_order(outbox)


async def test_order_holds_while_an_endpoint_is_disabled(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(enabled=False))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True))
    assert event_ids(await lease(outbox)) == ["evt_1"]
    await check_order(outbox)


async def test_a_new_endpoint_gets_what_comes_after_it(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1, "a:1"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(2, "a:1"))
    assert await state_of(outbox, "evt_2", "ep_a") is DeliveryState.WAITING
    assert await state_of(outbox, "evt_2", "ep_b") is PENDING
