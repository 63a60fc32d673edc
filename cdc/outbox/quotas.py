"""Counts of what has a limit (`cdc.model.quota`), in the transaction that adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cdc.model.quota import Limited, Quota, Usage
from cdc.outbox.database import Database


async def check(db: Database, within: Sequence[Quota], now: datetime) -> None:
    """Raise `LimitReached` where a holder has more than it may.  Call `Database.alone` before: others must not add at
    the same time."""
    for quota in within:
        holder = {"source": quota.source, "principal": quota.principal}
        rows = await db.rows("quota_usage", kind=quota.kind.value, now=now, **holder)
        if sum(row[-1] for row in rows) + quota.following > quota.most:
            raise quota.refusal()


async def usage(db: Database, now: datetime) -> list[Usage]:
    """Return what all sources and principals have."""
    rows = await db.rows("quota_usage", kind=None, source=None, principal=None, now=now)
    return [Usage(Limited(kind), source, principal, number) for kind, source, principal, number in rows]
