"""The file of a SQLite outbox: nobody but its owner reads it, for it holds secrets; and what is to be gone is gone.

`ProcessLock` is for what only one process of an outbox may do.  Dispatch: two would take each other's leases for those
of a former life.  Reading a source that has no lock of its own.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from cdc.model.errors import OutboxError
from cdc.outbox.migrate import migrate_sqlite
from cdc.outbox.sqlite.database import SqliteDatabase, SqliteThread, primary_code, sentence


def read_schema(path: Path) -> dict[str, object]:
    """Return the schema's version and the definition of each table and index.  Raises `OutboxError`."""
    try:
        with closing(sqlite3.connect(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            made = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name").fetchall()
    except sqlite3.Error as error:
        raise sentence(error, path) from error
    return {"version": version, "statements": [statement for (statement,) in made]}


class ProcessLock:
    """``part``: what it is about.

    An open exclusive transaction on a small file beside the outbox.  However the process that holds it ends, the system
    lets it go."""

    def __init__(self, outbox: Path, part: str = "dispatch") -> None:
        self._path = outbox.with_name(f"{outbox.name}-{part}")
        self._connection: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Return whether it is ours now; never waits.  Raises `OutboxError` when the file cannot be made."""
        if self._connection is not None:
            return True
        keep_private(self._path)  # an account that can open it could hold the lock and stop dispatch
        connection = None
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if primary_code(error) == sqlite3.SQLITE_BUSY:
                return False
            raise sentence(error, self._path) from error
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Seal(Protocol):
    """Seal the secrets that are not, and return how many there were."""

    def __call__(self, db: SqliteDatabase, /, *, dry_run: bool = False) -> Coroutine[Any, Any, int]: ...


async def open_file(path: Path, writer: SqliteThread, reader: SqliteThread, seal: Seal) -> None:
    """Open both connections to the file, created or migrated where needed, and ``seal`` its secrets.  Raises
    `OutboxError`, and closes both."""
    keep_private(path)
    await writer.open()
    try:
        await writer.read(_migrate, path)
        await reader.open()
        if await reader.read(seal, dry_run=True):
            await writer.write(seal)
            await writer.read(forget_log)
    except BaseException:
        await reader.close()
        await writer.close()
        raise


async def _migrate(db: SqliteDatabase, path: Path) -> None:
    migrate_sqlite(db.connection, path)


async def forget_log(db: SqliteDatabase) -> bool:
    """Empty the write-ahead log, where pages stand as they were before; False when another process reads just now."""
    ((busy, _, _),) = db.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy


def keep_private(path: Path) -> None:
    """Make the file, or take it from everyone but its owner; SQLite gives the mode to the files beside it.

    An existing file is not opened for that: closing it would drop the locks of this process's other connections.
    """
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise OutboxError(
            f"The outbox {path} cannot be opened: {error.strerror}.",
            "See that its folder exists and that this user may write there.",
        ) from error
