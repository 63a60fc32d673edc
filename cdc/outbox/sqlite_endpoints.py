"""Endpoints in the SQLite outbox.  All but `endpoints` run inside a transaction of `SqliteThread`."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.delivery import Endpoint, EndpointChange
from cdc.event import Event
from cdc.outbox.shared import delivery_id, endpoint_exists, event_exists, no_endpoint
from cdc.outbox.sqlite_relay import Subscriber, insert_deliveries, insert_events
from cdc.outbox.sqlite_rows import endpoint_from, endpoint_row, micros
from cdc.sqlfile import load


def endpoints(db: sqlite3.Connection, endpoint_id: str | None) -> list[Endpoint]:
    """All, or the one of this id (if any), without the removed."""
    return [endpoint_from(row) for row in db.execute(load("sqlite/endpoints.sql"), {"id": endpoint_id})]


def add(db: sqlite3.Connection, endpoint: Endpoint) -> None:
    if not db.execute(load("sqlite/insert_endpoint.sql"), endpoint_row(endpoint)).rowcount:
        raise endpoint_exists(endpoint.id)


def change(db: sqlite3.Connection, endpoint_id: str, wanted: EndpointChange) -> Endpoint:
    """Nobody writes between the reading and the writing: the transaction is the only one that may."""
    found = endpoints(db, endpoint_id)
    if not found:
        raise no_endpoint(endpoint_id)
    changed = wanted.applied_to(found[0])
    db.execute(load("sqlite/update_endpoint.sql"), endpoint_row(changed))
    return changed


def remove(db: sqlite3.Connection, endpoint_id: str, now: datetime) -> None:
    number = _number(db, endpoint_id)
    db.execute(load("sqlite/cancel_deliveries.sql"), (micros(now), number))
    db.execute(load("sqlite/remove_endpoint.sql"), (micros(now), number))


def send_test(db: sqlite3.Connection, endpoint_id: str, event: Event, now: datetime) -> str:
    number = _number(db, endpoint_id)
    new = insert_events(db, [event])
    if not new:
        raise event_exists(event.id)
    insert_deliveries(db, new, [Subscriber(number, ("*",), ())], now)
    (made,) = db.execute("SELECT id FROM delivery WHERE event = ?", tuple(new)).fetchone()
    return delivery_id(made)


def _number(db: sqlite3.Connection, endpoint_id: str) -> int:
    row = db.execute("SELECT number FROM endpoint WHERE id = ? AND removed_at IS NULL", (endpoint_id,)).fetchone()
    if row is None:
        raise no_endpoint(endpoint_id)
    return int(row[0])
