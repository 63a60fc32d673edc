"""Entries of the audit log, in the transaction of what they record."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from cdc.audit import AuditEntry, Note
from cdc.outbox.audit import audit_row
from cdc.outbox.sqlite.rows import micros
from cdc.sqlfile import load

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[sqlite3.Connection, P], T]


def append(db: sqlite3.Connection, entry: AuditEntry) -> int:
    """Return the number that the entry got."""
    (number,) = db.execute(load("sqlite/access/insert_audit.sql"), audit_row(entry, micros)).fetchone()
    return int(number)


def noting(note: Note, work: Work[P, T]) -> Work[P, T]:
    """Return ``work`` followed by the entries, for one transaction."""

    @wraps(work)
    def noted(db: sqlite3.Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = work(db, *args, **kwargs)
        for entry in note:
            append(db, entry)
        return result

    return noted
