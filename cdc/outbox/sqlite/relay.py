"""The relay's half of the SQLite outbox: events, deliveries, position, states and kept rows in one transaction.

These functions run inside a transaction of `SqliteThread`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from cdc.model.change import BackfillStep, Quarantined
from cdc.model.endpoint import Order
from cdc.model.event import Event
from cdc.model.payload import event_payload
from cdc.model.position import Position
from cdc.model.snapshot_row import SnapshotChange
from cdc.outbox.base import Fence, Stored
from cdc.outbox.shared import Subscriber, check_fence, lane_for
from cdc.outbox.sqlite import backfills, quarantine
from cdc.outbox.sqlite.giving_way import giving_way
from cdc.outbox.sqlite.kept_rows import keep
from cdc.outbox.sqlite.lanes import merge_lanes
from cdc.outbox.sqlite.rows import micros
from cdc.sqlfile import load


def position(db: sqlite3.Connection, source: str) -> Position | None:
    row = db.execute("SELECT position FROM source_position WHERE source = ?", (source,)).fetchone()
    return None if row is None else Position(row[0])


def states(db: sqlite3.Connection, source: str) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM source_state WHERE source = ?", (source,)).fetchall())


def store(
    db: sqlite3.Connection,
    source: str,
    reached: Position,
    events: Sequence[Event],
    *,
    changed_states: Mapping[str, str | None],
    now: datetime,
    kept: SnapshotChange | None = None,
    step: BackfillStep | None = None,
    quarantined: Sequence[Quarantined] = (),
    fence: Fence | None = None,
) -> Stored:
    check_fence(source, position(db, source), kept, fence)
    new = insert_events(db, events)
    deliveries = insert_deliveries(db, new, _subscribers(db), now)
    db.execute(load("sqlite/set_position.sql"), (source, reached))
    for name, value in changed_states.items():
        _set_state(db, source, name, value)
    if kept is not None:
        keep(db, source, kept)
    if step is not None:
        backfills.advance(db, step, now)
    quarantine.add(db, source, quarantined, now)
    return Stored(len(new), deliveries)


def announce(db: sqlite3.Connection, events: Sequence[Event], now: datetime) -> Stored:
    """Store events that come from no source."""
    new = insert_events(db, events)
    return Stored(len(new), insert_deliveries(db, new, _subscribers(db), now))


def insert_events(db: sqlite3.Connection, events: Sequence[Event]) -> dict[int, Event]:
    """Those that were not stored yet, by their sequences, in order."""
    ids = json.dumps([event.id for event in events])
    known = {row[0] for row in db.execute(load("sqlite/known_events.sql"), (ids,))}
    new: dict[str, Event] = {}
    for event in events:
        if event.id not in known:
            new.setdefault(event.id, event)
    (last,) = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM event").fetchone()
    numbered = dict(enumerate(new.values(), last + 1))
    rows = (
        (sequence, event.id, event.name, event.source, event.record, micros(event.time), event_payload(event))
        for sequence, event in numbered.items()
    )
    db.executemany(load("sqlite/insert_event.sql"), giving_way(rows, len(numbered)))
    return numbered


def insert_deliveries(
    db: sqlite3.Connection, events: Mapping[int, Event], subscribers: Sequence[Subscriber], now: datetime
) -> int:
    """A delivery for each of the subscribers that want an event, lanes merged before; how many."""
    for event in events.values():
        if event.renamed_from is not None:
            merge_lanes(db, event.source, event.renamed_from, event.record)
    due = micros(now)
    rows = [
        (sequence, subscriber.number, lane_for(subscriber.order, event.source, event.record, event.id), due)
        for sequence, event in events.items()
        for subscriber in subscribers
        if subscriber.wants(event)
    ]
    db.executemany(load("sqlite/insert_delivery.sql"), giving_way(rows, len(rows)))
    return len(rows)


def _subscribers(db: sqlite3.Connection) -> list[Subscriber]:
    """Read anew in every transaction: another process may have added one."""
    return [
        Subscriber(
            number, tuple(json.loads(patterns)), tuple(json.loads(sources)), Order(order), condition, endpoint_id
        )
        for number, patterns, sources, order, condition, endpoint_id in db.execute(load("sqlite/subscribers.sql"))
    ]


def _set_state(db: sqlite3.Connection, source: str, name: str, value: str | None) -> None:
    if value is None:
        db.execute("DELETE FROM source_state WHERE source = ? AND name = ?", (source, name))
    else:
        db.execute(load("sqlite/set_state.sql"), (source, name, value))
