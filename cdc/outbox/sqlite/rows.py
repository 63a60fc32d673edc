"""Conversion between the rows of endpoints in the SQLite outbox and `Endpoint`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cdc.model.endpoint import Endpoint, Order, PayloadFormat
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


#: Fields of an endpoint with a column of their own; the others, which no statement of dispatch reads, are one text.
_COLUMNS: Final = frozenset(
    (
        *("id", "url", "events", "secret", "created_at", "enabled", "description", "sources", "format", "timeout"),
        *("retry_schedule", "concurrency", "disabled_reason", "former_secret", "former_secret_until", "origin"),
        *("order", "condition", "headers", "failing_since"),
    )
)
_SETTINGS: Final = tuple(each.name for each in fields(Endpoint) if each.name not in _COLUMNS)


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Parameters of ``insert_endpoint`` and ``update_endpoint``, for an endpoint as it is stored."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "public_url": None,
        "events": json.dumps(endpoint.events),
        "secret": endpoint.secret,
        "created_at": endpoint.created_at,
        "enabled": endpoint.enabled,
        "description": endpoint.description,
        "sources": json.dumps(endpoint.sources),
        "format": endpoint.format.value,
        "timeout": endpoint.timeout,
        "retry_schedule": json.dumps(endpoint.retry_schedule),
        "concurrency": endpoint.concurrency,
        "disabled_reason": endpoint.disabled_reason,
        "former_secret": endpoint.former_secret,
        "former_secret_until": endpoint.former_secret_until,
        "origin": endpoint.origin,
        "order": endpoint.order.value,
        "condition": endpoint.condition,
        "headers": json.dumps(endpoint.headers),
        "failing_since": endpoint.failing_since,
        "settings": json.dumps({name: getattr(endpoint, name) for name in _SETTINGS}),
    }


def endpoint_from(row: tuple[Any, ...]) -> Endpoint:
    """Return the endpoint of a row of ``endpoints``."""
    return Endpoint(
        id=row[0],
        url=row[1],
        events=tuple(json.loads(row[2])),
        secret=row[3],
        created_at=row[4],
        enabled=bool(row[5]),
        description=row[6],
        sources=tuple(json.loads(row[7])),
        format=PayloadFormat(row[8]),
        timeout=row[9],
        retry_schedule=tuple(json.loads(row[10])),
        concurrency=row[11],
        disabled_reason=row[12],
        former_secret=row[13],
        former_secret_until=row[14],
        origin=row[15],
        order=Order(row[16]),
        condition=row[17],
        headers=tuple((name, value) for name, value in json.loads(row[18])),
        failing_since=row[19],
        **_settings(json.loads(row[20])),
    )


def _settings(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the stored settings; one that an older version did not know has its default."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in _SETTINGS
    }
