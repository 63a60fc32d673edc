"""Endpoints in the SQLite outbox.  All but `endpoints` run inside a transaction of `SqliteThread`."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.model.delivery import LeasedDelivery
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.model.event import Event
from cdc.model.payload import event_payload
from cdc.outbox.secret_box import SecretBox
from cdc.outbox.shared import (
    Subscriber,
    delivery_id,
    endpoint_disabled,
    endpoint_exists,
    event_exists,
    no_endpoint,
    record_busy,
)
from cdc.outbox.sqlite.file import overwriting
from cdc.outbox.sqlite.lanes import reorder
from cdc.outbox.sqlite.relay import announce, insert_deliveries, insert_events
from cdc.outbox.sqlite.rows import ACTIVE, endpoint_from, endpoint_row, micros
from cdc.sqlfile import load


def endpoints(db: sqlite3.Connection, endpoint_id: str | None) -> list[Endpoint]:
    """All, or the one of this id (if any), without the removed."""
    return [endpoint_from(row) for row in db.execute(load("sqlite/endpoints.sql"), {"id": endpoint_id})]


def seal_secrets(db: sqlite3.Connection, box: SecretBox, *, former: bool, dry_run: bool = False) -> int:
    """Those that are not sealed, and (``former``) those that a former key sealed; how many."""
    found = db.execute(load("sqlite/stored_secrets.sql")).fetchall()
    sealed, rows = box.reseal(found, former=former)
    if not dry_run:
        with overwriting(db):
            db.executemany(load("sqlite/set_secrets.sql"), [(*secrets, number) for number, *secrets in rows])
    return sealed


def forget_log(db: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, where pages stand as they were before; False when another process reads just now."""
    ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy


def add(db: sqlite3.Connection, endpoint: Endpoint) -> None:
    if not db.execute(load("sqlite/insert_endpoint.sql"), endpoint_row(endpoint)).rowcount:
        raise endpoint_exists(endpoint.id)


def change(db: sqlite3.Connection, endpoint_id: str, wanted: EndpointChange) -> Endpoint:
    """Nobody writes between the reading and the writing: the transaction is the only one that may."""
    number, _ = _find(db, endpoint_id)
    (found,) = endpoints(db, endpoint_id)
    changed = wanted.applied_to(found)
    db.execute(load("sqlite/update_endpoint.sql"), endpoint_row(changed))
    if changed.order is not found.order:
        reorder(db, number, changed.order)
    return changed


def disable_failing(
    db: sqlite3.Connection, endpoint_id: str, since: datetime, reason: str, announcement: Event, *, now: datetime
) -> bool:
    changed = db.execute(load("sqlite/disable_failing.sql"), (reason, endpoint_id, micros(since))).rowcount
    return _announced(db, changed, announcement, now)


def disable_filtered(
    db: sqlite3.Connection, endpoint_id: str, condition: str, reason: str, announcement: Event, *, now: datetime
) -> bool:
    changed = db.execute(load("sqlite/disable_filtered.sql"), (reason, endpoint_id, condition)).rowcount
    return _announced(db, changed, announcement, now)


def _announced(db: sqlite3.Connection, changed: int, announcement: Event, now: datetime) -> bool:
    """Announce a change of an endpoint, if there was one; whether there was."""
    if changed:
        announce(db, [announcement], now)
    return bool(changed)


def remove(db: sqlite3.Connection, endpoint_id: str, now: datetime) -> None:
    number, _ = _find(db, endpoint_id)
    db.execute(load("sqlite/cancel_deliveries.sql"), (micros(now), number))
    db.execute(load("sqlite/remove_endpoint.sql"), (micros(now), number))


def send_test(
    db: sqlite3.Connection, endpoint_id: str, event: Event, worker: str, *, now: datetime, until: datetime
) -> LeasedDelivery:
    number, enabled = _find(db, endpoint_id)
    if not enabled:
        raise endpoint_disabled(endpoint_id)
    new = insert_events(db, [event])
    if not new:
        raise event_exists(event.id)
    insert_deliveries(db, new, [Subscriber(number, ("*",))], now)
    made, state = db.execute("SELECT id, state FROM delivery WHERE event = ?", tuple(new)).fetchone()
    if state != ACTIVE:
        raise record_busy(event.record)
    db.execute(load("sqlite/lease.sql"), (worker, micros(until), f"[{made}]"))
    return LeasedDelivery(
        id=delivery_id(made),
        endpoint_id=endpoint_id,
        event_id=event.id,
        event_name=event.name,
        record=event.record,
        attempt=1,
        lease_until=until,
        body_event=event_payload(event),
    )


def _find(db: sqlite3.Connection, endpoint_id: str) -> tuple[int, bool]:
    """Its number, and whether it is enabled."""
    query = "SELECT number, enabled FROM endpoint WHERE id = ? AND removed_at IS NULL"
    row = db.execute(query, (endpoint_id,)).fetchone()
    if row is None:
        raise no_endpoint(endpoint_id)
    return int(row[0]), bool(row[1])
