"""What only one of the processes of a SQLite outbox may do.

Dispatch: two would take each other's leases for those of a former life.  Read a source that has no lock of its own.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cdc.outbox.sqlite.errors import primary_code, sentence
from cdc.outbox.sqlite.file import keep_private


class ProcessLock:
    """``part``: what it is about.

    An open exclusive transaction on a small file beside the outbox.  However the process that holds it ends, the system
    lets it go."""

    def __init__(self, outbox: Path, part: str = "dispatch") -> None:
        self._path = outbox.with_name(f"{outbox.name}-{part}")
        self._connection: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Whether it is ours now; never waits.  Raises `OutboxError` when the file cannot be made."""
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
