"""Backfills."""

from __future__ import annotations

from datetime import datetime

import orjson

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep
from cdc.outbox.database import Database, Row
from cdc.outbox.shared import no_backfill


async def add(db: Database, backfill: Backfill, rereads: str) -> None:
    await db.write(
        "insert_backfill",
        id=backfill.id,
        created_at=backfill.created_at,
        actor=backfill.actor,
        source=backfill.source,
        table_name=backfill.table,
        condition=backfill.where,
        endpoint=backfill.endpoint,
        rate=backfill.rate,
        estimate=backfill.estimate,
        state=backfill.state.value,
    )
    if rereads:
        await db.write("set_reread", id=rereads, backfill=backfill.id)


async def newest(db: Database, limit: int, before: str | None) -> list[Backfill]:
    return [_from(row) for row in await db.rows("backfills", limit=limit, before=before)]


async def find(db: Database, backfill_id: str) -> Backfill | None:
    row = await db.row("find_backfill", id=backfill_id)
    return None if row is None else _from(row)


async def oldest(db: Database, source: str) -> Backfill | None:
    row = await db.row("next_backfill", source=source)
    return None if row is None else _from(row)


async def sources(db: Database) -> frozenset[str]:
    return frozenset(source for (source,) in await db.rows("backfilled_sources"))


async def advance(db: Database, step: BackfillStep, now: datetime) -> None:
    place = None if step.after is None else orjson.dumps(step.after).decode()
    await db.write("advance_backfill", id=step.job, row_count=step.rows, place=place, finished=step.finished, now=now)


async def set_state(db: Database, backfill_id: str, state: BackfillState, error: str, now: datetime) -> Backfill:
    ended = now if state.ended else None
    await db.write("set_backfill", id=backfill_id, state=state.value, error=error, finished_at=ended)
    found = await find(db, backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    return found


async def unfinished(db: Database, endpoint_id: str | None, limit: int) -> int:
    if endpoint_id is None:
        return int(await db.value("all_unfinished", limit=limit))
    return int(await db.value("unfinished", endpoint=endpoint_id, limit=limit))


def _from(row: Row) -> Backfill:
    """Return the backfill of the table's columns, in their order."""
    return Backfill(
        id=row[0],
        created_at=row[1],
        actor=row[2],
        source=row[3],
        table=row[4],
        where=row[5],
        endpoint=row[6],
        rate=row[7],
        estimate=row[8],
        state=BackfillState(row[9]),
        rows=row[10],
        after=None if row[11] is None else orjson.loads(row[11]),
        finished_at=row[12],
        error=row[13],
    )
