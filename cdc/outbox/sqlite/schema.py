"""What the tables of a SQLite outbox are like, for whoever helps."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cdc.outbox.sqlite.errors import sentence


def read_schema(path: Path) -> dict[str, object]:
    """Its version, and each table and index as it was made.  Raises `OutboxError`."""
    try:
        with closing(sqlite3.connect(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            made = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name").fetchall()
    except sqlite3.Error as error:
        raise sentence(error, path) from error
    return {"version": version, "statements": [statement for (statement,) in made]}
