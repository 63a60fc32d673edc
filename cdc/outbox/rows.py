"""Conversion between the rows of events, deliveries and attempts and their classes."""

from __future__ import annotations

from typing import Final

import orjson

from cdc.model.delivery import Attempt, DeliveryState, DeliveryView
from cdc.outbox.base import StoredEvent
from cdc.outbox.database import Row
from cdc.outbox.shared import delivery_id

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


def view_from(row: Row) -> DeliveryView:
    """Return the delivery of a row of ``deliveries``."""
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
        expunged=bool(row[14]),
    )


def attempt_from(row: Row) -> Attempt:
    """Return the attempt of a row of ``attempts``."""
    return Attempt(delivery_id(row[0]), *row[1:])


def event_from(row: Row) -> StoredEvent:
    """Return the event of a row of ``event``, ``events_…`` and ``find_…``."""
    sequence, event_id, name, source, record, time, payload = row
    parsed = orjson.loads(payload) if payload else {}  # emptied when it was expunged
    return StoredEvent(sequence, event_id, name, source, record, time, parsed)
