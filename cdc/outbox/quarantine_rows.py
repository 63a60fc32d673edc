"""Between the rows of quarantined changes and the noun, the same for SQLite and PostgreSQL but for times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from cdc.model.change import Operation, Quarantined


def quarantined_row(change: Quarantined, source: str, now: Any, time: Callable[[datetime], Any]) -> dict[str, Any]:
    """Parameters of ``insert_quarantined.sql``.  ``now`` and ``time``: as the store keeps one."""
    return {
        "id": change.id,
        "found_at": now,
        "source": source,
        "table_name": change.table,
        "operation": change.operation.value,
        "row_key": None if change.key is None else orjson.dumps(dict(change.key)).decode(),
        "token": change.token,
        "changed_at": time(change.changed_at),
        "reason": change.reason,
        "image_before": change.before,
        "image_after": change.after,
    }


def quarantined_from(row: tuple[Any, ...], time: Callable[[Any], datetime]) -> Quarantined:
    """From the columns of the table, in their order."""
    return Quarantined(
        id=row[0],
        found_at=time(row[1]),
        source=row[2],
        table=row[3],
        operation=Operation(row[4]),
        key=None if row[5] is None else orjson.loads(row[5]),
        token=row[6],
        changed_at=time(row[7]),
        reason=row[8],
        before=row[9],
        after=row[10],
        backfill=row[11],
    )
