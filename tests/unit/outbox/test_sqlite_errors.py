"""SQLite's errors as sentences."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cdc.model.errors import OutboxError
from cdc.outbox.sqlite.database import sentence

PATH = Path("cdc.db")


def raised(code: int, text: str = "text of SQLite") -> OutboxError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return sentence(error, PATH)


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (sqlite3.SQLITE_FULL, "has no room: the disk is full."),
        (sqlite3.SQLITE_BUSY, "is locked by another process."),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "is locked by another process."),
        (sqlite3.SQLITE_CORRUPT, "is damaged."),
        (sqlite3.SQLITE_CORRUPT_INDEX, "is damaged."),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "cannot be written."),
        (sqlite3.SQLITE_IOERR_FSYNC, "cannot be read or written: the disk failed."),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened."),
    ],
)
def test_an_error_says_what_is_wrong_and_how_to_mend_it(code: int, what: str) -> None:
    error = raised(code)
    assert error.message == f"The outbox cdc.db {what}"
    assert error.hint


def test_an_error_without_a_sentence_of_ours_keeps_sqlites() -> None:
    expected = "The outbox cdc.db refused an operation: no such column: x."
    assert str(raised(sqlite3.SQLITE_ERROR, "no such column: x")) == expected
    assert str(sentence(sqlite3.ProgrammingError("no such column: x"), PATH)) == expected
