"""Between the rows of endpoints in the SQLite outbox and the noun."""

from __future__ import annotations

import json
from typing import Any, Final

from cdc.model.endpoint import Endpoint, Order, PayloadFormat

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


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Parameters of ``insert_endpoint`` and ``update_endpoint``."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
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
    """From ``endpoints``."""
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
    """Those that were written; what an older version did not know of has its default."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items() if name in _SETTINGS
    }
