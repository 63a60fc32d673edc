"""What every outbox holds of consumers: leases of one endpoint, who holds them, when something is due."""

from __future__ import annotations

from cdc.model.delivery import DeliveryState
from cdc.outbox.store import OutboxStore
from support.outboxes import at, endpoint, event, event_ids, finish, lease, states_of, store

CONSUMER = "ep_pull"


async def _consumer(outbox: OutboxStore, **fields: object) -> None:
    await outbox.add_endpoint(endpoint(CONSUMER, url="pull:orders", concurrency=0, **fields))


async def test_lease_of_takes_the_oldest_due_of_one_endpoint(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_other"))
    await _consumer(outbox)
    await store(outbox, event(1), now=at(2))
    await store(outbox, event(2), event(3), now=at(1))
    leased = await outbox.lease_of(CONSUMER, "w", at(5), at(65), 2)
    assert event_ids(leased) == ["evt_2", "evt_3"]
    assert {(each.endpoint_id, each.attempt, each.lease_until) for each in leased} == {(CONSUMER, 1, at(65))}
    assert event_ids(await outbox.lease_of(CONSUMER, "v", at(5), at(65), 9)) == ["evt_1"]
    assert len(await lease(outbox, at(5))) == 3


async def test_events_of_a_record_are_leased_one_after_the_other(outbox: OutboxStore) -> None:
    await _consumer(outbox)
    await store(outbox, event(1, "t:1"), event(2, "t:1"), event(3, "t:2"))
    first, other = await outbox.lease_of(CONSUMER, "w", at(0), at(60), 9)
    assert event_ids([first, other]) == ["evt_1", "evt_3"]
    assert await outbox.lease_of(CONSUMER, "w", at(1), at(61), 9) == []
    await finish(outbox, first)
    assert event_ids(await outbox.lease_of(CONSUMER, "w", at(1), at(61), 9)) == ["evt_2"]


async def test_an_expired_lease_passes_to_the_next_and_its_answer_is_void(outbox: OutboxStore) -> None:
    await _consumer(outbox)
    await store(outbox, event(1))
    (former,) = await outbox.lease_of(CONSUMER, "w", at(0), at(60), 9)
    assert event_ids(await outbox.held("w", [former.id])) == ["evt_1"]
    assert await outbox.lease_of(CONSUMER, "v", at(59.9), at(99), 9) == []
    assert event_ids(await outbox.held("w", [former.id])) == ["evt_1"]
    (present,) = await outbox.lease_of(CONSUMER, "v", at(60), at(120), 9)
    assert (present.id, present.event_id, present.attempt) == (former.id, "evt_1", 2)
    assert await outbox.held("w", [former.id]) == []
    assert await outbox.held("v", []) == []
    await finish(outbox, former, worker="w")
    assert await states_of(outbox, 1) == "leased"
    await finish(outbox, *await outbox.held("v", [present.id]), worker="v")
    assert await states_of(outbox, 1) == "delivered"


async def test_nothing_of_a_disabled_or_removed_consumer_is_leased(outbox: OutboxStore) -> None:
    await _consumer(outbox, enabled=False)
    await store(outbox, event(1))
    assert await outbox.due_of(CONSUMER) is None
    assert await outbox.lease_of(CONSUMER, "w", at(1), at(61), 9) == []
    await outbox.remove_endpoint(CONSUMER, at(2))
    assert await outbox.due_of(CONSUMER) is None
    assert await outbox.lease_of(CONSUMER, "w", at(3), at(61), 9) == []
    assert await outbox.lease_of("ep_unknown", "w", at(3), at(61), 9) == []


async def test_due_of_is_the_first_due_time_or_end_of_a_lease(outbox: OutboxStore) -> None:
    await _consumer(outbox)
    assert await outbox.due_of(CONSUMER) is None
    await store(outbox, event(1), event(2, "facturascli:1"), now=at(5))
    assert await outbox.due_of(CONSUMER) == at(5)
    (leased,) = await outbox.lease_of(CONSUMER, "w", at(5), at(65), 9)
    assert await outbox.due_of(CONSUMER) == at(65)
    await finish(outbox, leased, state=DeliveryState.PENDING, due_at=at(30))
    assert await outbox.due_of(CONSUMER) == at(30)


async def test_version_differs_after_each_write(outbox: OutboxStore) -> None:
    await _consumer(outbox)
    before = await outbox.version()
    await store(outbox, event(1))
    stored = await outbox.version()
    await outbox.lease_of(CONSUMER, "w", at(1), at(61), 9)
    leased = await outbox.version()
    assert before != stored != leased
