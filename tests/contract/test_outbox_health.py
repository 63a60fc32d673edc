"""What every outbox holds: since when endpoints fail, and events that tell of this program itself."""

from __future__ import annotations

from datetime import datetime

import orjson
import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import UsageError
from cdc.model.event import OPERATIONS, Event
from cdc.outbox.base import Stored
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    EVERYTHING,
    NOW,
    at,
    delivery_of,
    endpoint,
    event,
    event_ids,
    finish,
    lease,
    outcome,
    states_of,
    store,
)

CANCELLED, DEAD, DELIVERED, PENDING = (
    DeliveryState.CANCELLED,
    DeliveryState.DEAD,
    DeliveryState.DELIVERED,
    DeliveryState.PENDING,
)


def told(number: int, name: str = "endpoint.failing", **fields: object) -> Event:
    return event(number, f"endpoint:{number}", name=name, source=OPERATIONS, **fields)


async def since(outbox: OutboxStore, name: str = "ep_a") -> datetime | None:
    found = await outbox.endpoint(name)
    assert found is not None
    return found.failing_since


async def test_an_endpoint_fails_since_its_first_failed_attempt_began(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1), event(2))
    leased = [one for one in await lease(outbox) if one.endpoint_id == "ep_a"]
    assert await since(outbox) is None
    await outbox.finish("w", [outcome(leased[0], PENDING, at(9), started_at=at(3.25))], at(4))
    assert await since(outbox) == at(3.25)
    await outbox.finish("w", [outcome(leased[1], DEAD, started_at=at(5))], at(6))
    assert await since(outbox) == at(3.25), "set once"
    assert await since(outbox, "ep_b") is None, "each for itself"
    assert [one.failing_since for one in await outbox.endpoints()] == [at(3.25), None]


async def test_of_failures_recorded_together_the_earliest_counts(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    starts = zip(await lease(outbox), (at(7), at(5), at(6)), strict=True)
    await outbox.finish("w", [outcome(one, PENDING, at(9), started_at=start) for one, start in starts], at(8))
    assert await since(outbox) == at(5)


async def test_a_success_ends_it_and_the_next_failure_begins_it_anew(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    one, two, three = await lease(outbox)
    await finish(outbox, one, state=PENDING, due_at=at(9))
    await finish(outbox, two)
    assert await since(outbox) is None
    await outbox.finish("w", [outcome(three, DEAD, started_at=at(8))], at(9))
    assert await since(outbox) == at(8)


@pytest.mark.parametrize("states", [(DELIVERED, PENDING), (PENDING, DELIVERED)])
@pytest.mark.parametrize("failing", [True, False])
async def test_where_one_of_those_recorded_together_succeeded_nothing_fails(
    outbox: OutboxStore, states: tuple[DeliveryState, DeliveryState], failing: bool
) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    first, *leased = await lease(outbox)
    if failing:
        await finish(outbox, first, state=DEAD)
    await outbox.finish("w", [outcome(one, state) for one, state in zip(leased, states, strict=True)], NOW)
    assert await since(outbox) is None


async def test_many_endpoints_of_one_write_are_told_apart(outbox: OutboxStore) -> None:
    for name in ("ep_a", "ep_b", "ep_c", "ep_d"):
        await outbox.add_endpoint(endpoint(name))
    await store(outbox, event(1), event(2))
    leased = {(one.endpoint_id, one.event_id): one for one in await lease(outbox)}
    await outbox.finish("w", [outcome(leased["ep_b", "evt_1"], DEAD), outcome(leased["ep_c", "evt_1"], DEAD)], NOW)
    outcomes = [
        outcome(leased["ep_a", "evt_1"], DEAD, started_at=at(2)),
        outcome(leased["ep_b", "evt_2"], DELIVERED),
        outcome(leased["ep_c", "evt_2"], DEAD, started_at=at(3)),
        outcome(leased["ep_d", "evt_1"], DELIVERED),
    ]
    await outbox.finish("w", outcomes, at(4))
    assert [one.failing_since for one in await outbox.endpoints()] == [at(2), None, NOW, None]


async def test_the_outcome_of_a_lost_lease_tells_as_much(outbox: OutboxStore) -> None:
    """Someone else has the delivery; the endpoint has answered all the same."""
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2))
    one, two = await lease(outbox)
    await outbox.release("w", at(1))
    await outbox.finish("w", [outcome(one, PENDING, at(9), started_at=at(2))], at(3))
    assert await since(outbox) == at(2)
    await finish(outbox, two)
    assert await since(outbox) is None
    assert await states_of(outbox, 1, 2) == "pending pending"


async def test_what_was_never_sent_is_no_failure(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1))
    leased = await lease(outbox)
    await outbox.finish("w", [outcome(leased[0], CANCELLED)], NOW)
    assert await since(outbox) is None


async def test_attempts_at_an_endpoint_that_was_removed_are_recorded(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1))
    leased = await lease(outbox)
    await outbox.remove_endpoint("ep_a", at(1))
    await finish(outbox, *leased, state=DEAD)
    assert [len(await outbox.attempts(one.id)) for one in leased] == [1, 1]
    assert await since(outbox, "ep_b") == NOW


async def test_an_endpoint_that_is_enabled_fails_no_longer(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox), state=PENDING, due_at=at(9))
    for change in (EndpointChange(description="x"), EndpointChange(enabled=False), EndpointChange(url="https://b.com")):
        assert (await outbox.change_endpoint("ep_a", change)).failing_since == NOW
    assert (await outbox.change_endpoint("ep_a", EndpointChange(enabled=True))).failing_since is None
    assert await since(outbox) is None


async def test_a_disabling_outcome_is_a_failure(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    await outbox.finish("w", [outcome(leased, PENDING, NOW, "It answered 410 Gone.", started_at=at(1))], at(2))
    found = await outbox.endpoint("ep_a")
    assert found == endpoint(enabled=False, disabled_reason="It answered 410 Gone.", failing_since=at(1))


async def test_announcements_are_stored_and_delivered(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_ops", events=("endpoint.*", "source.*")))
    await outbox.add_endpoint(endpoint("ep_all"))
    assert await outbox.announce([told(1), told(2, "source.lost")], at(3)) == Stored(2, 2)
    assert [(one.name, one.source) for one in await outbox.events(9)] == [
        ("endpoint.failing", OPERATIONS),
        ("source.lost", OPERATIONS),
    ]
    leased = await lease(outbox, at(3))
    assert [(one.endpoint_id, one.event_id) for one in leased] == [("ep_ops", "evt_1"), ("ep_ops", "evt_2")]
    assert await outbox.position(OPERATIONS) is None
    assert (await delivery_of(outbox, 1)).created_at == at(3)


async def test_everything_does_not_mean_what_tells_of_the_program_itself(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_all"))
    await outbox.add_endpoint(endpoint("ep_both", events=("*", "endpoint.failing")))
    assert await outbox.announce([told(1), told(2, "endpoint.disabled")], NOW) == Stored(2, 1)
    assert (await delivery_of(outbox, 1)).endpoint_id == "ep_both"
    assert await store(outbox, event(3)) == Stored(1, 2)


async def test_an_announcement_is_stored_once(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("endpoint.*",)))
    assert await outbox.announce([told(1), told(1)], NOW) == Stored(1, 1)
    assert await outbox.announce([told(1)], NOW) == Stored(0, 0)
    assert await outbox.announce([], NOW) == Stored(0, 0)
    assert len(await outbox.deliveries(EVERYTHING, 9)) == 1


async def test_announcements_keep_the_order_of_what_they_tell_of(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("endpoint.*",)))
    await outbox.announce([event(n, "endpoint:ep_x", name="endpoint.failing", source=OPERATIONS) for n in (1, 2)], NOW)
    assert await states_of(outbox, 1, 2) == "pending waiting"


async def test_an_outcome_and_its_announcement_are_one_write(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_ops", events=("endpoint.*",)))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    (leased,) = await lease(outbox)
    disabled = outcome(leased, PENDING, at(9), "It answered 410 Gone.")
    await outbox.finish("w", [disabled], at(1), [told(3, "endpoint.disabled")])
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert not found.enabled
    assert await states_of(outbox, 1, 2, 3) == "pending waiting pending"
    assert event_ids(await lease(outbox, at(9))) == ["evt_3"]


async def test_an_announcement_that_cannot_be_stored_takes_the_outcome_with_it(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", events=("*", "endpoint.*")))
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    with pytest.raises(orjson.JSONEncodeError):
        await outbox.finish("w", [outcome(leased, DEAD, disable_reason="x")], NOW, [told(2), told(3, data={"x": {1}})])
    with pytest.raises(orjson.JSONEncodeError):
        await outbox.announce([told(2), told(3, data={"x": {1}})], NOW)
    assert await states_of(outbox, 1) == "leased"
    assert await outbox.attempts(leased.id) == []
    assert [one.id for one in await outbox.events(9)] == ["evt_1"]
    assert await outbox.endpoint("ep_a") == endpoint("ep_a", events=("*", "endpoint.*"))


async def test_an_outcome_that_cannot_be_recorded_takes_the_announcement_with_it(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", events=("*", "endpoint.*")))
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    with pytest.raises(UsageError, match="no delivery dlv_99"):
        await outbox.finish("w", [outcome(leased._replace(id="dlv_99"), DEAD)], NOW, [told(2)])
    assert [one.id for one in await outbox.events(9)] == ["evt_1"]
    assert await since(outbox) is None


async def test_an_announcement_recorded_again_is_recorded_once(outbox: OutboxStore) -> None:
    """The answer to the write was lost."""
    await outbox.add_endpoint(endpoint("ep_a", events=("*", "endpoint.*")))
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    for _ in range(2):
        await outbox.finish("w", [outcome(leased, PENDING, at(5))], at(1), [told(2)])
    assert await states_of(outbox, 1, 2) == "pending pending"
    assert len(await outbox.deliveries(DeliveryFilter(event_id="evt_2"), 9)) == 1


@pytest.mark.parametrize("order", list(Order))
async def test_an_announcement_to_the_endpoint_that_it_tells_of_stands_in_its_line(
    outbox: OutboxStore, order: Order
) -> None:
    await outbox.add_endpoint(endpoint("ep_a", order=order, events=("*", "endpoint.*")))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    leased = await lease(outbox)
    await outbox.finish("w", [outcome(one, DELIVERED) for one in leased], at(1), [told(3)])
    states = {
        Order.RECORD: "delivered pending pending",
        Order.ENDPOINT: "delivered pending waiting",
        Order.NONE: "delivered delivered pending",
    }
    assert await states_of(outbox, 1, 2, 3) == states[order]


async def test_announcements_need_no_outcome(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("endpoint.*",)))
    await outbox.finish("w", [], NOW, [told(1)])
    assert await states_of(outbox, 1) == "pending"


async def test_an_announcement_is_a_write_that_the_others_see(outbox: OutboxStore) -> None:
    await outbox.changed()
    await outbox.announce([told(1)], NOW)
    assert await outbox.changed()
