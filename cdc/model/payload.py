"""The default payload of an event, as stored in the outbox and sent to endpoints that ask for no other format."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from cdc.model.event import TESTS, Event


@lru_cache(maxsize=64)  # events of one moment come together
def format_time(time: datetime) -> str:
    """``2026-11-24T21:48:00.123456Z``: UTC, always six digits."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def event_payload(event: Event) -> bytes:
    """The event as UTF-8 JSON in the format ``facturascripts``: keys in this order, row keys in column order."""
    payload: dict[str, Any] = {
        "id": event.id,
        "event": event.name,
        "timestamp": format_time(event.time),
        "source": event.source,
        "key": event.key,
        "data": event.data,
    }
    if event.previous is not None:
        payload["previous"] = event.previous
    payload["transaction"] = event.transaction
    if event.inferred:
        payload["inferred"] = True
    if event.observed:
        payload["observed"] = True
    if event.source == TESTS:
        payload["test"] = True
    return orjson.dumps(payload)
