"""Nouns for outbox tests, and what every outbox must hold at any moment."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cdc.model.change import Position
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, DeliveryView, LeasedDelivery, Outcome
from cdc.model.endpoint import Endpoint, Order
from cdc.model.errors import PositionMoved
from cdc.model.event import Event
from cdc.outbox.base import Stored
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.relay import StoreRequest
from cdc.outbox.store import OutboxStore, StoreQueue

#: So many open outboxes of one database, each as a process of its own has it.
Processes = Callable[[int], Awaitable[list[PostgresOutbox]]]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
EVERYTHING = DeliveryFilter()
UNFINISHED = (DeliveryState.WAITING, DeliveryState.PENDING, DeliveryState.LEASED)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def stored_together(
    outbox: OutboxStore, *stores: Coroutine[Any, Any, Stored]
) -> tuple[list[Stored | BaseException], list[list[str]]]:
    """Begin stores while another one is under way.  Return their results, and the sources of each transaction."""
    sources, queue, free = list[list[str]](), outbox._stores, asyncio.Event()

    async def run(requests: Sequence[StoreRequest]) -> Sequence[Stored | PositionMoved]:
        sources.append([each.source for each in requests])
        if len(sources) == 1:
            await free.wait()
        return await outbox._store(requests)

    outbox._stores = StoreQueue(run)
    first = asyncio.create_task(outbox.store("first", Position("1"), [], {}, NOW))
    others = [asyncio.create_task(each) for each in stores]
    await asyncio.sleep(0)  # each waits for the first
    free.set()
    results = await asyncio.gather(*others, return_exceptions=True)
    await first
    outbox._stores = queue
    return results, sources[1:]


def fixed(position: Position | None) -> Callable[[], Awaitable[Position | None]]:
    """Return what reads the position of an outbox that nobody writes to."""

    async def stored() -> Position | None:
        return position

    return stored


def endpoint(name: str = "ep_a", **fields: Any) -> Endpoint:
    fields = {"url": f"https://{name}.example.com", "events": ("*",), "secret": "whsec_c2VjcmV0"} | fields
    return Endpoint(id=name, created_at=fields.pop("created_at", NOW), **fields)


def event(number: int, record: str = "", **fields: Any) -> Event:
    """Event ``evt_<number>``; its record is its own unless one is named."""
    table, _, key = (record or f"facturascli:{number}").partition(":")
    defaults: dict[str, Any] = {
        "id": f"evt_{number}",
        "name": "invoice.updated",
        "source": "main",
        "table": table,
        "record": f"{table}:{key}",
        "key": {"idfactura": key},
        "data": {"idfactura": key, "total": 1.5},
        "previous": {"total": 1.0},
        "time": at(number),
        "transaction": f"t{number}",
    }
    return Event(**(defaults | fields))


async def store(outbox: OutboxStore, *events: Event, now: datetime = NOW, position: str = "p") -> Stored:
    return await outbox.store("main", Position(position), events, {}, now)


async def lease(
    outbox: OutboxStore, now: datetime = NOW, limit: int = 100, worker: str = "w", seconds: float = 60, **room: int
) -> list[LeasedDelivery]:
    return await outbox.lease(worker, now, now + timedelta(seconds=seconds), limit, room or None)


def outcome(
    delivery: LeasedDelivery,
    state: DeliveryState = DeliveryState.DELIVERED,
    due_at: datetime | None = None,
    disable_reason: str = "",
    **attempt: Any,
) -> Outcome:
    fine = state is DeliveryState.DELIVERED
    defaults: dict[str, Any] = {
        "url": "https://example.com",
        "status": 200 if fine else 500,
        "started_at": NOW,
        "duration": 0.25,
        "error": "" if fine else "The endpoint answered 500.",
        "answer": "ok" if fine else "oops",
    }
    made = Attempt(delivery.id, delivery.attempt, delivery.event_id, delivery.event_name, **(defaults | attempt))
    return Outcome(made, state, due_at, disable_reason, 1, delivery.endpoint_id, delivery.source)


async def finish(
    outbox: OutboxStore,
    *deliveries: LeasedDelivery,
    state: DeliveryState = DeliveryState.DELIVERED,
    due_at: datetime | None = None,
    now: datetime = NOW,
    worker: str = "w",
) -> None:
    await outbox.finish(worker, [outcome(delivery, state, due_at) for delivery in deliveries], now)


def event_ids(deliveries: list[LeasedDelivery]) -> list[str]:
    return [delivery.event_id for delivery in deliveries]


async def state_of(outbox: OutboxStore, event_id: str, endpoint_id: str | None = None) -> DeliveryState:
    (view,) = await outbox.deliveries(DeliveryFilter(event_id=event_id, endpoint_id=endpoint_id), 10)
    return view.state


async def states_of(outbox: OutboxStore, *numbers: int) -> str:
    """The states of the only deliveries of these events, in one word each."""
    return " ".join([(await state_of(outbox, f"evt_{number}")).value for number in numbers])


async def delivery_of(outbox: OutboxStore, number: int) -> DeliveryView:
    (view,) = await outbox.deliveries(DeliveryFilter(event_id=f"evt_{number}"), 10)
    return view


async def check_order(outbox: OutboxStore, apart: Collection[str] = (), without: Collection[str] = ()) -> None:
    """Assert the order of deliveries at endpoints whose order was never changed: at most one unfinished delivery of a
    lane is active, and unless it is leased, it is the oldest.  ``apart``: ids of tests; ``without``: of endpoints."""
    orders = {one.id: one.order for one in await outbox.endpoints()}
    lines: dict[tuple[str, ...], list[DeliveryView]] = defaultdict(list)
    for view in reversed(await outbox.deliveries(EVERYTHING, 1_000_000)):
        if view.state in UNFINISHED and view.endpoint_id not in without:
            order = Order.RECORD if view.id in apart else orders[view.endpoint_id]
            line = {Order.RECORD: (view.source, view.record), Order.ENDPOINT: (), Order.NONE: (view.id,)}[order]
            lines[view.endpoint_id, *line].append(view)
    for unfinished in lines.values():
        active = [view for view in unfinished if view.state is not DeliveryState.WAITING]
        assert len(active) <= 1, unfinished
        assert not active or active[0] is unfinished[0] or active[0].state is DeliveryState.LEASED, unfinished
