"""Backfills, in the SQLite outbox."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep
from cdc.outbox.backfill_rows import backfill_from, backfill_row, step_row
from cdc.outbox.shared import no_backfill
from cdc.outbox.sqlite.rows import micros, moment
from cdc.sqlfile import load


def add(db: sqlite3.Connection, backfill: Backfill, rereads: str) -> None:
    db.execute(load("sqlite/insert_backfill.sql"), backfill_row(backfill, micros))
    if rereads:
        db.execute("UPDATE quarantine SET backfill = ? WHERE id = ?", (backfill.id, rereads))


def newest(db: sqlite3.Connection, limit: int, before: str | None) -> list[Backfill]:
    rows = db.execute(load("sqlite/backfills.sql"), {"limit": limit, "before": before})
    return [backfill_from(row, moment) for row in rows]


def find(db: sqlite3.Connection, backfill_id: str) -> Backfill | None:
    row = db.execute(load("sqlite/find_backfill.sql"), {"id": backfill_id}).fetchone()
    return None if row is None else backfill_from(row, moment)


def oldest(db: sqlite3.Connection, source: str) -> Backfill | None:
    row = db.execute(load("sqlite/next_backfill.sql"), {"source": source}).fetchone()
    return None if row is None else backfill_from(row, moment)


def advance(db: sqlite3.Connection, step: BackfillStep, now: datetime) -> None:
    db.execute(load("sqlite/advance_backfill.sql"), step_row(step, micros(now)))


def set_state(db: sqlite3.Connection, backfill_id: str, state: BackfillState, error: str, now: datetime) -> Backfill:
    ended = micros(now) if state.ended else None
    given = {"id": backfill_id, "state": state.value, "error": error, "finished_at": ended}
    db.execute(load("sqlite/set_backfill.sql"), given)
    found = find(db, backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    return found


def unfinished(db: sqlite3.Connection, endpoint_id: str, limit: int) -> int:
    row = db.execute(load("sqlite/unfinished.sql"), {"endpoint": endpoint_id, "limit": limit}).fetchone()
    return int(row[0])
