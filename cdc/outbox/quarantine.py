"""Changes in quarantine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson

from cdc.model.change import Operation, Quarantined
from cdc.outbox.database import Database, Row


async def add(db: Database, source: str, changes: Sequence[Quarantined], now: datetime) -> None:
    seal = db.box.contents.seal_text
    for change in changes:
        await db.write(
            "insert_quarantined",
            id=change.id,
            found_at=now,
            source=source,
            table_name=change.table,
            operation=change.operation.value,
            row_key=None if change.key is None else seal(orjson.dumps(dict(change.key)).decode()),
            token=change.token,
            changed_at=change.changed_at,
            reason=change.reason,
            image_before=seal(change.before),
            image_after=seal(change.after),
        )


async def newest(db: Database, limit: int, before: str | None, source: str | None) -> list[Quarantined]:
    return [
        _from(row, db.box.contents.open_text)
        for row in await db.rows("quarantined", limit=limit, before=before, source=source)
    ]


async def find(db: Database, quarantined_id: str) -> Quarantined | None:
    row = await db.row("find_quarantined", id=quarantined_id)
    return None if row is None else _from(row, db.box.contents.open_text)


async def count(db: Database) -> dict[str, int]:
    return dict(await db.rows("count_quarantined"))


async def remove(db: Database, quarantined_id: str) -> bool:
    return await db.write("remove_quarantined", id=quarantined_id) > 0


async def forget(db: Database, before: datetime) -> int:
    return await db.write("forget_quarantined", before=before)


def _from(row: Row, opened: Callable[[str], str]) -> Quarantined:
    """Return the change of the table's columns, in their order."""
    return Quarantined(
        id=row[0],
        found_at=row[1],
        source=row[2],
        table=row[3],
        operation=Operation(row[4]),
        key=None if row[5] is None else orjson.loads(opened(row[5])),
        token=row[6],
        changed_at=row[7],
        reason=row[8],
        before=opened(row[9]),
        after=opened(row[10]),
        backfill=row[11],
    )
