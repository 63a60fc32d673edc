"""Statistics of attempts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cdc.model.activity import HOURS_KEPT, MINUTES_KEPT, Activity
from cdc.outbox.database import Database


async def activity(db: Database, edges: Sequence[datetime]) -> list[Activity]:
    columns = {"period_start": list(edges[:-1]), "period_end": list(edges[1:])}
    return [Activity(*row) for row in await db.rows_each("activity", columns)]


async def gather(db: Database, since: datetime, now: datetime) -> None:
    before = (now - MINUTES_KEPT).replace(minute=0, second=0, microsecond=0)
    await db.alone()  # another process that gathers the same minutes would count them twice
    for name in ("gather_activity", "drop_minutes"):
        await db.write(name, since=since, before=before)
    await db.write("forget_activity", before=now - HOURS_KEPT)
