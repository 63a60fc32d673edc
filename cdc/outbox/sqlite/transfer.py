"""A SQLite outbox as one side of a move (`cdc.outbox.transfer`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cdc.model.errors import OutboxError
from cdc.outbox.sqlite.errors import sentence
from cdc.outbox.sqlite.lock import ProcessLock
from cdc.outbox.sqlite.rows import endpoint_from, endpoint_row, micros, moment
from cdc.outbox.transfer import BATCH, COLUMNS, TIMES, Row, TransferPart
from cdc.sqlfile import load


class SqliteSide:
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = f"The outbox {path}"
        self._db = connection

    def counts(self) -> dict[TransferPart, int]:
        return {part: self._db.execute(f"SELECT COUNT(*) FROM {part}").fetchone()[0] for part in TransferPart}  # noqa: S608 - ours

    def leased(self, now: datetime) -> int:
        query = "SELECT COUNT(*) FROM delivery WHERE worker IS NOT NULL AND due > ?"
        return int(self._db.execute(query, (micros(now),)).fetchone()[0])

    def read(self, part: TransferPart) -> Iterator[list[Row]]:
        if part is TransferPart.ENDPOINTS:
            cursor = self._db.execute(load("sqlite/transfer/endpoints.sql"))
        else:
            cursor = self._db.execute(f"SELECT {', '.join(COLUMNS[part])} FROM {part} ORDER BY 1")  # noqa: S608 - ours
        while rows := cursor.fetchmany(BATCH):
            yield [_from_row(part, row) for row in rows]

    def write(self, part: TransferPart, rows: Sequence[Row]) -> None:
        if part is TransferPart.ENDPOINTS:
            for number, endpoint, removed_at in rows:
                self._db.execute(load("sqlite/insert_endpoint.sql"), endpoint_row(endpoint))
                removed = None if removed_at is None else micros(removed_at)
                renumber = "UPDATE endpoint SET number = ?, removed_at = ? WHERE id = ?"
                self._db.execute(renumber, (number, removed, endpoint.id))
            return
        names = COLUMNS[part]
        values = ", ".join("?" * len(names))
        insert = f"INSERT INTO {part} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - names of ours
        self._db.executemany(insert, [_to_row(part, row) for row in rows])

    def complete(self) -> None:
        self._db.execute(load("sqlite/transfer/count_finished.sql"))
        self._db.execute("COMMIT")


def _from_row(part: TransferPart, row: Row) -> Row:
    if part is TransferPart.ENDPOINTS:
        number, removed_at, *columns = row
        return number, endpoint_from(tuple(columns)), None if removed_at is None else moment(removed_at)
    return _converted(part, row, moment)


def _to_row(part: TransferPart, row: Row) -> Row:
    return _converted(part, row, micros)


def _converted(part: TransferPart, row: Row, convert: Any) -> Row:
    return tuple(
        convert(value) if name in TIMES and value is not None else value
        for name, value in zip(COLUMNS[part], row, strict=True)
    )


@contextmanager
def sqlite_side(path: Path) -> Iterator[SqliteSide]:
    """Of an outbox whose schema is up to date.  Raises `OutboxError`, also when a process dispatches from it."""
    lock = ProcessLock(path)
    if not lock.take():
        raise OutboxError(f"A process dispatches from the outbox {path}.", "Stop every cdc run first.")
    connection = None
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        connection.execute("BEGIN IMMEDIATE")
        yield SqliteSide(path, connection)
    except sqlite3.Error as error:
        raise sentence(error, path) from error
    finally:
        if connection is not None:
            connection.close()  # what was not committed is undone
        lock.release()
