"""What every outbox holds: what leaves it, by age, by number, and by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.errors import UsageError
from cdc.outbox.base import Retained, Retention
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    EVERYTHING,
    NOW,
    at,
    check_order,
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

DEAD, PENDING, DELIVERED = DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.DELIVERED
DAY = timedelta(days=1)
EVER = at(0) + 1000 * DAY
#: by age only: everything finished, and every event, before the tenth day
OLD = Retention(NOW + 9 * DAY, finished_before=NOW + 10 * DAY)


async def retain(outbox: OutboxStore, what: Retention, limit: int = 100) -> tuple[int, int, int]:
    """All steps: events, deliveries, payloads."""
    total = (0, 0, 0)
    after: int | None = 0
    while after is not None:
        step = await outbox.retain(what, limit, after)
        total = (total[0] + step.events, total[1] + step.deliveries, total[2] + step.payloads)
        after = step.after
    return total


async def events_left(outbox: OutboxStore) -> list[int]:
    return [int(one.id.removeprefix("evt_")) for one in await outbox.events(1000)]


async def delivered(outbox: OutboxStore, *numbers: int, now: datetime = NOW, state: DeliveryState = DELIVERED) -> None:
    """Events stored and finished at this time, which is theirs too."""
    await store(outbox, *[event(number, time=now) for number in numbers], now=now)
    await finish(outbox, *await lease(outbox, now), state=state, now=now)


async def test_what_is_old_and_finished_goes(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await delivered(outbox, 1, 2)
    await delivered(outbox, 3, now=NOW + DAY, state=DEAD)
    await delivered(outbox, 4, now=NOW + 10 * DAY)
    await delivered(outbox, 5, now=NOW + 20 * DAY)
    assert await retain(outbox, OLD) == (3, 3, 0)
    assert await events_left(outbox) == [4, 5]
    assert [view.event_id for view in await outbox.deliveries(EVERYTHING, 10)] == ["evt_5", "evt_4"]
    assert (await outbox.counts())["ep_a"] == {DELIVERED: 2}
    assert await outbox.delivery("dlv_1") is None
    assert await outbox.attempts("dlv_1") == []
    assert await outbox.event("evt_1") is None
    assert await retain(outbox, OLD) == (0, 0, 0)


async def test_what_is_unfinished_stays_whatever_its_age(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", enabled=False))
    await delivered(outbox, 1, 2)
    await store(outbox, event(3, "a:1"), event(4, "a:1"))
    await lease(outbox, seconds=100_000_000)
    await delivered(outbox, 5, now=NOW + 20 * DAY)
    assert await retain(outbox, OLD) == (0, 2, 0), "they are finished at one endpoint only"
    assert await events_left(outbox) == [1, 2, 3, 4, 5]
    views = await outbox.deliveries(DeliveryFilter(until=NOW + DAY), 10)
    assert {view.state for view in views} == {PENDING, DeliveryState.LEASED, DeliveryState.WAITING}
    assert await retain(outbox, Retention(EVER, EVER, 1, EVER)) == (0, 0, 0)
    await check_order(outbox)


async def test_events_without_deliveries_go_by_their_age(outbox: OutboxStore) -> None:
    await store(outbox, event(1, time=NOW), event(2, time=NOW + 10 * DAY), event(3, time=NOW), event(4, time=NOW))
    assert await retain(outbox, OLD) == (1, 0, 0), "what stands behind a young one waits for it"
    assert await events_left(outbox) == [2, 3, 4]
    assert await retain(outbox, Retention(EVER, finished_before=EVER)) == (2, 0, 0)
    assert await events_left(outbox) == [4], "the newest stays"


async def test_an_old_event_that_was_finished_lately_stays(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, time=NOW), event(2, time=NOW))
    await finish(outbox, *await lease(outbox), now=NOW + 20 * DAY)
    assert await retain(outbox, OLD) == (0, 0, 0)
    assert await states_of(outbox, 1, 2) == "delivered delivered"


async def test_steps_are_small(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await delivered(outbox, *range(1, 12))
    assert await outbox.retain(OLD, 4) == Retained(4, 4, 0, 4)
    assert await outbox.retain(OLD, 4, 4) == Retained(4, 4, 0, 8)
    assert await outbox.retain(OLD, 4, 8) == Retained(2, 2, 0, None)
    assert await events_left(outbox) == [11]


async def test_numbers_are_never_given_twice(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await delivered(outbox, 1, 2, 3)
    newest = (await outbox.events(1))[0].sequence
    await retain(outbox, Retention(EVER, EVER, 1))
    assert await events_left(outbox) == [3]
    await delivered(outbox, 4)
    assert (await outbox.events(1))[0].sequence == newest + 1
    assert [view.id for view in await outbox.deliveries(EVERYTHING, 10)] == ["dlv_4", "dlv_3"]
    await outbox.add_endpoint(endpoint("ep_new"))
    await outbox.replay(DeliveryFilter(endpoint_id="ep_new"), 1, NOW)
    await finish(outbox, *await lease(outbox))
    await retain(outbox, Retention(EVER, EVER, 1))
    left = [(view.id, view.event_id) for view in await outbox.deliveries(EVERYTHING, 10)]
    assert left == [("dlv_4", "evt_4"), ("dlv_5", "evt_3")], "the newest delivery is of an older event"
    await delivered(outbox, 5)
    assert {"dlv_6", "dlv_7"} <= {view.id for view in await outbox.deliveries(EVERYTHING, 10)}


async def test_only_so_many_events_are_kept(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await delivered(outbox, 1, 2)
    await delivered(outbox, 3, state=DEAD)
    await store(outbox, event(4, time=NOW))
    await lease(outbox, seconds=100_000_000)
    await delivered(outbox, 5)
    await delivered(outbox, 6, now=NOW + DAY)
    await delivered(outbox, 7, 8, 9, now=NOW + DAY)
    most = Retention(NOW + DAY, most_events=2)
    assert await retain(outbox, most) == (3, 3, 0)
    assert await events_left(outbox) == [3, 4, 6, 7, 8, 9], "a dead letter, an unfinished one, what is not settled"
    assert (await outbox.counts())["ep_a"] == {DELIVERED: 4, DEAD: 1, DeliveryState.LEASED: 1}
    assert await retain(outbox, Retention(EVER, NOW - DAY, 2)) == (2, 2, 0), "the dead letter is not that old"
    assert await retain(outbox, Retention(EVER, NOW + DAY, 2)) == (1, 1, 0)
    assert await events_left(outbox) == [4, 8, 9]
    assert await retain(outbox, Retention(EVER, most_events=0)) == (0, 0, 0)


async def test_payloads_are_emptied_before_their_events_go(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await delivered(outbox, 1, 2)
    await delivered(outbox, 3, state=DEAD)
    await store(outbox, event(4, time=NOW))
    await lease(outbox, seconds=100_000_000)
    await store(outbox, event(5, time=NOW + 20 * DAY))
    what = Retention(EVER, payloads_before=NOW + DAY)
    assert await retain(outbox, what, limit=2) == (0, 0, 3)
    stored = {one.id: one for one in await outbox.events(10)}
    assert [stored[f"evt_{number}"].expunged for number in range(1, 6)] == [True, True, True, False, False]
    assert stored["evt_1"].payload == {}
    assert stored["evt_1"].record == "facturascli:1"
    assert [attempt.answer for attempt in await outbox.attempts("dlv_3")] == [""]
    assert [attempt.status for attempt in await outbox.attempts("dlv_3")] == [500]
    assert [view.expunged for view in await outbox.deliveries(EVERYTHING, 10)] == [False, False, True, True, True]
    assert await retain(outbox, what) == (0, 0, 0)
    assert await retain(outbox, Retention(EVER, finished_before=NOW + DAY)) == (3, 3, 0)


async def test_what_is_expunged_is_gone_and_goes_nowhere(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b", enabled=False))
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "a:1"))
    await finish(outbox, *await lease(outbox))
    assert await outbox.expunge(["evt_1", "evt_2"], at(9)) == 3
    views = await outbox.deliveries(EVERYTHING, 10)
    states = [(view.event_id, view.endpoint_id, view.state.value) for view in views if view.event_id != "evt_3"]
    assert sorted(states) == [
        ("evt_1", "ep_a", "delivered"),
        ("evt_1", "ep_b", "cancelled"),
        ("evt_2", "ep_a", "cancelled"),
        ("evt_2", "ep_b", "cancelled"),
    ]
    assert {view.finished_at for view in views if view.state is DeliveryState.CANCELLED} == {at(9)}
    assert await outbox.counts() == {
        "ep_a": {DELIVERED: 1, DeliveryState.CANCELLED: 1, PENDING: 1},
        "ep_b": {DeliveryState.CANCELLED: 2, PENDING: 1},
    }
    await check_order(outbox)
    assert event_ids(await lease(outbox)) == ["evt_3"]
    stored = await outbox.event("evt_1")
    assert stored is not None
    assert (stored.expunged, stored.payload, stored.name) == (True, {}, "invoice.updated")
    assert [attempt.answer for attempt in await outbox.attempts(views[-1].id)] == [""]
    for view in views:
        if view.event_id != "evt_3":
            with pytest.raises(UsageError, match=rf"event {view.event_id} was expunged"):
                await outbox.retry(view.id, NOW)
    step = await outbox.replay(EVERYTHING, 10, NOW)
    assert (step.deliveries, step.expunged) == (0, 4)
    await outbox.add_endpoint(endpoint("ep_new"))
    step = await outbox.replay(DeliveryFilter(endpoint_id="ep_new"), 10, NOW)
    assert (step.deliveries, step.expunged) == (1, 2)
    assert await outbox.expunge(["evt_1"], at(10)) == 0


async def test_an_event_that_is_being_sent_is_expunged_with_what_comes_back(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3))
    sending = await lease(outbox)
    assert await outbox.expunge(["evt_1"], NOW) == 1
    assert await states_of(outbox, 1, 2, 3) == "cancelled pending leased"
    results = [
        outcome(one, state, NOW, answer="A secret of the record.")
        for one, state in zip(sending, (PENDING, DELIVERED), strict=True)
    ]
    await outbox.finish("w", results, NOW)
    assert await states_of(outbox, 1, 2, 3) == "cancelled pending delivered"
    assert [attempt.answer for attempt in await outbox.attempts(sending[0].id)] == [""]
    assert [attempt.answer for attempt in await outbox.attempts(sending[1].id)] == ["A secret of the record."]


async def test_an_expunged_event_stays_known(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await outbox.expunge(["evt_1"], NOW)
    assert (await store(outbox, event(1))).events == 0
    stored = await outbox.event("evt_1")
    assert stored is not None
    assert stored.expunged


async def test_an_unknown_event_spares_the_others(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    with pytest.raises(UsageError, match="no event evt_99"):
        await outbox.expunge(["evt_1", "evt_99"], NOW)
    assert await states_of(outbox, 1) == "pending"
    assert (await delivery_of(outbox, 1)).expunged is False
    assert await outbox.expunge([], NOW) == 0
