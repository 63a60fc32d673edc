"""Sending again from the SQLite outbox: one delivery by hand, or all that fit, step by step.

What to replay is looked for by a connection that only reads; what was found is looked at again in the transaction that
makes it due, because dispatch and others go on meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cdc.model.endpoint import Order
from cdc.model.log_filter import DeliveryFilter
from cdc.outbox import replay
from cdc.outbox.base import Replayed
from cdc.outbox.replay import Candidate, ReplayScan
from cdc.outbox.shared import (
    Subscriber,
    delivery_number,
    endpoint_removed,
    event_expunged,
    lane_for,
    no_delivery,
    no_endpoint,
    not_finished,
    place_of,
)
from cdc.outbox.sqlite.lanes import current_lane, settle
from cdc.outbox.sqlite.rows import ACTIVE, event_from, micros
from cdc.outbox.sqlite.search import of_deliveries, of_events, rows_of
from cdc.sqlfile import load


def retry(db: sqlite3.Connection, delivery_id: str, now: datetime) -> None:
    number = delivery_number(delivery_id)
    row = db.execute(load("sqlite/retriable.sql"), (number,)).fetchone()
    if row is None:
        raise no_delivery(delivery_id)
    state, removed, expunged, event_id = row[1], row[5], row[7], row[8]
    if state <= ACTIVE:
        if not db.execute(load("sqlite/hurry.sql"), {"id": number, "now": micros(now)}).rowcount:
            raise not_finished(delivery_id)
        return
    if removed:
        raise endpoint_removed(delivery_id)
    if expunged:
        raise event_expunged(event_id)
    _reopen(db, [row], now)


def find(db: sqlite3.Connection, which: DeliveryFilter, limit: int, after: str | None) -> ReplayScan:
    """Reads only."""
    place = place_of(after)
    subscriber = None if which.endpoint_id is None else _subscriber(db, which.endpoint_id)
    if subscriber is None or which.state is not None:
        return _finished(db, which, limit, place)
    return _of_endpoint(db, which, subscriber, limit=limit, after=place[0])


def _subscriber(db: sqlite3.Connection, endpoint_id: str) -> Subscriber:
    row = db.execute(load("sqlite/subscriber.sql"), (endpoint_id,)).fetchone()
    if row is None:
        raise no_endpoint(endpoint_id)
    number, patterns, sources, order, condition, endpoint_id = row
    return Subscriber(
        number, tuple(json.loads(patterns)), tuple(json.loads(sources)), Order(order), condition, endpoint_id
    )


def _finished(db: sqlite3.Connection, which: DeliveryFilter, limit: int, place: tuple[int, int]) -> ReplayScan:
    searches = [search.after(*place) for search in of_deliveries(db, which)]
    rows = rows_of(db, "replayable", searches, lambda row: row[:2], limit=limit)
    return replay.of_deliveries([(sequence, number, bool(expunged)) for sequence, number, expunged in rows], limit)


def _of_endpoint(
    db: sqlite3.Connection, which: DeliveryFilter, subscriber: Subscriber, *, limit: int, after: int
) -> ReplayScan:
    """Of one endpoint, also what it wants and never got."""
    given = {"after": after, "endpoint": subscriber.number}
    searches = [search.narrowed("$sequence > :after", **given) for search in of_events(db, which)]
    rows = rows_of(db, "replayable_events", searches, lambda row: row[0], limit=replay.LOOK)
    return replay.of_endpoint(map(_candidate, rows), subscriber, limit)


def _candidate(row: tuple[Any, ...]) -> Candidate:
    """From ``replayable_events.sql``."""
    sequence, delivery, expunged, state, *columns = row
    event = event_from((sequence, *columns)) if delivery is None else None
    return Candidate(sequence, delivery, delivery is not None and state > ACTIVE, bool(expunged), event)


def apply(db: sqlite3.Connection, found: ReplayScan, now: datetime) -> Replayed:
    """In a transaction."""
    rows = db.execute(load("sqlite/retriable_of.sql"), (json.dumps(found.reopened),)).fetchall()
    done = _reopen(db, [row for row in rows if row[1] > ACTIVE and not row[5] and not row[7]], now)
    if found.endpoint is not None and found.made:
        done += _make(db, found.endpoint, found.made, now)
    return Replayed(done, found.expunged, found.after)


def _reopen(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], now: datetime) -> int:
    """Finished deliveries as ``retriable.sql`` gives them; how many."""
    lanes = set()
    for number, _, endpoint, source, record, _, order, _, event_id in rows:
        lane = current_lane(db, Order(order), source, record, event_id)
        db.execute(load("sqlite/reopen.sql"), {"id": number, "now": micros(now), "lane": lane})
        lanes.add((endpoint, lane))
    for endpoint, lane in lanes:
        settle(db, endpoint, lane)
    return len(rows)


def _make(db: sqlite3.Connection, endpoint: int, sequences: Sequence[int], now: datetime) -> int:
    """Deliveries to an endpoint that never got these events; how many."""
    given = {"endpoint": endpoint, "events": json.dumps(sequences)}
    rows = db.execute(load("sqlite/undelivered.sql"), given).fetchall()
    lanes = set()
    for sequence, source, record, event_id, order in rows:
        db.execute(
            load("sqlite/insert_delivery.sql"),
            (sequence, endpoint, lane_for(Order(order), source, record, event_id), micros(now)),
        )
        lanes.add(current_lane(db, Order(order), source, record, event_id))
    for lane in lanes:
        settle(db, endpoint, lane)
    return len(rows)
