"""Entries of the audit log, in the transaction of what they record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar

from cdc.audit import AuditEntry, Note
from cdc.outbox.audit import audit_row
from cdc.outbox.postgres.session import Db

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Db, P], Awaitable[T]]

#: One change of access or of the audit log at a time: what was read is still true when it is written, and entries are
#: numbered as they commit.
LOCK: Final = "SELECT pg_catalog.pg_advisory_xact_lock(1667523328, 5)"


async def append(db: Db, entry: AuditEntry) -> int:
    """Return the number that the entry got.  Under `LOCK`."""
    ((number,),) = await db.rows("access/insert_audit", **audit_row(entry, lambda time: time))
    return int(number)


def noting(note: Note, work: Work[P, T]) -> Work[P, T]:
    """Return ``work`` followed by the entries, for one transaction.  The lock comes late and is held shortly."""

    @wraps(work)
    async def noted(db: Db, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = await work(db, *args, **kwargs)
        if note:
            await db.query(LOCK, {})
        for entry in note:
            await append(db, entry)
        return result

    return noted
