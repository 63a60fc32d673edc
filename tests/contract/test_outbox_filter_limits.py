"""What every outbox holds: an endpoint whose filter exceeds a limit is disabled, and its deliveries wait."""

from __future__ import annotations

import asyncio

from cdc.model.endpoint import EndpointChange
from cdc.model.event import OPERATIONS
from cdc.outbox.store import OutboxStore
from support.outboxes import at, endpoint, event, event_ids, lease, store

ANNOUNCED = event(9, "endpoint:ep_a", name="endpoint.disabled", source=OPERATIONS)


async def disable(outbox: OutboxStore, condition: str = "data.total > 1.0") -> bool:
    return await outbox.disable_filtered("ep_a", condition, "Too slow.", ANNOUNCED, at(100))


async def filtered(outbox: OutboxStore) -> None:
    """Endpoint ``ep_a`` with a filter and a delivery, and ``ep_ops``, which wants to know."""
    await outbox.add_endpoint(endpoint(condition="data.total > 1.0"))
    await outbox.add_endpoint(endpoint("ep_ops", events=("endpoint.*",)))
    await store(outbox, event(1))


async def test_it_is_disabled_and_told_of(outbox: OutboxStore) -> None:
    await filtered(outbox)
    assert await disable(outbox)
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert (found.enabled, found.disabled_reason) == (False, "Too slow.")
    assert [(each.endpoint_id, each.event_id) for each in await lease(outbox, at(100))] == [("ep_ops", "evt_9")]


async def test_its_deliveries_are_kept_and_flow_again(outbox: OutboxStore) -> None:
    await filtered(outbox)
    await disable(outbox)
    await store(outbox, event(2), now=at(101))
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True, disabled_reason="", condition=""))
    assert sorted(event_ids(await lease(outbox, at(102)))) == ["evt_1", "evt_2", "evt_9"]


async def test_with_another_filter_or_disabled_it_is_left_alone(outbox: OutboxStore) -> None:
    await filtered(outbox)
    assert not await disable(outbox, "data.total > 2.0")
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=False, disabled_reason="By hand."))
    assert not await disable(outbox)
    found = await outbox.endpoint("ep_a")
    assert found is not None
    assert found.disabled_reason == "By hand."
    await outbox.remove_endpoint("ep_a", at(50))
    assert not await disable(outbox)
    assert await outbox.event("evt_9") is None


async def test_several_at_once_do_it_once(outbox: OutboxStore) -> None:
    await filtered(outbox)
    assert sorted(await asyncio.gather(*[disable(outbox) for _ in range(3)])) == [False, False, True]


async def test_a_failure_is_noted_until_the_filter_is_changed(outbox: OutboxStore) -> None:
    await filtered(outbox)
    await outbox.note_filter("ep_a", "data.total > 2.0", "It is another filter.")
    await outbox.note_filter("ep_gone", "data.total > 1.0", "There is none.")
    await outbox.note_filter("ep_a", "data.total > 1.0", "It fails.")
    assert [each.filter_problem for each in await outbox.endpoints()] == ["It fails.", ""]
    changed = [EndpointChange(condition="data.total > 1.0"), EndpointChange(timeout=3), EndpointChange(condition="")]
    problems = [(await outbox.change_endpoint("ep_a", each)).filter_problem for each in changed]
    assert problems == ["It fails.", "It fails.", ""]
