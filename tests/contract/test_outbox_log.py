"""What every outbox holds: the delivery log, counts, retries by hand."""

from __future__ import annotations

import pytest

from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.errors import UsageError
from cdc.outbox.store import OutboxStore
from support.outboxes import (
    EVERYTHING,
    NOW,
    at,
    delivery_of,
    endpoint,
    event,
    finish,
    lease,
    outcome,
    states_of,
    store,
)

DEAD, PENDING = DeliveryState.DEAD, DeliveryState.PENDING


async def one_of_each_state(outbox: OutboxStore) -> None:
    """Events 1 to 6: delivered, dead, leased, waiting, pending; 6 cancelled at ``ep_gone``, pending at ``ep_a``."""
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1, name="invoice.paid"), event(2), event(3, "a:1"), event(4, "a:1"), now=at(1))
    delivered, dead, _ = await lease(outbox, at(1))
    await finish(outbox, delivered, now=at(2))
    await finish(outbox, dead, state=DEAD, now=at(2))
    await store(outbox, event(5), now=at(3))
    await outbox.add_endpoint(endpoint("ep_gone", events=("stock.*",)))
    await store(outbox, event(6, name="stock.changed", source="shop"), now=at(4))
    await outbox.remove_endpoint("ep_gone", at(5))


async def found(outbox: OutboxStore, **fields: object) -> list[str]:
    return [view.event_id for view in await outbox.deliveries(DeliveryFilter(**fields), 10)]  # type: ignore[arg-type] # a test's shorthand


async def test_deliveries_are_listed_newest_first_in_pages(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(number) for number in range(1, 8)])
    pages, before = [], None
    while page := await outbox.deliveries(EVERYTHING, 3, before):
        pages.append([view.event_id for view in page])
        before = page[-1].id
    assert pages == [["evt_7", "evt_6", "evt_5"], ["evt_4", "evt_3", "evt_2"], ["evt_1"]]
    for unknown in ("nonsense", "dlv_99"):
        with pytest.raises(UsageError, match=f"no delivery {unknown}"):
            await outbox.deliveries(EVERYTHING, 3, unknown)


async def test_filters_narrow_a_listing(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    assert await found(outbox) == ["evt_6", "evt_6", "evt_5", "evt_4", "evt_3", "evt_2", "evt_1"]
    assert await found(outbox, endpoint_id="ep_gone") == ["evt_6"]
    assert await found(outbox, endpoint_id="ep_none") == []
    assert await found(outbox, event_id="evt_6") == ["evt_6", "evt_6"]
    assert await found(outbox, event_pattern="invoice.p*") == ["evt_1"]
    assert await found(outbox, event_pattern="*") == await found(outbox)
    assert await found(outbox, record="a:1") == ["evt_4", "evt_3"]
    assert await found(outbox, record="a:1", state=DeliveryState.WAITING) == ["evt_4"]
    with pytest.raises(UsageError, match="not an event pattern"):
        await found(outbox, event_pattern="invoice.?")


@pytest.mark.parametrize(
    ("state", "events"),
    [
        (DeliveryState.DELIVERED, ["evt_1"]),
        (DeliveryState.DEAD, ["evt_2"]),
        (DeliveryState.LEASED, ["evt_3"]),
        (DeliveryState.WAITING, ["evt_4"]),
        (DeliveryState.PENDING, ["evt_6", "evt_5"]),
        (DeliveryState.CANCELLED, ["evt_6"]),
    ],
)
async def test_a_listing_of_one_state(outbox: OutboxStore, state: DeliveryState, events: list[str]) -> None:
    await one_of_each_state(outbox)
    assert await found(outbox, state=state) == events
    views = await outbox.deliveries(DeliveryFilter(state=state), 10)
    assert {view.state for view in views} == {state}
    assert all((view.due_at is not None) == (state is PENDING) for view in views)


async def test_a_delivery_by_its_id(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    for view in await outbox.deliveries(EVERYTHING, 10):
        assert await outbox.delivery(view.id) == view
    view = await delivery_of(outbox, 4)
    assert (view.event_name, view.record, view.source) == ("invoice.updated", "a:1", "main")
    assert (view.created_at, view.last_status, view.last_error) == (at(1), None, "")
    for unknown in ("dlv_99", "dlv_0", "dlv_-1", "1", "", "evt_1"):
        assert await outbox.delivery(unknown) is None
        assert await outbox.attempts(unknown) == []


async def test_attempts_are_listed_oldest_first_as_they_were_recorded(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    recorded = []
    for seconds in (0, 1, 2):
        (leased,) = await lease(outbox, at(seconds))
        done = outcome(leased, PENDING, at(seconds + 1), status=None, started_at=at(seconds), error="Refused «é».")
        await outbox.finish("w", [done], at(seconds))
        recorded.append(done.attempt)
    view = await delivery_of(outbox, 1)
    assert await outbox.attempts(view.id) == recorded
    assert (view.last_status, view.last_error) == (None, "Refused «é».")


async def test_counts_are_by_endpoint_and_state(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    await outbox.add_endpoint(endpoint("ep_new"))
    assert await outbox.counts() == {
        "ep_a": {
            DeliveryState.WAITING: 1,
            DeliveryState.PENDING: 2,
            DeliveryState.LEASED: 1,
            DeliveryState.DELIVERED: 1,
            DeliveryState.DEAD: 1,
        },
        "ep_new": {},
    }
    await outbox.retry((await delivery_of(outbox, 2)).id, NOW)
    counts = (await outbox.counts())["ep_a"]
    assert DeliveryState.DEAD not in counts
    assert counts[DeliveryState.PENDING] == 3


async def test_counts_leave_out_finished_tests(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    of_table = event(4, "test:c")  # of a database, not of a test
    await store(outbox, event(1), event(2, "test:a", source="test"), event(3, "test:b", source="test"), of_table)
    for leased in await lease(outbox):
        await finish(outbox, leased, state=DEAD if leased.event_id == "evt_3" else DeliveryState.DELIVERED)
    assert await outbox.counts() == {"ep_a": {DeliveryState.DELIVERED: 2}}
    await outbox.retry((await delivery_of(outbox, 1)).id, NOW)
    assert await outbox.counts() == {"ep_a": {DeliveryState.DELIVERED: 1, PENDING: 1}}


async def test_only_so_many_unfinished_deliveries_are_counted(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    for most, least, greatest in ((1, 1, 2), (2, 2, 3), (4, 4, 4), (5, 4, 4)):  # those on their way are all counted
        counts = (await outbox.counts(most))["ep_a"]
        assert least <= sum(number for state, number in counts.items() if not state.final) <= greatest
        assert counts[DeliveryState.DELIVERED] == counts[DeliveryState.DEAD] == 1


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
async def test_a_retry_by_hand_begins_anew(outbox: OutboxStore, state: DeliveryState) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox), state=PENDING)
    await finish(outbox, *await lease(outbox), state=state)
    before = await delivery_of(outbox, 1)
    await outbox.retry(before.id, at(50))
    view = await delivery_of(outbox, 1)
    assert (view.state, view.attempts, view.due_at, view.finished_at) == (PENDING, 0, at(50), None)
    assert await lease(outbox, at(49)) == []
    (leased,) = await lease(outbox, at(50))
    assert leased.attempt == 1
    assert await outbox.release("w", at(51)) == 1
    assert (await delivery_of(outbox, 1)).attempts == 0
    assert [attempt.number for attempt in await outbox.attempts(view.id)] == [1, 2]


async def test_delivery_on_its_way_or_behind_another_cannot_be_retried(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    for number in (3, 4):
        with pytest.raises(UsageError, match="on its way, or waits for an earlier one"):
            await outbox.retry((await delivery_of(outbox, number)).id, NOW)
    with pytest.raises(UsageError, match="no delivery dlv_99"):
        await outbox.retry("dlv_99", NOW)
    assert await states_of(outbox, 3, 4, 5) == "leased waiting pending"


async def test_a_cancelled_delivery_has_nowhere_to_go(outbox: OutboxStore) -> None:
    await one_of_each_state(outbox)
    (cancelled,) = await outbox.deliveries(DeliveryFilter(endpoint_id="ep_gone"), 1)
    with pytest.raises(UsageError, match="was removed"):
        await outbox.retry(cancelled.id, NOW)
    assert await outbox.delivery(cancelled.id) == cancelled


async def test_an_attempt_shows_why_an_endpoint_fails_and_durations_are_the_newest(outbox: OutboxStore) -> None:
    for name in ("ep_dead", "ep_late", "ep_new", "ep_well"):
        await outbox.add_endpoint(endpoint(name))
    await store(outbox, event(1), event(2), now=at(1))
    attempts = {
        "ep_dead": (DEAD, None, {"error": "Given up.", "duration": 3.0}),
        "ep_late": (PENDING, at(60), {"error": "Refused.", "answer": "later", "duration": 2.0}),
        "ep_well": (DeliveryState.DELIVERED, None, {"duration": 1.0}),
    }
    leased = await lease(outbox, at(1))
    for name in ("ep_dead", "ep_late", "ep_well"):
        state, due, attempt = attempts[name]
        sent = [each for each in leased if each.endpoint_id == name]
        await outbox.finish("w", [outcome(each, state, due, **attempt) for each in sent], at(2))  # type: ignore[arg-type] # the fields of an attempt
    failures = await outbox.last_failures(["ep_dead", "ep_late", "ep_new", "ep_well", "ep_none"])
    assert {name: (each.error, each.answer) for name, each in failures.items()} == {
        "ep_dead": ("Given up.", "oops"),
        "ep_late": ("Refused.", "later"),
    }
    assert await outbox.durations(None, 3) == [1.0, 1.0, 2.0]
    assert await outbox.durations("ep_dead", 10) == [3.0, 3.0]
    assert len(await outbox.durations("ep_dead", 1)) == 1
    assert await outbox.durations("ep_new", 10) == []
