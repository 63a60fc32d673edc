"""What leaves the SQLite outbox: by age and number, in small steps, or expunged by hand.  All of it in transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from cdc.outbox.base import Retained, Retention
from cdc.outbox.retention import Looked, sort_out
from cdc.outbox.shared import no_event
from cdc.outbox.sqlite.file import overwriting
from cdc.outbox.sqlite.lanes import settle
from cdc.outbox.sqlite.rows import micros, moment
from cdc.sqlfile import load

_EVER: Final = 2**62


def retain(db: sqlite3.Connection, what: Retention, limit: int, after: int) -> Retained:
    (newest,) = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM event").fetchone()
    rows = db.execute(load("sqlite/retention_look.sql"), {"after": after, "newest": newest, "limit": limit})
    found = sort_out(what, [_looked(row) for row in rows], newest, limit)
    before = -_EVER if what.finished_before is None else micros(what.finished_before)
    gone = _finished(db, found.old, before) + _finished(db, found.surplus, _EVER)
    numbers = json.dumps(gone)
    db.execute(load("sqlite/delete_attempts.sql"), (numbers,))
    db.execute(load("sqlite/delete_deliveries.sql"), (numbers,))
    events = db.execute(load("sqlite/delete_events.sql"), (json.dumps(found.old + found.surplus),)).rowcount
    payloads = _empty(db, found.emptied)
    return Retained(events, len(gone), payloads, found.after)


def _looked(row: tuple[Any, ...]) -> Looked:
    """From ``retention_look.sql``."""
    sequence, time, kept, unfinished, *ends = row
    finished_at, dead_at = (None if end is None else moment(end) for end in ends)
    return Looked(sequence, moment(time), bool(kept), bool(unfinished), finished_at, dead_at)


def _finished(db: sqlite3.Connection, events: Sequence[int], before: int) -> list[int]:
    query, given = load("sqlite/finished_of_events.sql"), {"events": json.dumps(events), "before": before}
    return [number for (number,) in db.execute(query, given)]


def _empty(db: sqlite3.Connection, events: Sequence[int]) -> int:
    """Payloads and answers; how many payloads there were."""
    given = (json.dumps(events),)
    db.execute(load("sqlite/empty_answers.sql"), given)
    return db.execute(load("sqlite/empty_payloads.sql"), given).rowcount


def expunge(db: sqlite3.Connection, event_ids: Sequence[str], now: datetime) -> int:
    found = dict(db.execute(load("sqlite/sequences.sql"), (json.dumps(event_ids),)).fetchall())
    for event_id in event_ids:
        if event_id not in found:
            raise no_event(event_id)
    given = {"events": json.dumps(list(found.values())), "now": micros(now)}
    ended = db.execute(load("sqlite/cancel_events.sql"), given).fetchall()
    for endpoint, lane in set(ended):
        settle(db, endpoint, lane)
    with overwriting(db):
        _empty(db, list(found.values()))
    return len(ended)


def forget_answers(db: sqlite3.Connection, deliveries: Sequence[int | None]) -> None:
    """To what was expunged while it was being sent."""
    with overwriting(db):
        db.execute(load("sqlite/forget_answers.sql"), (json.dumps(deliveries),))
