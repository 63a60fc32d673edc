"""What every outbox holds: replays."""

from __future__ import annotations

import pytest

from cdc.model.audit import AuditEntry
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.errors import UsageError
from cdc.model.event import OPERATIONS
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
    state_of,
    states_of,
    store,
)

DEAD, PENDING, DELIVERED = DeliveryState.DEAD, DeliveryState.PENDING, DeliveryState.DELIVERED
LATER = at(100)


async def replay(
    outbox: OutboxStore, which: DeliveryFilter = EVERYTHING, limit: int = 100, *, dry_run: bool = False
) -> list[int]:
    """All steps; how many deliveries each made due."""
    steps, after = [], None
    while True:
        step = await outbox.replay(which, limit, LATER, after, dry_run=dry_run)
        steps.append(step.deliveries)
        after = step.after
        if after is None:
            return steps


async def drain(outbox: OutboxStore, state: DeliveryState = DELIVERED) -> list[list[str]]:
    """Which events go at a time, until all have gone."""
    turns = []
    while leased := await lease(outbox, LATER):
        turns.append(event_ids(leased))
        await finish(outbox, *leased, state=state, now=LATER)
    return turns


async def test_what_is_finished_goes_again_with_the_same_ids(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), event(2), event(3))
    first, second, _ = await lease(outbox, seconds=1000)
    await outbox.finish("w", [outcome(first), outcome(second, DEAD)], NOW)
    before = {view.id: view.event_id for view in await outbox.deliveries(EVERYTHING, 10)}
    assert await replay(outbox) == [2]
    assert await states_of(outbox, 1, 2, 3) == "pending pending leased"
    view = await delivery_of(outbox, 2)
    assert (view.attempts, view.due_at, view.finished_at) == (0, LATER, None)
    assert await lease(outbox, at(50)) == []
    leased = await lease(outbox, LATER, limit=2)
    assert {one.id: one.event_id for one in leased}.items() <= before.items()
    assert [one.attempt for one in leased] == [1, 1]
    assert [attempt.number for attempt in await outbox.attempts(view.id)] == [1]
    assert (await outbox.counts())["ep_a"] == {DeliveryState.LEASED: 3}


async def test_a_replay_can_be_narrowed(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, event(1, "a:1"), event(2, name="stock.changed"), event(3, source="shop"), event(4))
    leased = await lease(outbox)
    await outbox.finish("w", [outcome(one, DEAD if one.event_id == "evt_4" else DELIVERED) for one in leased], NOW)
    for which, count in (
        (DeliveryFilter(endpoint_id="ep_b"), 4),
        (DeliveryFilter(endpoint_id="ep_b", state=DEAD), 1),
        (DeliveryFilter(state=DEAD), 2),
        (DeliveryFilter(event_pattern="stock.*"), 2),
        (DeliveryFilter(event_id="evt_3"), 2),
        (DeliveryFilter(record="a:1", endpoint_id="ep_a"), 1),
        (DeliveryFilter(source="shop", event_pattern="invoice.*"), 2),
        (DeliveryFilter(since=at(2), until=at(4)), 4),
        (DeliveryFilter(state=PENDING), 0),
        (EVERYTHING, 8),
    ):
        assert await replay(outbox, which, dry_run=True) == [count], which
    assert await replay(outbox, DeliveryFilter(state=DEAD, endpoint_id="ep_a")) == [1]
    assert await state_of(outbox, "evt_4", "ep_a") is PENDING
    assert await state_of(outbox, "evt_4", "ep_b") is DEAD


@pytest.mark.parametrize("which", [EVERYTHING, DeliveryFilter(endpoint_id="ep_a"), DeliveryFilter(state=DELIVERED)])
async def test_small_steps_come_to_the_same(outbox: OutboxStore, which: DeliveryFilter) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_b"))
    await store(outbox, *[event(number, f"a:{number % 3}") for number in range(1, 12)])
    await drain(outbox)
    wanted = 11 if which.endpoint_id else 22
    assert await replay(outbox, which, dry_run=True) == [wanted]
    assert await replay(outbox, which, 4, dry_run=True) in ([4] * 2 + [3], [4] * 5 + [2])
    assert {view.state for view in await outbox.deliveries(EVERYTHING, 100)} == {DELIVERED}
    steps = await replay(outbox, which, 4)
    assert sum(steps) == wanted
    assert max(steps) == 4
    await check_order(outbox)
    assert sum(len(turn) for turn in await drain(outbox)) == wanted


async def test_an_interrupted_replay_goes_on_where_it_stood(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, *[event(number) for number in range(1, 6)])
    await drain(outbox)
    first = await outbox.replay(EVERYTHING, 2, LATER)
    await drain(outbox)
    assert first.after is not None
    rest = await outbox.replay(EVERYTHING, 9, LATER, first.after)
    assert (rest.deliveries, rest.after) == (3, None)
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "delivered delivered pending pending pending"
    with pytest.raises(UsageError, match="not a place in the log"):
        await outbox.replay(EVERYTHING, 2, LATER, "nonsense")


async def test_a_record_s_order_holds(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"), event(2, "a:1"), event(3, "a:1"), event(4, "b:1"))
    await drain(outbox)
    await store(outbox, event(5, "a:1"))
    assert await replay(outbox) == [4]
    assert await states_of(outbox, 1, 2, 3, 4, 5) == "pending waiting waiting pending waiting"
    assert await drain(outbox) == [["evt_1", "evt_4"], ["evt_2"], ["evt_3"], ["evt_5"]]


async def test_what_is_being_sent_is_waited_for(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1, "a:1"))
    await drain(outbox)
    await store(outbox, event(2, "a:1"))
    sending = await lease(outbox, NOW, seconds=1000)
    assert await replay(outbox) == [1]
    assert await states_of(outbox, 1, 2) == "waiting leased"
    await finish(outbox, *sending)
    assert await states_of(outbox, 1, 2) == "pending delivered"


async def test_a_removed_endpoint_gets_nothing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await outbox.add_endpoint(endpoint("ep_gone"))
    await store(outbox, event(1))
    await finish(outbox, *await lease(outbox))
    await outbox.remove_endpoint("ep_gone", NOW)
    assert await replay(outbox) == [1]
    for name in ("ep_gone", "ep_none"):
        with pytest.raises(UsageError, match=f"no endpoint {name}"):
            await replay(outbox, DeliveryFilter(endpoint_id=name))


async def test_a_disabled_endpoint_keeps_what_is_replayed(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1))
    await drain(outbox)
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=False))
    assert await replay(outbox) == [1]
    assert await lease(outbox, LATER) == []
    await outbox.change_endpoint("ep_a", EndpointChange(enabled=True))
    assert await drain(outbox) == [["evt_1"]]


async def history(outbox: OutboxStore, **fields: object) -> None:
    """Events 1 to 6, then a second endpoint, then event 7."""
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(
        outbox,
        event(1, "a:1", name="invoice.created"),
        event(2, "a:1", name="invoice.paid"),
        event(3, "b:1", name="stock.changed"),
        event(4, "a:1", name="invoice.paid", source="shop"),
        event(5, "test:x", name="invoice.paid", source="test"),
        event(6, "endpoint:x", name="endpoint.failing", source=OPERATIONS),
    )
    await drain(outbox)
    await outbox.add_endpoint(endpoint("ep_new", **fields))
    await store(outbox, event(7, "a:1", name="invoice.paid"))
    await drain(outbox)


NEW = DeliveryFilter(endpoint_id="ep_new")


async def test_a_new_endpoint_can_have_the_history(outbox: OutboxStore) -> None:
    await history(outbox)
    assert await replay(outbox, NEW, dry_run=True) == [5]
    assert [view.event_id for view in await outbox.deliveries(NEW, 10)] == ["evt_7"]
    assert await replay(outbox, NEW) == [5]
    views = await outbox.deliveries(NEW, 10)
    assert [view.event_id for view in views] == ["evt_7", "evt_4", "evt_3", "evt_2", "evt_1"]
    assert {view.created_at for view in views if view.event_id != "evt_7"} == {LATER}
    await check_order(outbox)
    assert await drain(outbox) == [["evt_1", "evt_3", "evt_4"], ["evt_2"], ["evt_7"]]
    assert (await outbox.counts())["ep_new"] == {DELIVERED: 5}


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"events": ("invoice.paid",)}, [2, 4, 7]),
        ({"sources": ("shop",)}, [4, 7]),
        ({"events": ("endpoint.*",)}, [6]),
        ({"condition": 'record == "b:1"'}, [3]),
        ({"condition": "data.total > 1.0 && event != 'invoice.paid'"}, [1, 3]),
    ],
)
async def test_history_is_what_the_endpoint_wants(
    outbox: OutboxStore, fields: dict[str, object], numbers: list[int]
) -> None:
    await history(outbox)
    await outbox.change_endpoint("ep_new", EndpointChange(**fields))  # type: ignore[arg-type] # a test's shorthand
    await replay(outbox, NEW)
    got = {view.event_id for view in await outbox.deliveries(NEW, 10)}
    assert got == {f"evt_{number}" for number in (*numbers, 7)}


async def test_history_can_be_narrowed(outbox: OutboxStore) -> None:
    await history(outbox)
    for which, count in (
        (DeliveryFilter(endpoint_id="ep_new", event_pattern="invoice.paid"), 3),
        (DeliveryFilter(endpoint_id="ep_new", record="b:1"), 1),
        (DeliveryFilter(endpoint_id="ep_new", until=at(3)), 2),
        (DeliveryFilter(endpoint_id="ep_new", since=at(3), source="main"), 2),
        (DeliveryFilter(endpoint_id="ep_new", state=DELIVERED), 1),
        (DeliveryFilter(endpoint_id="ep_new", state=DEAD), 0),
    ):
        assert await replay(outbox, which, dry_run=True) == [count], which


@pytest.mark.parametrize("order", list(Order))
async def test_history_comes_before_what_waits_already(outbox: OutboxStore, order: Order) -> None:
    await outbox.add_endpoint(endpoint("ep_a"))
    await store(outbox, event(1, "a:1"), event(2, "a:1"))
    await drain(outbox)
    await outbox.add_endpoint(endpoint("ep_new", order=order))
    await store(outbox, event(3, "a:1"))
    await replay(outbox, NEW, 1)
    leased = [one.event_id for one in await lease(outbox, LATER) if one.endpoint_id == "ep_new"]
    assert sorted(leased) == (["evt_1", "evt_2", "evt_3"] if order is Order.NONE else ["evt_1"])


async def test_history_in_small_steps_keeps_its_order(outbox: OutboxStore) -> None:
    """Also where the endpoint had some of it before, under another pattern."""
    await outbox.add_endpoint(endpoint("ep_new", events=("invoice.paid",)))
    names = ("invoice.paid", "invoice.updated")
    await store(outbox, *[event(number, "a:1", name=names[number % 2]) for number in range(1, 10)])
    await drain(outbox)
    await outbox.change_endpoint("ep_new", EndpointChange(events=("*",)))
    assert sum(await replay(outbox, NEW, 2)) == 9
    await check_order(outbox)
    assert await drain(outbox) == [[f"evt_{number}"] for number in range(1, 10)]
    ids = [view.id for view in await outbox.deliveries(EVERYTHING, 100)]
    assert len(set(ids)) == len(ids) == 9


async def test_a_history_is_given_once(outbox: OutboxStore) -> None:
    await history(outbox)
    await replay(outbox, NEW)
    assert await replay(outbox, NEW, dry_run=True) == [0], "none of it is finished"
    await drain(outbox)
    before = [view.id for view in await outbox.deliveries(NEW, 10)]
    assert await replay(outbox, NEW) == [5]
    assert [view.id for view in await outbox.deliveries(NEW, 10)] == before
    assert await store(outbox, event(1, "a:1", name="invoice.created")) is not None
    assert len(await outbox.deliveries(NEW, 10)) == 5


async def test_more_than_a_step_looks_at(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint("ep_a", events=("stock.*",)))
    names = dict.fromkeys((1, 650, 1210), "stock.changed")
    await store(outbox, *[event(number, name=names.get(number, "invoice.paid")) for number in range(1, 1300)])
    await outbox.add_endpoint(endpoint("ep_new", events=("stock.*",)))
    steps = await replay(outbox, NEW)
    assert sum(steps) == 3
    assert {view.event_id for view in await outbox.deliveries(NEW, 10)} == {"evt_1", "evt_650", "evt_1210"}


async def test_what_waits_for_its_next_attempt_is_sent_now(outbox: OutboxStore) -> None:
    """Of one endpoint: neither what is being sent nor what waits for an earlier event of its record."""
    for name in ("ep_a", "ep_b"):
        await outbox.add_endpoint(endpoint(name))
    await store(outbox, event(1), event(2), event(3), event(4), event(5, "facturascli:1"))
    leased = [each for each in await lease(outbox, seconds=1000) if each.endpoint_id == "ep_a"]
    await finish(outbox, *leased[:3], state=PENDING, due_at=at(500))
    assert await outbox.later("ep_a", LATER, 2) == 2
    assert await outbox.later("ep_b", LATER, 10) == await outbox.hurry("ep_b", LATER, 10) == 0
    assert await outbox.hurry("ep_a", LATER, 2) == 2
    assert await outbox.later("ep_a", LATER, 10) == 1
    assert await outbox.hurry("ep_a", LATER, 10, [AuditEntry(LATER, "cli:root", "endpoint.retry", "ep_a")]) == 1
    assert event_ids(await lease(outbox, LATER)) == ["evt_1", "evt_2", "evt_3"]
    views = await outbox.deliveries(DeliveryFilter(endpoint_id="ep_a"), 10)
    assert {view.event_id: view.attempts for view in views} == {
        "evt_1": 2,
        "evt_2": 2,
        "evt_3": 2,
        "evt_4": 1,
        "evt_5": 0,
    }
    assert await outbox.hurry("ep_none", LATER, 10) == await outbox.later("ep_none", LATER, 10) == 0
    await check_order(outbox)
