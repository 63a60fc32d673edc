"""Changes in quarantine, in the SQLite outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from cdc.model.change import Quarantined
from cdc.outbox.quarantine_rows import quarantined_from, quarantined_row
from cdc.outbox.sqlite.rows import micros, moment
from cdc.sqlfile import load


def add(db: sqlite3.Connection, source: str, changes: Sequence[Quarantined], now: datetime) -> None:
    statement = load("sqlite/insert_quarantined.sql")
    db.executemany(statement, [quarantined_row(each, source, micros(now), micros) for each in changes])


def newest(db: sqlite3.Connection, limit: int, before: str | None, source: str | None) -> list[Quarantined]:
    rows = db.execute(load("sqlite/quarantined.sql"), {"limit": limit, "before": before, "source": source})
    return [quarantined_from(row, moment) for row in rows]


def find(db: sqlite3.Connection, quarantined_id: str) -> Quarantined | None:
    row = db.execute(load("sqlite/find_quarantined.sql"), {"id": quarantined_id}).fetchone()
    return None if row is None else quarantined_from(row, moment)


def count(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT source, COUNT(*) FROM quarantine GROUP BY source").fetchall())


def remove(db: sqlite3.Connection, quarantined_id: str) -> bool:
    return db.execute("DELETE FROM quarantine WHERE id = ?", (quarantined_id,)).rowcount > 0


def forget(db: sqlite3.Connection, before: datetime) -> int:
    return db.execute("DELETE FROM quarantine WHERE found_at < ?", (micros(before),)).rowcount
