"""A copy of a SQLite outbox as it is at one moment, made while others write to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from cdc.files import replace_durably
from cdc.model.errors import OutboxError, UsageError
from cdc.outbox.sqlite.database import sentence


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
