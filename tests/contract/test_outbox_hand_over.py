"""A store leases new deliveries for the dispatcher of its process, as a lease right after the store would."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from cdc.model.change import Position
from cdc.model.delivery import DeliveryState, LeasedDelivery
from cdc.model.endpoint import EndpointChange, Order
from cdc.model.event import Event
from cdc.outbox.base import HandOver, Stored
from cdc.outbox.store import OutboxStore
from support import dispatching as busy
from support.dispatching import dispatching
from support.manual_clock import START, ManualClock
from support.outboxes import NOW, at, endpoint, event, event_ids, finish, lease, state_of, store
from support.waiting import HANG_SECONDS

UNTIL = at(60)


def hand_over(most: int = 8, full: Sequence[str] = ()) -> HandOver:
    return HandOver("w", UNTIL, full, most, lambda _: None)


async def stored(outbox: OutboxStore, *events: Event, seconds: float = 1, **fields: Any) -> Stored:
    return await outbox.store("main", Position("p"), events, {}, at(seconds), hand_over=hand_over(**fields))


async def test_new_delivery_is_leased_as_a_lease_would(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    made = await stored(outbox, event(1))
    assert (made.events, made.deliveries, event_ids(list(made.leased))) == (1, 1, ["evt_1"])
    assert await state_of(outbox, "evt_1") is DeliveryState.LEASED
    assert await lease(outbox, at(59)) == []
    assert await outbox.next_due(at(2)) == UNTIL

    assert await outbox.release("w", at(3)) == 1
    (again,) = await lease(outbox, at(3), seconds=57)
    assert again == made.leased[0]  # body, attempt and all: an attempt that was not made is not counted
    await finish(outbox, again)
    assert await state_of(outbox, "evt_1") is DeliveryState.DELIVERED


async def test_lease_expires_and_attempts_count(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    (first,) = (await stored(outbox, event(1))).leased
    (second,) = await lease(outbox, UNTIL, worker="other")
    assert (first.attempt, second.attempt) == (1, 2)
    await finish(outbox, first, now=UNTIL)  # too late: another one has it
    assert await state_of(outbox, "evt_1") is DeliveryState.LEASED


async def test_stored_again_leases_nothing(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await stored(outbox, event(1))
    assert await stored(outbox, event(1)) == Stored(0, 0)


async def test_each_endpoint_gets_one_and_as_many_as_may_be(outbox: OutboxStore) -> None:
    for number in range(6):
        await outbox.add_endpoint(endpoint(f"ep_{number}"))
    made = await stored(outbox, event(1), event(2), most=4, full=["ep_0"])
    handed = {each.endpoint_id: each.event_id for each in made.leased}
    assert handed == {"ep_1": "evt_1", "ep_2": "evt_1", "ep_3": "evt_1"}
    rest = await lease(outbox, at(2))
    assert (made.deliveries, len(rest)) == (12, 9)


@pytest.mark.parametrize("order", [Order.RECORD, Order.ENDPOINT])
async def test_order_of_a_record_is_kept(outbox: OutboxStore, order: Order) -> None:
    """A delivery is not handed over while an earlier one of its record is new, is being sent, or waits for a retry."""
    await outbox.add_endpoint(endpoint(order=order))
    (first,) = (await stored(outbox, event(1, "r:1"), event(2, "r:1"))).leased
    assert first.event_id == "evt_1"
    assert (await stored(outbox, event(3, "r:1"))).leased == ()
    await finish(outbox, first, state=DeliveryState.PENDING, due_at=at(30))
    assert (await stored(outbox, event(4, "r:1"))).leased == ()
    assert event_ids(await lease(outbox, at(30))) == ["evt_1"]


async def test_renamed_record_waits_for_its_former_name(outbox: OutboxStore) -> None:
    await outbox.add_endpoint(endpoint())
    await stored(outbox, event(1, "r:1"))
    assert (await stored(outbox, event(2, "r:2", renamed_from="r:1"))).leased == ()
    assert (await stored(outbox, event(3, "r:2"))).leased == ()


async def test_endpoint_with_something_due_keeps_its_turn(outbox: OutboxStore) -> None:
    """Nothing overtakes a backlog: what is due is leased in the order in which it fell due."""
    await outbox.add_endpoint(endpoint())
    await store(outbox, event(1), now=NOW)
    assert (await stored(outbox, event(2))).leased == ()
    assert event_ids(await lease(outbox, at(2))) == ["evt_1", "evt_2"]
    (third,) = (await stored(outbox, event(3), seconds=3)).leased  # all others are being sent
    assert third.event_id == "evt_3"


async def test_disabled_and_removed_endpoints_get_nothing(outbox: OutboxStore) -> None:
    for name in ("ep_off", "ep_gone", "ep_on"):
        await outbox.add_endpoint(endpoint(name))
    await outbox.change_endpoint("ep_off", EndpointChange(enabled=False))
    await outbox.remove_endpoint("ep_gone", NOW)
    assert [each.endpoint_id for each in (await stored(outbox, event(1))).leased] == ["ep_on"]


class _Sending:
    """Answers the idle tenant at once, all others never."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        self.all = 0

    async def send(self, request: Any) -> Any:
        self.all += 1
        if request.url.endswith("idle"):
            self.idle.set()
        await asyncio.Event().wait()


async def test_idle_tenant_needs_no_lease_beside_a_busy_one(
    outbox: OutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event is on its way when the store returns, while a lease for the other tenant is under way."""
    slots = 8
    for number in range(60):
        url = f"http://127.0.0.1/busy/{number}"
        await outbox.add_endpoint(busy.endpoint(url, f"ep_{number}", sources=("busy",)))
    await outbox.add_endpoint(busy.endpoint("http://127.0.0.1/idle", "ep_idle", sources=("idle",)))
    backlog = [busy.event(number)._replace(source="busy") for number in range(1, 4)]
    await outbox.store("busy", Position("1"), backlog, {}, START)
    leasing, real = asyncio.Event(), outbox.lease
    hang = False

    async def hanging(*args: Any, **named: Any) -> list[LeasedDelivery]:
        if hang:
            leasing.set()
            await asyncio.Event().wait()
        return await real(*args, **named)

    monkeypatch.setattr(outbox, "lease", hanging)
    clock, sender = ManualClock(START + timedelta(seconds=1)), _Sending()
    async with asyncio.timeout(HANG_SECONDS), dispatching(outbox, sender, clock, concurrency=slots) as dispatcher:
        while sender.all < slots:  # noqa: ASYNC110 - all slots are taken, and the others never answer
            await asyncio.sleep(0)
        hang = True
        one = busy.event(9)._replace(source="idle")
        offer = dispatcher.hand_over("idle")
        assert offer is not None
        made = await outbox.store("idle", Position("1"), [one], {}, clock.now(), hand_over=offer)
        offer.take(made.leased)
        await sender.idle.wait()
