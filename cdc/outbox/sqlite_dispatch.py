"""The dispatcher's half of the SQLite outbox: lease, finish, release.

These functions run inside a transaction of `SqliteThread` (`next_due` needs none).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from cdc.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery
from cdc.outbox.sqlite_lanes import promote, settle
from cdc.outbox.sqlite_rows import ROW_STATE, micros, moment
from cdc.sqlfile import load


def lease(
    db: sqlite3.Connection, worker: str, now: datetime, until: datetime, *, limit: int, room: Mapping[str, int]
) -> list[LeasedDelivery]:
    due = _due(db, now, limit, room)
    db.executemany(load("sqlite/lease.sql"), [(worker, micros(until), row[1]) for _, row in due])
    return [
        LeasedDelivery(
            id=delivery_id(number),
            endpoint_id=endpoint_id,
            event_id=event_id,
            event_name=name,
            record=record,
            attempt=attempts + 1,
            lease_until=until,
            body_event=payload,
        )
        for endpoint_id, (_, number, attempts, event_id, name, record, payload) in due
    ]


def _due(
    db: sqlite3.Connection, now: datetime, limit: int, room: Mapping[str, int]
) -> list[tuple[str, tuple[Any, ...]]]:
    """Up to ``limit`` due deliveries as (endpoint id, row of ``due_of_endpoint.sql``), oldest due first.

    Each endpoint's are read in order and merged, and only as far as needed: how much waits at one endpoint does not
    matter to the others.
    """
    endpoints = db.execute("SELECT number, id FROM endpoint WHERE enabled AND removed_at IS NULL").fetchall()
    with ExitStack() as stack:
        heads = []
        for number, endpoint_id in endpoints:
            allowed = min(limit, room.get(endpoint_id, limit))
            if allowed > 0:
                rows = stack.enter_context(closing(db.cursor()))
                rows.execute(load("sqlite/due_of_endpoint.sql"), (number, micros(now), allowed))
                heads.append(_tagged(endpoint_id, rows))
        return list(islice(merge(*heads, key=lambda head: head[1][:2]), limit))


def _tagged(endpoint_id: str, rows: sqlite3.Cursor) -> Iterator[tuple[str, tuple[Any, ...]]]:
    return ((endpoint_id, row) for row in rows)


def finish(db: sqlite3.Connection, worker: str, outcomes: Sequence[Outcome], now: datetime) -> None:
    for outcome in outcomes:
        number = delivery_number(outcome.attempt.delivery_id)
        row = db.execute("SELECT endpoint, lane, worker, attempts FROM delivery WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise no_delivery(outcome.attempt.delivery_id)
        _record(db, number, outcome)
        endpoint, lane, holder, attempts = row
        if (holder, attempts) == (worker, outcome.attempt.number):
            _conclude(db, number, outcome, now, endpoint=endpoint, lane=lane)


def _record(db: sqlite3.Connection, number: int | None, outcome: Outcome) -> None:
    attempt = outcome.attempt
    started = micros(attempt.started_at)
    row = (
        number,
        attempt.number,
        attempt.url,
        attempt.status,
        started,
        attempt.duration,
        attempt.error,
        attempt.answer,
    )
    db.execute(load("sqlite/insert_attempt.sql"), row)


def _conclude(
    db: sqlite3.Connection, number: int | None, outcome: Outcome, now: datetime, *, endpoint: int, lane: int
) -> None:
    """Give the delivery its new state and let the next of its lane go."""
    again = outcome.state is DeliveryState.PENDING
    finished_at = None if again else micros(now)
    due = micros(outcome.due_at or now)
    db.execute(load("sqlite/finish.sql"), (ROW_STATE[outcome.state], due, finished_at, number))
    if again:
        settle(db, endpoint, lane)  # an older one of the lane may have been retried meanwhile
    else:
        promote(db, endpoint, lane)
    if outcome.disable_reason:
        db.execute(load("sqlite/disable_endpoint.sql"), (outcome.disable_reason, endpoint))


def release(db: sqlite3.Connection, worker: str, now: datetime) -> int:
    held = db.execute("SELECT DISTINCT endpoint, lane FROM delivery WHERE worker = ?", (worker,)).fetchall()
    released = db.execute(load("sqlite/release.sql"), (micros(now), worker)).rowcount
    for endpoint, lane in held:
        settle(db, endpoint, lane)
    return released


def next_due(db: sqlite3.Connection) -> datetime | None:
    (due,) = db.execute(load("sqlite/next_due.sql")).fetchone()
    return None if due is None else moment(due)
