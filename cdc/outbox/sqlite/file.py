"""The file of a SQLite outbox: nobody but its owner reads it, for it holds secrets; and what is to be gone is gone."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdc.model.errors import OutboxError


@contextmanager
def overwriting(db: sqlite3.Connection) -> Iterator[None]:
    """What is deleted or replaced meanwhile is overwritten with zeros, not only left unused."""
    (before,) = db.execute("PRAGMA secure_delete").fetchone()
    db.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        db.execute(f"PRAGMA secure_delete = {before}")


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
