"""Values of rows of the SQLite outbox: times are microseconds, lists JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cdc.outbox.database import Row

#: Columns that hold a time.
TIMES: Final = frozenset(
    {
        "time",
        "due",
        "created_at",
        "finished_at",
        "dead_at",
        "started_at",
        "expires_at",
        "last_used_at",
        "recorded_at",
        "removed_at",
        "leased_until",
        "found_at",
        "changed_at",
        "failing_since",
        "former_secret_until",
        "period_start",
        "period_end",
    }
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def with_times(cursor: sqlite3.Cursor) -> list[Row]:
    """The rows of a statement, its times as such."""
    return converted(cursor.fetchall(), cursor.description or ())


def converted(rows: list[Row], description: Sequence[Sequence[Any]]) -> list[Row]:
    """``description``: the columns, as a cursor has them."""
    times = {at for at, column in enumerate(description) if column[0] in TIMES}
    if not times:
        return rows
    return [
        tuple(moment(value) if at in times and value is not None else value for at, value in enumerate(row))
        for row in rows
    ]


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def stored(value: Any) -> Any:
    """A value as SQLite takes it."""
    if isinstance(value, datetime):
        return micros(value)
    return orjson.dumps(value).decode() if isinstance(value, list | tuple) else value
