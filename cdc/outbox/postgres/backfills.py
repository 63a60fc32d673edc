"""Backfills, in the PostgreSQL outbox."""

from __future__ import annotations

from datetime import datetime

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep
from cdc.outbox.backfill_rows import backfill_from, backfill_row, step_row
from cdc.outbox.postgres.rows import storable
from cdc.outbox.postgres.session import Db
from cdc.outbox.shared import no_backfill

_SET_REREAD = "UPDATE cdc_outbox.quarantine SET backfill = %(backfill)s WHERE id = %(id)s"


def _same(time: datetime) -> datetime:
    return time


async def add(db: Db, backfill: Backfill, rereads: str) -> None:
    row = backfill_row(backfill, _same)
    await db.write(
        "insert_backfill", **{name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
    )
    if rereads:
        await db.query(_SET_REREAD, {"id": storable(rereads), "backfill": backfill.id})


async def newest(db: Db, limit: int, before: str | None) -> list[Backfill]:
    wanted = None if before is None else storable(before)
    return [backfill_from(row, _same) for row in await db.rows("backfills", limit=limit, before=wanted)]


async def find(db: Db, backfill_id: str) -> Backfill | None:
    rows = await db.rows("find_backfill", id=storable(backfill_id))
    return backfill_from(rows[0], _same) if rows else None


async def oldest(db: Db, source: str) -> Backfill | None:
    rows = await db.rows("next_backfill", source=source)
    return backfill_from(rows[0], _same) if rows else None


async def advance(db: Db, step: BackfillStep, now: datetime) -> None:
    await db.write("advance_backfill", **step_row(step, now))


async def set_state(db: Db, backfill_id: str, state: BackfillState, error: str, now: datetime) -> Backfill:
    ended = now if state.ended else None
    wanted = storable(backfill_id)
    await db.write("set_backfill", id=wanted, state=state.value, error=storable(error), finished_at=ended)
    found = await find(db, backfill_id)
    if found is None:
        raise no_backfill(backfill_id)
    return found


async def unfinished(db: Db, endpoint_id: str, limit: int) -> int:
    rows = await db.rows("unfinished", endpoint=storable(endpoint_id), limit=limit)
    return int(rows[0][0])
