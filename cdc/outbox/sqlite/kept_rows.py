"""Rows that the SQLite outbox keeps for sources that compare (`cdc.model.snapshot_row`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cdc.model.snapshot_row import SnapshotChange, SnapshotRow
from cdc.sqlfile import load


def keep(db: sqlite3.Connection, source: str, change: SnapshotChange) -> None:
    if change.anew:
        db.execute("DELETE FROM kept_row WHERE source = ? AND table_name = ?", (source, change.table))
    gone = "DELETE FROM kept_row WHERE source = ? AND table_name = ? AND key = ?"
    db.executemany(gone, [(source, change.table, key) for key in change.gone])
    db.executemany(load("sqlite/keep_row.sql"), [(source, change.table, *row) for row in change.written])


def let_go(db: sqlite3.Connection) -> None:
    """The pages that hold the rows: they are not looked at again, and would fill the cache."""
    db.execute("PRAGMA shrink_memory")


def digests(
    db: sqlite3.Connection, source: str, table: str, limit: int, *, after: bytes | None, until: bytes | None
) -> list[tuple[bytes, bytes]]:
    which = {"source": source, "table": table, "after": after or b"", "until": until, "limit": limit}
    return db.execute(load("sqlite/kept_digests.sql"), which).fetchall()


def rows(db: sqlite3.Connection, source: str, table: str, keys: Sequence[bytes]) -> dict[bytes, SnapshotRow]:
    query = load("sqlite/kept_row.sql")
    found = (db.execute(query, (source, table, key)).fetchone() for key in keys)
    return {row[0]: SnapshotRow(*row) for row in found if row is not None}
