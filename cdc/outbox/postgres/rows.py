"""Between the rows of the PostgreSQL outbox and the nouns."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.model.endpoint import Endpoint
from cdc.outbox.base import StoredEvent
from cdc.outbox.shared import NO_NUL, delivery_id

#: `delivery.state` of rows; pending and leased share 1 and differ by `delivery.worker`
WAITING, ACTIVE, DELIVERED, DEAD, CANCELLED = range(5)
ROW_STATE: Final = {
    DeliveryState.WAITING: WAITING,
    DeliveryState.PENDING: ACTIVE,
    DeliveryState.LEASED: ACTIVE,
    DeliveryState.DELIVERED: DELIVERED,
    DeliveryState.DEAD: DEAD,
    DeliveryState.CANCELLED: CANCELLED,
}
STATES: Final = (
    DeliveryState.WAITING,
    DeliveryState.PENDING,
    DeliveryState.DELIVERED,
    DeliveryState.DEAD,
    DeliveryState.CANCELLED,
)
_ENDPOINT: Final = TypeAdapter(Endpoint)
#: columns of their own; everything else of an endpoint is in `settings`
_COLUMNS: Final = (
    "id",
    "events",
    "sources",
    "enabled",
    "disabled_reason",
    "secret",
    "former_secret",
    "created_at",
    "order",
    "condition",
    "headers",
    "failing_since",
)


def storable(text: str) -> str:
    """NUL, which no text of PostgreSQL holds, replaced."""
    return text.replace("\0", NO_NUL) if "\0" in text else text


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Parameters of ``insert_endpoint.sql`` and ``update_endpoint.sql``."""
    values = _ENDPOINT.dump_python(endpoint, mode="json")
    settings = Jsonb({name: value for name, value in values.items() if name not in _COLUMNS})
    return {
        **{name: values[name] for name in _COLUMNS},
        "created_at": endpoint.created_at,
        "headers": json.dumps(endpoint.headers),
        "failing_since": endpoint.failing_since,
        "settings": settings,
    }


def endpoint_from(row: tuple[Any, ...]) -> Endpoint:
    """From ``endpoints.sql``."""
    settings, *columns = row
    values = {**settings, **dict(zip(_COLUMNS, columns, strict=True))}
    return _ENDPOINT.validate_python({**values, "headers": json.loads(values["headers"])})


def view_from(row: tuple[Any, ...]) -> DeliveryView:
    """From ``deliveries.sql``."""
    number, endpoint_id, event_id, name, record, source, row_state, leased, attempts, due, created, finished = row[:12]
    state = DeliveryState.LEASED if leased else STATES[row_state]
    return DeliveryView(
        id=delivery_id(number),
        endpoint_id=endpoint_id,
        event_id=event_id,
        event_name=name,
        record=record,
        source=source,
        state=state,
        attempts=attempts,
        due_at=due if state is DeliveryState.PENDING else None,
        created_at=created,
        finished_at=finished,
        last_status=row[12],
        last_error=row[13] or "",
        expunged=row[14],
    )


def attempt_from(row: tuple[Any, ...]) -> Attempt:
    """From ``attempts.sql``."""
    return Attempt(delivery_id(row[0]), *row[1:])


def event_from(row: tuple[Any, ...]) -> StoredEvent:
    """From ``event.sql`` and ``events_….sql``."""
    sequence, event_id, name, source, record, time, payload = row
    parsed = orjson.loads(payload) if payload else {}  # emptied when it was expunged
    return StoredEvent(sequence, event_id, name, source, record, time, parsed)
