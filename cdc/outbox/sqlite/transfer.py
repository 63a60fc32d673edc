"""A copy of a SQLite outbox, made while others write to it, and the outbox as one side of a move
(`cdc.outbox.transfer`)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from cdc.files import replace_durably
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.database import Row, sqlite_statements
from cdc.outbox.sqlite.database import sentence
from cdc.outbox.sqlite.file import ProcessLock
from cdc.outbox.sqlite.rows import converted, endpoint_from, endpoint_row, stored
from cdc.outbox.transfer import BATCH, COLUMNS, TransferPart


def back_up(path: Path, target: Path) -> int:
    """Write the copy, whole or not at all, for its owner's eyes only; its size in bytes.  What was expunged or removed
    is not in it.  Raises `UsageError` when there is nothing to copy, or something at ``target``; `OutboxError`."""
    if not path.is_file():
        raise UsageError(
            f"There is no outbox {path}.", "Name the configuration that it belongs to: cdc --config PATH …"
        )
    if target.exists():
        raise UsageError(f"{target} is there already.", "Name a file that is not: a backup overwrites nothing.")
    with closing(_connected(path)) as db:
        copy(db, path, target)
    return target.stat().st_size


def copy(db: sqlite3.Connection, path: Path, target: Path) -> None:
    """Write what ``db``, the open outbox ``path``, holds to the new file ``target``, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise OutboxError(
            f"The backup {partial} cannot be made: {error.strerror}.",
            "See that its folder exists and that this user may write there; remove what an earlier try left.",
        ) from error
    try:
        _copy(db, path, partial)
        _check(partial)
        replace_durably(partial, target)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise


def _connected(path: Path) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error as error:
        raise sentence(error, path) from error


def _copy(db: sqlite3.Connection, path: Path, partial: Path) -> None:
    try:
        db.execute("VACUUM INTO ?", (str(partial),))
    except sqlite3.Error as error:
        raise sentence(error, path) from error
    with partial.open("rb+") as written:
        os.fsync(written.fileno())


def _check(copy: Path) -> None:
    """A backup that cannot be read is none."""
    try:
        with closing(sqlite3.connect(copy)) as db:
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise sentence(error, copy) from error
    if found != "ok":
        raise OutboxError(f"The backup {copy} is not whole: {found}.", "See the system's log about that disk.")


class SqliteSide:
    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.name = f"The outbox {path}"
        self._db = connection

    def counts(self) -> dict[TransferPart, int]:
        return {part: self._db.execute(f"SELECT COUNT(*) FROM {part}").fetchone()[0] for part in TransferPart}  # noqa: S608 - members of an enumeration

    def leased(self, now: datetime) -> int:
        query = "SELECT COUNT(*) FROM delivery WHERE worker IS NOT NULL AND due > ?"
        return int(self._db.execute(query, (stored(now),)).fetchone()[0])

    def read(self, part: TransferPart) -> Iterator[list[Row]]:
        if part is TransferPart.ENDPOINTS:
            cursor = self._db.execute(sqlite_statements()["all_endpoints"])
        else:
            cursor = self._db.execute(f"SELECT {', '.join(COLUMNS[part])} FROM {part} ORDER BY 1")  # noqa: S608 - constants, and a member of an enumeration
        while found := cursor.fetchmany(BATCH):
            rows = converted(found, cursor.description)
            yield [_endpoint(row) for row in rows] if part is TransferPart.ENDPOINTS else rows

    def write(self, part: TransferPart, rows: Sequence[Row]) -> None:
        if part is TransferPart.ENDPOINTS:
            for number, endpoint, removed_at in rows:
                row = {name: stored(value) for name, value in endpoint_row(endpoint).items()}
                self._db.execute(sqlite_statements()["insert_endpoint"], row)
                renumber = "UPDATE endpoint SET number = ?, removed_at = ? WHERE id = ?"
                self._db.execute(renumber, (number, stored(removed_at), endpoint.id))
            return
        names = COLUMNS[part]
        values = ", ".join("?" * len(names))
        insert = f"INSERT INTO {part} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - constants, and a member of an enumeration
        self._db.executemany(insert, [tuple(map(stored, row)) for row in rows])

    def complete(self) -> None:
        self._db.execute(sqlite_statements()["count_finished"])
        self._db.execute("COMMIT")


def _endpoint(row: Row) -> Row:
    number, removed_at, *columns = row
    return number, endpoint_from(tuple(columns)), removed_at


@contextmanager
def sqlite_side(path: Path) -> Iterator[SqliteSide]:
    """Open the side of an outbox whose schema is up to date.  Raises `OutboxError`, also when a process dispatches from
    it."""
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
