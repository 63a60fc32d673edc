"""The dispatcher's half of the SQLite outbox: lease, finish, release.

These functions run inside a transaction of `SqliteThread` (`next_due` and `oldest_due` need none).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from cdc.delivery import DeliveryState, LeasedDelivery, Outcome
from cdc.event import Event
from cdc.outbox.shared import delivery_id, delivery_number, no_delivery
from cdc.outbox.sqlite_lanes import promote, settle
from cdc.outbox.sqlite_relay import announce
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
        if len(heads) == 1:
            return list(heads[0])
        return list(islice(merge(*heads, key=lambda head: head[1][:2]), limit))


def _tagged(endpoint_id: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    return ((endpoint_id, row) for row in rows)


def finish(
    db: sqlite3.Connection,
    worker: str,
    outcomes: Sequence[Outcome],
    now: datetime,
    announcements: Sequence[Event],
) -> None:
    _record(db, outcomes)
    _note_health(db, outcomes)
    final = [outcome for outcome in outcomes if outcome.state.final and not outcome.disable_reason]
    _conclude_all(db, worker, final, now)
    if len(final) < len(outcomes):
        for outcome in outcomes:
            if outcome.disable_reason or not outcome.state.final:
                _conclude(db, worker, outcome, now)
    if announcements:
        announce(db, announcements, now)


def _note_health(db: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    """Since when each endpoint fails: set by its first failure, cleared by a success."""
    failed = [outcome.attempt for outcome in outcomes if outcome.failed]
    if failed:
        failed.sort(key=lambda attempt: attempt.started_at)
        rows = [(micros(attempt.started_at), delivery_number(attempt.delivery_id)) for attempt in failed]
        db.executemany(load("sqlite/note_failure.sql"), rows)
    if db.execute("SELECT EXISTS (SELECT 1 FROM endpoint WHERE failing_since IS NOT NULL)").fetchone()[0]:
        delivered = [
            delivery_number(outcome.attempt.delivery_id)
            for outcome in outcomes
            if outcome.state is DeliveryState.DELIVERED
        ]
        db.execute(load("sqlite/note_success.sql"), (json.dumps(delivered),))


def _record(db: sqlite3.Connection, outcomes: Sequence[Outcome]) -> None:
    attempts = [
        (
            delivery_number(attempt.delivery_id),
            attempt.number,
            attempt.url,
            attempt.status,
            micros(attempt.started_at),
            attempt.duration,
            attempt.error,
            attempt.answer,
        )
        for attempt in (outcome.attempt for outcome in outcomes)
    ]
    try:
        db.executemany(load("sqlite/insert_attempt.sql"), attempts)
    except sqlite3.IntegrityError as error:  # the attempt of a delivery that is not there
        for outcome in outcomes:
            _delivery(db, outcome)
        raise error from None


def _delivery(db: sqlite3.Connection, outcome: Outcome) -> tuple[Any, ...]:
    """(number, endpoint, lane, worker, attempts)"""
    number = delivery_number(outcome.attempt.delivery_id)
    found = db.execute("SELECT id, endpoint, lane, worker, attempts FROM delivery WHERE id = ?", (number,)).fetchone()
    if found is None:
        raise no_delivery(outcome.attempt.delivery_id)
    row: tuple[Any, ...] = found
    return row


def _conclude_all(db: sqlite3.Connection, worker: str, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Deliveries that are finished for good, nearly all of them: a few statements for the whole lot."""
    finished_at = micros(now)
    numbers = [delivery_number(outcome.attempt.delivery_id) for outcome in outcomes]
    db.executemany(
        load("sqlite/finish.sql"),
        [
            (ROW_STATE[outcome.state], finished_at, finished_at, number, worker, outcome.attempt.number)
            for number, outcome in zip(numbers, outcomes, strict=True)
        ],
    )
    for endpoint, lane in db.execute(load("sqlite/lanes_behind.sql"), (json.dumps(numbers),)).fetchall():
        promote(db, endpoint, lane)


def _conclude(db: sqlite3.Connection, worker: str, outcome: Outcome, now: datetime) -> None:
    """A delivery that is due again, or whose endpoint must be disabled."""
    number, endpoint, lane, holder, attempts = _delivery(db, outcome)
    if (holder, attempts) != (worker, outcome.attempt.number):
        return
    finished_at = micros(now) if outcome.state.final else None
    due = micros(outcome.due_at or now)
    db.execute(load("sqlite/finish.sql"), (ROW_STATE[outcome.state], due, finished_at, number, worker, attempts))
    settle(db, endpoint, lane)  # an older one of the lane may have been retried meanwhile
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


def oldest_due(db: sqlite3.Connection, now: datetime) -> dict[str, datetime]:
    return {endpoint: moment(due) for endpoint, due in db.execute(load("sqlite/oldest_due.sql"), (micros(now),))}
