"""The relay's half of the SQLite outbox: events, deliveries, position and states in one transaction.

These functions run inside a transaction of `SqliteThread`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cdc.event import Event
from cdc.outbox.base import Stored
from cdc.outbox.shared import wants
from cdc.outbox.sqlite_lanes import current_lane, merge_lanes
from cdc.outbox.sqlite_rows import micros
from cdc.payload import event_payload
from cdc.position import Position
from cdc.sqlfile import load


@dataclass(frozen=True, slots=True)
class _Subscriber:
    number: int
    patterns: tuple[str, ...]
    sources: tuple[str, ...]


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
) -> Stored:
    subscribers = _subscribers(db)
    numbers = [subscriber.number for subscriber in subscribers]
    new = deliveries = 0
    for event in events:
        sequence = insert_event(db, event)
        if sequence is None:
            continue
        new += 1
        if event.renamed_from is not None:
            merge_lanes(db, event.source, event.renamed_from, event.record, numbers)
        wanting = [one.number for one in subscribers if wants(one.patterns, one.sources, event)]
        deliveries += insert_deliveries(db, event, sequence, wanting, now)
    db.execute(load("sqlite/set_position.sql"), (source, reached))
    for name, value in changed_states.items():
        _set_state(db, source, name, value)
    return Stored(new, deliveries)


def insert_event(db: sqlite3.Connection, event: Event) -> int | None:
    """The new event's sequence; None when its id is stored already."""
    row = (event.id, event.name, event.source, event.record, micros(event.time), event_payload(event))
    cursor = db.execute(load("sqlite/insert_event.sql"), row)
    return cursor.lastrowid if cursor.rowcount else None


def insert_deliveries(
    db: sqlite3.Connection, event: Event, sequence: int, endpoints: Sequence[int], now: datetime
) -> int:
    """One delivery for each of the endpoints; how many."""
    if endpoints:
        lane, due = current_lane(db, event.source, event.record), micros(now)
        statement = load("sqlite/insert_delivery.sql")
        for endpoint in endpoints:
            db.execute(statement, {"event": sequence, "endpoint": endpoint, "lane": lane, "now": due})
    return len(endpoints)


def _subscribers(db: sqlite3.Connection) -> list[_Subscriber]:
    """Read anew in every transaction: another process may have added one."""
    return [
        _Subscriber(number, tuple(json.loads(patterns)), tuple(json.loads(sources)))
        for number, patterns, sources in db.execute(load("sqlite/subscribers.sql"))
    ]


def _set_state(db: sqlite3.Connection, source: str, name: str, value: str | None) -> None:
    if value is None:
        db.execute("DELETE FROM source_state WHERE source = ? AND name = ?", (source, name))
    else:
        db.execute(load("sqlite/set_state.sql"), (source, name, value))
