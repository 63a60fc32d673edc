"""Conditions: an endpoint that has one gets only the events for which it holds."""

from __future__ import annotations

from cdc.model.delivery import DeliveryFilter
from cdc.model.endpoint import EndpointChange
from cdc.outbox.store import OutboxStore
from support.outboxes import EVERYTHING, endpoint, event, lease, store


async def delivered(outbox: OutboxStore, endpoint_id: str) -> list[str]:
    views = await outbox.deliveries(DeliveryFilter(endpoint_id=endpoint_id), 100)
    return [view.event_id for view in reversed(views)]


async def test_only_events_for_which_it_holds_make_deliveries(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_large", condition="data.total > 100"))
    await outbox.add_endpoint(endpoint("ep_any"))
    stored = await store(outbox, event(1, data={"total": 99.5}), event(2, data={"total": 100.5}), event(3, data={}))
    assert (stored.events, stored.deliveries) == (3, 4)
    assert await delivered(outbox, "ep_large") == ["evt_2"]
    assert await delivered(outbox, "ep_any") == ["evt_1", "evt_2", "evt_3"]


async def test_patterns_and_sources_narrow_too(outbox: OutboxStore) -> None:
    narrow = endpoint(events=("invoice.paid",), sources=("main",), condition="data.total > 100")
    await outbox.add_endpoint(narrow)
    paid = event(1, name="invoice.paid", data={"total": 101.0})
    other = paid._replace(id="evt_2", name="invoice.created")
    elsewhere = paid._replace(id="evt_3", source="other")
    await store(outbox, paid, other, elsewhere)
    assert await delivered(outbox, "ep_a") == ["evt_1"]


async def test_what_is_not_selected_makes_nothing_wait(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(condition="data.total > 100"))
    record = "facturascli:1"
    await store(outbox, event(1, record, data={"total": 1.0}), event(2, record, data={"total": 101.0}))
    assert [delivery.event_id for delivery in await lease(outbox)] == ["evt_2"]


async def test_a_condition_that_fails_selects(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(condition="data.total > '100'"))
    assert (await store(outbox, event(1))).deliveries == 1


async def test_a_condition_that_is_not_understood_selects(outbox: OutboxStore) -> None:
    """As one that a later version saved: what was committed is stored and delivered all the same."""
    await outbox.add_endpoint(endpoint(condition="data.total >"))
    assert (await store(outbox, event(1))).deliveries == 1


async def test_a_changed_condition_counts_from_then_on(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(condition="data.total > 100"))
    await store(outbox, event(1))
    changed = await outbox.change_endpoint("ep_a", EndpointChange(condition="data.total < 100"))
    assert changed.condition == "data.total < 100"
    await store(outbox, event(2))
    await outbox.change_endpoint("ep_a", EndpointChange(condition=""))
    await store(outbox, event(3, data={"total": 1000.0}))
    assert await delivered(outbox, "ep_a") == ["evt_2", "evt_3"]
    assert len(await outbox.deliveries(EVERYTHING, 10)) == 2


async def test_announcements_are_selected_as_well(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint(events=("endpoint.*",), condition='data.id == "ep_b"'))
    announced = event(1, name="endpoint.disabled", source="cdc", data={"id": "ep_b"})
    other = announced._replace(id="evt_2", record="endpoint:2", data={"id": "ep_c"})
    await outbox.announce([announced, other], announced.time)
    assert await delivered(outbox, "ep_a") == ["evt_1"]
