"""Changes in quarantine, in the PostgreSQL outbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cdc.model.change import Quarantined
from cdc.outbox.postgres.rows import storable
from cdc.outbox.postgres.session import Db
from cdc.outbox.quarantine_rows import quarantined_from, quarantined_row

_COUNT = "SELECT source, count(*) FROM cdc_outbox.quarantine GROUP BY source"
_REMOVE = "DELETE FROM cdc_outbox.quarantine WHERE id = %(id)s RETURNING id"
_FORGET = "DELETE FROM cdc_outbox.quarantine WHERE found_at < %(before)s RETURNING id"


def _same(time: datetime) -> datetime:
    return time


async def add(db: Db, source: str, changes: Sequence[Quarantined], now: datetime) -> None:
    for each in changes:
        row = quarantined_row(each, source, now, _same)
        texts = {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
        await db.write("insert_quarantined", **texts)


async def newest(db: Db, limit: int, before: str | None, source: str | None) -> list[Quarantined]:
    which = {name: None if text is None else storable(text) for name, text in (("before", before), ("source", source))}
    return [quarantined_from(row, _same) for row in await db.rows("quarantined", limit=limit, **which)]


async def find(db: Db, quarantined_id: str) -> Quarantined | None:
    rows = await db.rows("find_quarantined", id=storable(quarantined_id))
    return quarantined_from(rows[0], _same) if rows else None


async def count(db: Db) -> dict[str, int]:
    return dict(await db.query(_COUNT, {}))


async def remove(db: Db, quarantined_id: str) -> bool:
    return bool(await db.query(_REMOVE, {"id": storable(quarantined_id)}))


async def forget(db: Db, before: datetime) -> int:
    return len(await db.query(_FORGET, {"before": before}))
