"""The file of a SQLite outbox: nobody but its owner reads it, for it holds secrets; and what is to be gone is gone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cdc.model.errors import OutboxError
from cdc.outbox.migrate import migrate_sqlite
from cdc.outbox.sqlite.database import SqliteDatabase


async def migrate(db: SqliteDatabase, path: Path) -> None:
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
