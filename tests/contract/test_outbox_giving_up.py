"""What every outbox holds: an endpoint that has failed for too long is disabled, unless it fails no longer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange
from cdc.model.event import OPERATIONS, Event
from cdc.outbox.store import OutboxStore
from support.outboxes import at, delivery_of, endpoint, event, event_ids, finish, lease, outcome, store

SINCE = datetime(2026, 11, 24, 12, 0, 0, 123457, tzinfo=UTC)
ANNOUNCED = event(9, "endpoint:ep_a", name="endpoint.disabled", source=OPERATIONS)


async def failing(outbox: OutboxStore) -> None:
    """Endpoint ``ep_a``, which refused ``evt_1`` at `SINCE`, and ``ep_ops``, which wants to know."""
    await outbox.add_endpoint(endpoint())
    await outbox.add_endpoint(endpoint("ep_ops", events=("endpoint.*",)))
    await store(outbox, event(1))
    (leased,) = await lease(outbox)
    refused = outcome(leased, DeliveryState.PENDING, at(5), started_at=SINCE)
    await outbox.finish("w", [refused], at(1))


async def give_up(outbox: OutboxStore, since: datetime = SINCE, announced: Event = ANNOUNCED) -> bool:
    return await outbox.disable_failing("ep_a", since, "Too long.", announced, at(100))


async def test_it_is_disabled_and_told_of(outbox: OutboxStore) -> None:
    await failing(outbox)
    assert await give_up(outbox)
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert (found.enabled, found.disabled_reason, found.failing_since) == (False, "Too long.", SINCE)
    (told,) = await lease(outbox, at(100))
    assert (told.endpoint_id, told.event_id) == ("ep_ops", "evt_9")


async def test_its_deliveries_are_kept_and_flow_again(outbox: OutboxStore) -> None:
    await failing(outbox)
    await give_up(outbox)
    await store(outbox, event(2), now=at(101))
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True, disabled_reason=""))
    leased = await lease(outbox, at(102))
    assert sorted(event_ids(leased)) == ["evt_1", "evt_2", "evt_9"]
    assert (await delivery_of(outbox, 1)).attempts == 2


@pytest.mark.parametrize("since", [SINCE + timedelta(microseconds=1), SINCE - timedelta(microseconds=1)])
async def test_of_another_failure_it_is_not_disabled(outbox: OutboxStore, since: datetime) -> None:
    await failing(outbox)
    await _stays(outbox, since)


async def test_after_a_success_it_is_not_disabled(outbox: OutboxStore) -> None:
    await failing(outbox)
    await finish(outbox, *await lease(outbox, at(5)), now=at(6))
    await _stays(outbox)


async def _stays(outbox: OutboxStore, since: datetime = SINCE) -> None:
    assert not await give_up(outbox, since)
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert (found.enabled, found.disabled_reason) == (True, "")
    assert await outbox.event("evt_9") is None


async def test_what_is_disabled_or_gone_is_left_alone(outbox: OutboxStore) -> None:
    await failing(outbox)
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=False, disabled_reason="By hand."))
    assert not await give_up(outbox)
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert found.disabled_reason == "By hand."
    await outbox.remove_endpoint("ep_a", at(50))
    assert not await give_up(outbox)
    assert await outbox.event("evt_9") is None


async def test_several_at_once_do_it_once(outbox: OutboxStore) -> None:
    await failing(outbox)
    assert sorted(await asyncio.gather(*[give_up(outbox) for _ in range(3)])) == [False, False, True]
    assert len(await outbox.deliveries(DeliveryFilter(event_id="evt_9"), 10)) == 1


async def test_others_see_that_something_changed(outbox: OutboxStore) -> None:
    await failing(outbox)
    await outbox.changed()
    await give_up(outbox)
    assert await outbox.changed()
