"""Tenants take turns: many endpoints of one, or slow ones, delay no delivery of another.  Counted in requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.model.change import Position
from cdc.outbox.store import OutboxStore
from support.dispatching import dispatching, endpoint, event
from support.manual_clock import START, ManualClock
from support.memory_outbox import MemoryOutbox
from support.waiting import HANG_SECONDS

SLOTS = 8


class Receivers:
    """Each request is answered when the test says so, or at once (``quick``).  ``started``: tenants, in order."""

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self.started: list[str] = []
        self.open: list[asyncio.Event] = []
        self.news = asyncio.Event()

    async def send(self, request: WebhookRequest) -> Answer:
        self.started.append(request.url.split("/")[3])
        answered = asyncio.Event()
        self.open.append(answered)
        self.news.set()
        if not self.quick:
            await answered.wait()
        return Answer(204, 0.01)

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def release(self) -> None:
        """Answer all, from now on at once."""
        self.quick = True
        for each in self.open:
            each.set()


async def add(outbox: OutboxStore, tenant: str, endpoints: int, events: int, **fields: Any) -> None:
    """Add endpoints of a tenant, each with ``events`` due deliveries of records of their own."""
    for number in range(endpoints):
        url = f"http://127.0.0.1/{tenant}/{number}"
        await outbox.add_endpoint(endpoint(url, f"ep_{tenant}_{number}", sources=(tenant,), **fields))
    await store(outbox, tenant, events)


async def store(outbox: OutboxStore, tenant: str, events: int, first: int = 0) -> None:
    made = [event(each)._replace(id=f"evt_{tenant}_{each}", source=tenant) for each in range(first, first + events)]
    if made:
        await outbox.store(tenant, Position(str(first)), made, {}, START)


BUSY: Mapping[str, Mapping[str, Any]] = {
    "many endpoints": {"endpoints": 60, "events": 3},
    "few endpoints": {"endpoints": 5, "events": 60},
    "one endpoint": {"endpoints": 1, "events": 100, "concurrency": 16},
    "batches": {"endpoints": 60, "events": 4, "batch_size": 2},
    "of several sources": {"endpoints": 60, "events": 3, "sources": ("busy", "other")},
}


@pytest.mark.parametrize("busy", BUSY)
async def test_idle_tenant_starts_at_once_while_another_has_all_slots(outbox: OutboxStore, busy: str) -> None:
    wanted = dict(BUSY[busy])
    sources = wanted.pop("sources", ("busy",))
    for number in range(wanted.pop("endpoints")):
        fields = {name: value for name, value in wanted.items() if name != "events"}
        url = f"http://127.0.0.1/busy/{number}"
        await outbox.add_endpoint(endpoint(url, f"ep_busy_{number}", sources=sources, **fields))
        if not number:
            await add(outbox, "idle", 1, 0)  # among the others
    await store(outbox, "busy", wanted["events"])
    receivers = Receivers()
    async with dispatching(outbox, receivers, ManualClock(), concurrency=SLOTS) as dispatcher:
        await receivers.wait(lambda: len(receivers.started) >= SLOTS)
        await store(outbox, "idle", 1)
        dispatcher.notify()
        await receivers.wait(lambda: "idle" in receivers.started)
        assert receivers.started.count("busy") == SLOTS
        receivers.release()


async def test_idle_tenant_waits_for_few_requests_of_a_quick_one(outbox: OutboxStore) -> None:
    await add(outbox, "busy", 200, 0)
    await add(outbox, "idle", 1, 0)
    await store(outbox, "busy", 6)
    receivers = Receivers(quick=True)
    async with dispatching(outbox, receivers, ManualClock(), concurrency=SLOTS) as dispatcher:
        await receivers.wait(lambda: len(receivers.started) > SLOTS)
        for number in range(3):
            await store(outbox, "idle", 1, first=number)
            before = len(receivers.started)
            dispatcher.notify()
            await receivers.wait(lambda wanted=number + 1: receivers.started.count("idle") == wanted)  # type: ignore[misc]
            assert receivers.started[before:].count("busy") <= 8 * SLOTS, "what was leased before, and no round of all"


async def test_two_busy_tenants_share_the_slots() -> None:
    outbox = MemoryOutbox()  # leases take no time: the order is certain
    await add(outbox, "large", 60, 4)
    await add(outbox, "small", 4, 40, concurrency=SLOTS)
    receivers = Receivers()
    async with dispatching(outbox, receivers, ManualClock(), concurrency=SLOTS):
        for answered in range(10 * SLOTS):  # the oldest request is answered
            await receivers.wait(lambda wanted=answered: len(receivers.started) >= wanted + SLOTS)  # type: ignore[misc]
            receivers.open[answered].set()
        shares = receivers.started[2 * SLOTS : 10 * SLOTS]
        receivers.release()
    assert shares.count("small") >= len(shares) // 3
    assert shares.count("large") >= len(shares) // 3


async def test_due_endpoints_of_runs_come_in_turn(outbox: OutboxStore) -> None:
    for tenant in ("a", "b", "c"):
        await add(outbox, tenant, 3, 1)
    numbers = await outbox.endpoint_numbers()
    assert sorted(numbers, key=lambda each: numbers[each]) == [f"ep_{t}_{n}" for t in "abc" for n in range(3)]
    runs = [(0, numbers["ep_a_2"]), (numbers["ep_b_2"], numbers["ep_c_2"])]
    assert set((await outbox.due_endpoints(START, 9, 0, (), runs)).ids) == {
        f"ep_{t}_{n}" for t in "ac" for n in range(3)
    }
    assert set((await outbox.due_endpoints(START, 9, 0, ["ep_a_0"], runs[:1])).ids) == {"ep_a_1", "ep_a_2"}
    assert (await outbox.due_endpoints(START, 9, 0, (), [(numbers["ep_a_0"], numbers["ep_a_1"])])).ids == ["ep_a_1"]
    assert (await outbox.due_endpoints(START, 9, 0, (), [])).ids == []
