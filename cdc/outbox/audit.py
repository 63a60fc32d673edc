"""Entries of the audit log, in the transaction of what they record."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from cdc.model.audit import AuditEntry, Note
from cdc.outbox.database import Database

D = TypeVar("D", bound=Database)
P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[D, P], Coroutine[Any, Any, T]]


async def append(db: Database, entry: AuditEntry) -> int:
    """Return the number that the entry got.  Call `Database.alone` before: entries are numbered as they commit."""
    row = await db.row(
        "insert_audit",
        recorded_at=entry.at,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail_json(),
    )
    assert row is not None, "an insertion returns its row"
    return int(row[0])


def noting(note: Note, work: Work[D, P, T]) -> Work[D, P, T]:
    """Return ``work`` followed by the entries, for one transaction.  The lock comes late and is held shortly."""

    @wraps(work)
    async def noted(db: D, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = await work(db, *args, **kwargs)
        if note:
            await db.alone()
        for entry in note:
            await append(db, entry)
        return result

    return noted
