"""What was written under a wrong clock is neither stuck nor in the way of anything once the clock is right."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cdc.model.delivery import DeliveryState
from cdc.model.errors import UsageError
from cdc.outbox.base import Retention
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, at, endpoint, event, lease, outcome, store

YEARS = timedelta(days=5 * 365)


async def test_retry_that_is_due_in_years_is_brought_forward(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1), event(2))
    leased = await lease(outbox)
    await outbox.finish("w", [outcome(each, DeliveryState.PENDING, NOW + YEARS) for each in leased[:2]], NOW)
    assert await lease(outbox, at(120), worker="other") != []  # the leases of the others have ended
    latest = {"ep_a": at(86_400), "ep_b": at(86_400)}
    assert await outbox.bring_forward("w", latest, at(5)) == 2
    assert {each.id for each in await lease(outbox, at(6))} == {each.id for each in leased[:2]}
    assert await outbox.bring_forward("w", latest, at(7)) == 0, "those are on their way, or due in time"


async def test_lease_until_in_years_is_brought_forward_unless_it_is_ones_own(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await lease(outbox, seconds=YEARS.total_seconds(), worker="gone")
    latest = {"ep_a": at(86_400)}
    assert await outbox.bring_forward("gone", latest, NOW) == 0
    assert await outbox.bring_forward("w", latest, NOW) == 1
    assert len(await lease(outbox, at(1))) == 1


async def test_what_waits_for_a_delivery_that_is_brought_forward_is_not_late_either(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *(event(number, "a:1") for number in range(3)), now=NOW + YEARS)
    assert await outbox.bring_forward("w", {"ep_a": at(86_400)}, NOW) == 1
    sent = []
    while leased := await lease(outbox, at(1)):
        sent += [each.event_id for each in leased]
        await outbox.finish("w", [outcome(each) for each in leased], at(1))
    assert len(sent) == 3


async def test_waiting_retry_can_be_sent_by_hand(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    (first,) = await lease(outbox)
    with pytest.raises(UsageError):
        await outbox.retry(first.id, at(1))  # it is on its way
    await outbox.finish("w", [outcome(first, DeliveryState.PENDING, NOW + YEARS)], NOW)
    await outbox.retry(first.id, at(2))
    assert [each.id for each in await lease(outbox, at(3))] == [first.id]


async def test_event_of_the_future_stops_no_retention(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(0, time=NOW + YEARS), *(event(number) for number in range(1, 10)), event(10))
    await outbox.finish("w", [outcome(each) for each in await lease(outbox)], NOW)
    later = NOW + timedelta(days=40)
    what = Retention(later, finished_before=later - timedelta(days=30), now=later)
    removed = await outbox.retain(what, 100)
    assert removed.events == 10, "all but the newest, which stays"


async def test_event_of_the_future_is_removed_beyond_the_number_of_events(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(0, time=NOW + YEARS), event(1), event(2))
    await outbox.finish("w", [outcome(each) for each in await lease(outbox)], NOW)
    later = NOW + timedelta(days=1)
    removed = await outbox.retain(Retention(later, most_events=2, now=later), 100)
    assert removed.events == 1
