"""The log of the PostgreSQL outbox: listings and counts (reading), and the retry by hand (under `Lock.FREELY`)."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Final

from cdc.delivery import Attempt, DeliveryState, DeliveryView
from cdc.endpoint import Order
from cdc.outbox.base import DeliveryFilter, StoredEvent
from cdc.outbox.postgres_lanes import current_lane, settle
from cdc.outbox.postgres_rows import ACTIVE, STATES, attempt_from, event_from, storable, view_from
from cdc.outbox.postgres_session import Db, Tell
from cdc.outbox.shared import delivery_number, endpoint_removed, no_delivery, not_finished
from cdc.pattern import check_pattern
from cdc.sqlfile import render

#: the state with which ``counts.sql`` reports the leased among the active
_LEASED_AMONG_ACTIVE: Final = 5
#: the term of ``deliveries.sql`` for each state; literals, so that partial indexes serve
STATE_TERMS: Final = {
    DeliveryState.WAITING: "delivery.state < 2 AND delivery.state = 0",
    DeliveryState.PENDING: "delivery.state = 1 AND delivery.worker IS NULL",
    DeliveryState.LEASED: "delivery.state = 1 AND delivery.worker IS NOT NULL",
    DeliveryState.DELIVERED: "delivery.state = 2",
    DeliveryState.DEAD: "delivery.state = 3",
    DeliveryState.CANCELLED: "delivery.state = 4",
}


async def deliveries(db: Db, which: DeliveryFilter, limit: int, before: str | None) -> list[DeliveryView]:
    terms = ["true"]
    parameters: dict[str, object] = {"limit": limit}

    def add(term: str, **values: object) -> None:
        terms.append(term)
        parameters.update(values)

    if which.endpoint_id is not None:
        add("endpoint.id = %(endpoint)s", endpoint=which.endpoint_id)
    if which.event_id is not None:
        add("event.id = %(event)s", event=which.event_id)
    if which.event_pattern is not None:
        add("event.name LIKE %(pattern)s", pattern=_like(which.event_pattern))
    if which.record is not None:
        add("event.record = %(record)s", record=storable(which.record))
    if which.state is not None:
        add(STATE_TERMS[which.state])
    if before is not None:
        add("delivery.id < %(before)s", before=delivery_number(before) or 0)
    query = render("postgres/outbox/deliveries.sql", where=" AND ".join(terms))
    return [view_from(row) for row in await db.query(query, parameters)]


async def delivery(db: Db, delivery_id: str) -> DeliveryView | None:
    query = render("postgres/outbox/deliveries.sql", where="delivery.id = %(id)s")
    rows = await db.query(query, {"id": delivery_number(delivery_id), "limit": 1})
    return view_from(rows[0]) if rows else None


async def attempts(db: Db, delivery_id: str) -> list[Attempt]:
    return [attempt_from(row) for row in await db.rows("attempts", id=delivery_number(delivery_id))]


async def counts(db: Db) -> dict[str, dict[DeliveryState, int]]:
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    for endpoint_id, row_state, number in await db.rows("counts"):
        rows[endpoint_id][row_state] = number
    return {endpoint_id: _by_state(of_endpoint) for endpoint_id, of_endpoint in rows.items()}


def _by_state(of_endpoint: dict[int, int]) -> dict[DeliveryState, int]:
    leased = of_endpoint.pop(_LEASED_AMONG_ACTIVE)
    if leased:
        of_endpoint[ACTIVE] -= leased
    found = {STATES[row_state]: number for row_state, number in of_endpoint.items() if number}
    return found | {DeliveryState.LEASED: leased} if leased else found


async def events(db: Db, limit: int, after: int | None, pattern: str | None) -> list[StoredEvent]:
    wanted = None if pattern is None else _like(pattern)
    if after is None:
        rows = await db.rows("events_newest", limit=limit, pattern=wanted)
    else:
        rows = await db.rows("events_after", limit=limit, pattern=wanted, after=after)
    return [event_from(row) for row in rows]


async def event(db: Db, event_id: str) -> StoredEvent | None:
    rows = await db.rows("event", id=event_id)
    return event_from(rows[0]) if rows else None


async def retry(db: Db, delivery_id: str, now: datetime) -> None:
    number = delivery_number(delivery_id)
    rows = await db.rows("retriable", id=number)
    if not rows:
        raise no_delivery(delivery_id)
    state, endpoint, source, record, removed, order, event_id = rows[0]
    if state <= ACTIVE:
        raise not_finished(delivery_id)
    if removed:
        raise endpoint_removed(delivery_id)
    lane = await current_lane(db, Order(order), source, record, event_id)
    await db.write("reopen", id=number, now=now, lane=lane, endpoint=endpoint, state=state)
    await settle(db, {(endpoint, lane)})
    db.tell = Tell.DUE


def _like(pattern: str) -> str:
    """The LIKE pattern of an event pattern; raises `UsageError`."""
    return check_pattern(pattern).replace("_", r"\_").replace("*", "%")
