"""SQLite's errors as sentences."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from cdc.model.errors import OutboxError

#: primary result code → what is wrong with the file, and how to mend it
_SENTENCES: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("has no room: the disk is full", "Free space on that disk; nothing was half-written."),
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Find the process that holds it; then try again."),
    sqlite3.SQLITE_LOCKED: ("is locked by another connection", "Try again."),
    sqlite3.SQLITE_NOTADB: ("is not an SQLite database", "Name another file in [outbox] url, or move this one away."),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "Stop the consumer and restore the file, or salvage it with `.recover` of sqlite3.",
    ),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Give this user write permission on the file and its folder."),
    sqlite3.SQLITE_PERM: ("may not be used by this user", "Give this user permission on the file and its folder."),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "See that its folder exists and that this user may write there."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk failed", "See the system's log about that disk."),
}


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without what extends it; 0 of an error that is the module's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def sentence(error: sqlite3.Error, path: Path) -> OutboxError:
    """The error to raise from ``error``.  Its own text names the operation, never a value."""
    what, hint = _SENTENCES.get(primary_code(error), (f"refused an operation: {error}", ""))
    return OutboxError(f"The outbox {path} {what}.", hint)


def log_in_use(path: Path) -> OutboxError:
    """Return the error for emptied content that is still in the write-ahead log."""
    return OutboxError(
        f"The payloads are emptied, but another process still reads what they were from {path}-wal.",
        "Do the same again in a moment.",
    )
