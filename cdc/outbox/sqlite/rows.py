"""Between the rows of the SQLite outbox and the nouns."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.endpoint import Endpoint, Order, PayloadFormat
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import delivery_id

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: `delivery.state` of rows; pending and leased share 1 and differ by `delivery.worker`
WAITING, ACTIVE, DELIVERED, DEAD, CANCELLED = range(5)
#: the row state with which `counts.sql` reports the leased among the active
LEASED_AMONG_ACTIVE: Final = 5

ROW_STATE: Final = {
    DeliveryState.WAITING: WAITING,
    DeliveryState.PENDING: ACTIVE,
    DeliveryState.LEASED: ACTIVE,
    DeliveryState.DELIVERED: DELIVERED,
    DeliveryState.DEAD: DEAD,
    DeliveryState.CANCELLED: CANCELLED,
}
#: fields of an endpoint that no statement looks at
_SETTINGS: Final = (
    "rate",
    "batch_size",
    "batch_wait",
    "fields",
    "proxy",
    "client_certificate",
    "disable_after",
    "credentials_of",
)
_STATES: Final = (
    DeliveryState.WAITING,
    DeliveryState.PENDING,
    DeliveryState.DELIVERED,
    DeliveryState.DEAD,
    DeliveryState.CANCELLED,
)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _optional_moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


def state_of(row_state: int, *, leased: bool) -> DeliveryState:
    return DeliveryState.LEASED if leased else _STATES[row_state]


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Parameters of ``insert_endpoint.sql`` and ``update_endpoint.sql``."""
    until = endpoint.former_secret_until
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": json.dumps(endpoint.events),
        "secret": endpoint.secret,
        "created_at": micros(endpoint.created_at),
        "enabled": endpoint.enabled,
        "description": endpoint.description,
        "sources": json.dumps(endpoint.sources),
        "format": endpoint.format.value,
        "timeout": endpoint.timeout,
        "retry_schedule": json.dumps(endpoint.retry_schedule),
        "concurrency": endpoint.concurrency,
        "disabled_reason": endpoint.disabled_reason,
        "former_secret": endpoint.former_secret,
        "former_secret_until": None if until is None else micros(until),
        "origin": endpoint.origin,
        "order": endpoint.order.value,
        "condition": endpoint.condition,
        "headers": json.dumps(endpoint.headers),
        "failing_since": None if endpoint.failing_since is None else micros(endpoint.failing_since),
        "settings": json.dumps({name: getattr(endpoint, name) for name in _SETTINGS}),
    }


def endpoint_from(row: tuple[Any, ...]) -> Endpoint:
    """From ``endpoints.sql``."""
    return Endpoint(
        id=row[0],
        url=row[1],
        events=tuple(json.loads(row[2])),
        secret=row[3],
        created_at=moment(row[4]),
        enabled=bool(row[5]),
        description=row[6],
        sources=tuple(json.loads(row[7])),
        format=PayloadFormat(row[8]),
        timeout=row[9],
        retry_schedule=tuple(json.loads(row[10])),
        concurrency=row[11],
        disabled_reason=row[12],
        former_secret=row[13],
        former_secret_until=_optional_moment(row[14]),
        origin=row[15],
        order=Order(row[16]),
        condition=row[17],
        headers=tuple((name, value) for name, value in json.loads(row[18])),
        failing_since=_optional_moment(row[19]),
        **_settings(json.loads(row[20])),
    )


def _settings(stored: dict[str, Any]) -> dict[str, Any]:
    """Those that were written; what an older version did not know of has its default."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in _SETTINGS
    }


def view_from(row: tuple[Any, ...]) -> DeliveryView:
    """From ``deliveries.sql``."""
    state = state_of(row[6], leased=bool(row[7]))
    return DeliveryView(
        id=delivery_id(row[0]),
        endpoint_id=row[1],
        event_id=row[2],
        event_name=row[3],
        record=row[4],
        source=row[5],
        state=state,
        attempts=row[8],
        due_at=moment(row[9]) if state is DeliveryState.PENDING else None,
        created_at=moment(row[10]),
        finished_at=_optional_moment(row[11]),
        last_status=row[12],
        last_error=row[13] or "",
        expunged=bool(row[14]),
    )


def attempt_from(row: tuple[Any, ...]) -> Attempt:
    """From ``attempts.sql``."""
    number, attempt, event_id, name, url, status, started_at, duration, error, answer = row
    started = moment(started_at)
    return Attempt(delivery_id(number), attempt, event_id, name, url, status, started, duration, error, answer)


def event_from(row: tuple[Any, ...]) -> StoredEvent:
    """From ``event.sql`` and ``events_….sql``."""
    sequence, event_id, name, source, record, time, payload = row
    parsed = orjson.loads(payload) if payload else {}  # emptied when it was expunged
    return StoredEvent(sequence, event_id, name, source, record, moment(time), parsed)
