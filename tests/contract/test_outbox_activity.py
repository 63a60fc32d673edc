"""Statistics that every outbox holds: attempts by period, endpoint and source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from cdc.model.delivery import HOURS_KEPT, Activity, DeliveryState
from cdc.outbox.store import OutboxStore
from support.outboxes import NOW, endpoint, event, finish, lease, outcome, store

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DEAD, PENDING, CANCELLED = DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.CANCELLED
EVER = NOW - 1000 * HOUR


async def deliver(
    outbox: OutboxStore, number: int, now: datetime, state: DeliveryState = DeliveryState.DELIVERED
) -> None:
    await store(outbox, event(number), now=now)
    await finish(outbox, *await lease(outbox, now), state=state, due_at=None, now=now)


async def read(outbox: OutboxStore, *edges: datetime) -> Sequence[Activity]:
    return sorted(await outbox.activity(edges))


async def test_attempts_count_for_their_minute_endpoint_and_source(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", sources=("second",)))
    await store(outbox, event(1), event(2), event(3, source="second"))
    leased = {(each.endpoint_id, each.event_id): each for each in await lease(outbox)}
    first, second = leased["ep_a", "evt_1"], leased["ep_a", "evt_2"]
    third, fourth = leased["ep_a", "evt_3"], leased["ep_b", "evt_3"]
    later = NOW + timedelta(seconds=59)
    await outbox.finish("w", [outcome(first), outcome(second, PENDING, NOW + HOUR)], NOW)
    await outbox.finish("w", [outcome(third), outcome(fourth, DEAD)], later)
    await outbox.finish("w", [outcome(each) for each in await lease(outbox, NOW + HOUR)], NOW + HOUR)
    assert await read(outbox, NOW, NOW + MINUTE, NOW + HOUR, NOW + 2 * HOUR) == [
        Activity(NOW, "ep_a", "main", 1, 1, 0.5),
        Activity(NOW, "ep_a", "second", 1, 0, 0.25),
        Activity(NOW, "ep_b", "second", 0, 1, 0.25),
        Activity(NOW + HOUR, "ep_a", "main", 1, 0, 0.25),
    ]


async def test_a_period_ends_before_its_second_edge(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await deliver(outbox, 1, NOW + HOUR)
    assert await read(outbox, NOW, NOW + HOUR) == []
    assert [each.since for each in await read(outbox, NOW, NOW + HOUR, NOW + 2 * HOUR)] == [NOW + HOUR]


@pytest.mark.parametrize("state", [DEAD, PENDING])
async def test_failed_attempts_of_a_delivery_count_each(outbox: OutboxStore, state: DeliveryState) -> None:
    await outbox.add_endpoint(endpoint())
    await deliver(outbox, 1, NOW, PENDING)
    await finish(outbox, *await lease(outbox), state=state)
    (found,) = await read(outbox, NOW, NOW + MINUTE)
    assert (found.delivered, found.failed) == (0, 2)


async def test_tests_and_cancelled_deliveries_do_not_count(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    test = event(1, record="test:1", source="test")
    sent = await outbox.send_test("ep_a", test, "w", NOW, NOW + MINUTE)
    await finish(outbox, sent, state=DEAD)
    await deliver(outbox, 2, NOW, CANCELLED)
    assert await read(outbox, NOW, NOW + MINUTE) == []


async def test_minutes_become_hours_once_and_nothing_is_lost(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    for number in range(5):
        await deliver(outbox, number, NOW + number * 20 * MINUTE)
    now = NOW + 3 * HOUR + MINUTE
    for _ in range(2):
        await outbox.gather_activity(EVER, now)
        found = await read(outbox, *[NOW + number * 20 * MINUTE for number in range(7)])
        assert [(each.since, each.delivered, each.seconds) for each in found] == [
            (NOW, 3, 0.75),
            (NOW + HOUR, 1, 0.25),
            (NOW + HOUR + 20 * MINUTE, 1, 0.25),
        ]
    await deliver(outbox, 9, NOW + 10 * MINUTE)  # by a clock that is slow
    await outbox.gather_activity(EVER, now)
    assert [(each.since, each.delivered) for each in await read(outbox, NOW, NOW + MINUTE)] == [(NOW, 4)]


async def test_hours_are_removed_when_they_are_old(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await deliver(outbox, 1, NOW)
    await deliver(outbox, 2, NOW + HOUR)
    await outbox.gather_activity(EVER, NOW + HOURS_KEPT + MINUTE)
    assert [each.since for each in await read(outbox, NOW, NOW + HOUR, NOW + 2 * HOUR)] == [NOW + HOUR]


async def test_activity_of_a_removed_endpoint_stays(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await deliver(outbox, 1, NOW)
    await outbox.remove_endpoint("ep_a", NOW)
    assert [each.endpoint_id for each in await read(outbox, NOW, NOW + MINUTE)] == ["ep_a"]


async def test_totals_count_all_and_leaders_have_the_most_attempts(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", sources=("second",)))
    for number, source in enumerate(("main", "second", "second"), 1):
        await store(outbox, event(number, source=source))
    first, *others = await lease(outbox)
    await outbox.finish("w", [outcome(first, DEAD), *map(outcome, others)], NOW)
    edges = [NOW, NOW + MINUTE, NOW + HOUR]
    periods = [(NOW - HOUR, NOW), (NOW, NOW + MINUTE), (NOW + MINUTE, NOW + HOUR)]
    assert await outbox.activity_totals(periods) == [Activity(NOW, "", "", 4, 1, 1.25)]
    assert await outbox.activity_totals([]) == []
    found = await outbox.activity_leaders(NOW, NOW + HOUR, 1)
    assert found.endpoints == [Activity(NOW, "ep_a", "", 2, 1, 0.75)]
    assert found.sources == [Activity(NOW, "", "second", 4, 0, 1.0)]
    assert len((await outbox.activity_leaders(NOW, NOW + HOUR, 2)).endpoints) == 2
    assert sorted(await outbox.activity(edges, source="second")) == [
        Activity(NOW, "ep_a", "second", 2, 0, 0.5),
        Activity(NOW, "ep_b", "second", 2, 0, 0.5),
    ]
    assert [each.endpoint_id for each in await outbox.activity(edges, ["ep_b"], "second")] == ["ep_b"]
    assert not (await outbox.activity_leaders(NOW - HOUR, NOW, 1)).endpoints
