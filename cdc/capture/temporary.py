"""Failures of temporary files of large transactions as one sentence: which folder, why, and what to do."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from cdc.model.errors import DISK_FULL, SourceUnavailable

#: SQLite's codes of a file that it cannot write.
_UNWRITABLE: Final = {
    sqlite3.SQLITE_FULL: "no space left, or a limit of it is reached",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_READONLY: "it is read-only",
}


def not_written(error: OSError | sqlite3.OperationalError) -> Exception:
    """Return the error to raise where a temporary file failed: ``error`` itself if the disk is not its cause."""
    if isinstance(error, sqlite3.OperationalError):
        code = error.sqlite_errorcode & 0xFF
        if code not in _UNWRITABLE:
            return error
        folder, reason, full = _of_sqlite(), _UNWRITABLE[code], code == sqlite3.SQLITE_FULL
    else:
        folder, reason, full = _of_python(), error.strerror or str(error), error.errno in DISK_FULL
    fix = "Make room there" if full else "Let this user write there"
    return SourceUnavailable(
        f"A large transaction cannot be stored in the temporary folder {folder}: {reason}.",
        f"{fix}, or set TMPDIR to another folder.",
    )


def _of_python() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:  # none is usable
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - only shown


def _of_sqlite() -> str:
    """Return the folder that SQLite chooses: https://www.sqlite.org/tempfiles.html, section 5."""
    named = [os.environ.get(name, "") for name in ("SQLITE_TMPDIR", "TMPDIR")]
    folders = [folder for folder in (*named, "/var/tmp", "/usr/tmp", "/tmp") if folder]  # noqa: S108 - only shown
    usable = (each for each in folders if Path(each).is_dir() and os.access(each, os.W_OK | os.X_OK))
    return next(usable, folders[0])
