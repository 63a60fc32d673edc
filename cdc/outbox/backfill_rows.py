"""Between the rows of backfills and the noun, the same for SQLite and PostgreSQL but for how they keep times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from cdc.model.backfill import Backfill, BackfillState
from cdc.model.change import BackfillStep


def backfill_row(backfill: Backfill, time: Callable[[datetime], Any]) -> dict[str, Any]:
    """Parameters of ``insert_backfill.sql``.  ``time``: as the store keeps one."""
    return {
        "id": backfill.id,
        "created_at": time(backfill.created_at),
        "actor": backfill.actor,
        "source": backfill.source,
        "table_name": backfill.table,
        "condition": backfill.where,
        "endpoint": backfill.endpoint,
        "rate": backfill.rate,
        "estimate": backfill.estimate,
        "state": backfill.state.value,
    }


def step_row(step: BackfillStep, now: Any) -> dict[str, Any]:
    """Parameters of ``advance_backfill.sql``.  ``now``: as the store keeps it."""
    place = None if step.after is None else orjson.dumps(step.after).decode()
    return {"id": step.job, "row_count": step.rows, "place": place, "finished": step.finished, "now": now}


def backfill_from(row: tuple[Any, ...], time: Callable[[Any], datetime]) -> Backfill:
    """From the columns of the table, in their order."""
    return Backfill(
        id=row[0],
        created_at=time(row[1]),
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
        finished_at=None if row[12] is None else time(row[12]),
        error=row[13],
    )
