"""The log of the SQLite outbox: listings and counts (reading), and the retry by hand (in a transaction)."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from datetime import datetime
from typing import Final

from cdc.delivery import Attempt, DeliveryState, DeliveryView
from cdc.endpoint import Order
from cdc.outbox.base import DeliveryFilter, StoredEvent
from cdc.outbox.shared import delivery_number, endpoint_removed, no_delivery, not_finished
from cdc.outbox.sqlite_lanes import current_lane, settle
from cdc.outbox.sqlite_rows import (
    ACTIVE,
    LEASED_AMONG_ACTIVE,
    attempt_from,
    event_from,
    micros,
    state_of,
    view_from,
)
from cdc.pattern import check_pattern
from cdc.sqlfile import load, render

#: the term of ``deliveries.sql`` for each state; literals, and ids of the unfinished, so that partial indexes serve
STATE_TERMS: Final = {
    DeliveryState.WAITING: "delivery.id IN (SELECT id FROM delivery WHERE state < 2 AND state = 0)",
    DeliveryState.PENDING: "delivery.id IN (SELECT id FROM delivery WHERE state = 1 AND worker IS NULL)",
    DeliveryState.LEASED: "delivery.id IN (SELECT id FROM delivery WHERE worker IS NOT NULL)",
    DeliveryState.DELIVERED: "delivery.state = 2",
    DeliveryState.DEAD: "delivery.state = 3",
    DeliveryState.CANCELLED: "delivery.state = 4",
}


def deliveries(db: sqlite3.Connection, which: DeliveryFilter, limit: int, before: str | None) -> list[DeliveryView]:
    terms = ["1"]
    parameters: dict[str, object] = {"limit": limit}

    def add(term: str, **values: object) -> None:
        terms.append(term)
        parameters.update(values)

    if which.endpoint_id is not None:
        add("endpoint.id = :endpoint", endpoint=which.endpoint_id)
    if which.event_id is not None:
        add("event.id = :event", event=which.event_id)
    if which.event_pattern is not None:  # GLOB's * is ours; its other signs cannot occur in a pattern
        add("event.name GLOB :pattern", pattern=check_pattern(which.event_pattern))
    if which.record is not None:
        add("event.record = :record", record=which.record)
    if which.state is not None:
        add(STATE_TERMS[which.state])
    if before is not None:
        add("delivery.id < :before", before=delivery_number(before))
    query = render("sqlite/deliveries.sql", where=" AND ".join(terms))
    return [view_from(row) for row in db.execute(query, parameters)]


def delivery(db: sqlite3.Connection, delivery_id: str) -> DeliveryView | None:
    query = render("sqlite/deliveries.sql", where="delivery.id = :id")
    row = db.execute(query, {"id": delivery_number(delivery_id), "limit": 1}).fetchone()
    return None if row is None else view_from(row)


def attempts(db: sqlite3.Connection, delivery_id: str) -> list[Attempt]:
    return [attempt_from(row) for row in db.execute(load("sqlite/attempts.sql"), (delivery_number(delivery_id),))]


def counts(db: sqlite3.Connection) -> dict[str, dict[DeliveryState, int]]:
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    for endpoint_id, row_state, number in db.execute(load("sqlite/counts.sql")):
        of_endpoint = rows[endpoint_id]
        if row_state is not None:  # None: an endpoint without deliveries
            of_endpoint[row_state] = number
    return {endpoint_id: _by_state(of_endpoint) for endpoint_id, of_endpoint in rows.items()}


def _by_state(of_endpoint: dict[int, int]) -> dict[DeliveryState, int]:
    leased = of_endpoint.pop(LEASED_AMONG_ACTIVE, 0)
    if leased:
        of_endpoint[ACTIVE] -= leased
    found = {state_of(row_state, leased=False): number for row_state, number in of_endpoint.items() if number}
    return found | {DeliveryState.LEASED: leased} if leased else found


def events(db: sqlite3.Connection, limit: int, after: int | None, pattern: str | None) -> list[StoredEvent]:
    parameters: dict[str, object] = {"limit": limit, "pattern": None if pattern is None else check_pattern(pattern)}
    if after is None:
        rows = db.execute(load("sqlite/events_newest.sql"), parameters)
    else:
        rows = db.execute(load("sqlite/events_after.sql"), parameters | {"after": after})
    return [event_from(row) for row in rows]


def event(db: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    row = db.execute(load("sqlite/event.sql"), (event_id,)).fetchone()
    return None if row is None else event_from(row)


def retry(db: sqlite3.Connection, delivery_id: str, now: datetime) -> None:
    number = delivery_number(delivery_id)
    row = db.execute(load("sqlite/retriable.sql"), (number,)).fetchone()
    if row is None:
        raise no_delivery(delivery_id)
    state, endpoint, source, record, removed, order, event_id = row
    if state <= ACTIVE:
        raise not_finished(delivery_id)
    if removed:
        raise endpoint_removed(delivery_id)
    lane = current_lane(db, Order(order), source, record, event_id)
    db.execute(load("sqlite/reopen.sql"), {"id": number, "now": micros(now), "lane": lane})
    settle(db, endpoint, lane)
