"""Deliveries and attempts as ``--json`` prints them: the keys are a promise to programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cdc.delivery import Attempt, DeliveryView
from cdc.outbox.base import StoredEvent
from cdc.payload import format_time


def attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    return {
        "delivery": attempt.delivery_id,
        "number": attempt.number,
        "event": attempt.event_name,
        "event_id": attempt.event_id,
        "url": attempt.url,
        "status": attempt.status,
        "started_at": format_time(attempt.started_at),
        "duration": attempt.duration,
        "error": attempt.error or None,
        "answer": attempt.answer,
    }


def delivery_as_json(view: DeliveryView) -> dict[str, Any]:
    return {
        "id": view.id,
        "endpoint": view.endpoint_id,
        "event": view.event_name,
        "event_id": view.event_id,
        "record": view.record,
        "source": view.source,
        "state": view.state,
        "attempts": view.attempts,
        "due_at": time_as_json(view.due_at),
        "created_at": time_as_json(view.created_at),
        "finished_at": time_as_json(view.finished_at),
        "last_status": view.last_status,
        "last_error": view.last_error or None,
        "expunged": view.expunged,
    }


def event_as_json(stored: StoredEvent) -> dict[str, Any]:
    """``payload``: as it was sent to endpoints that ask for no other format; null once it was expunged."""
    return {
        "sequence": stored.sequence,
        "id": stored.id,
        "event": stored.name,
        "source": stored.source,
        "record": stored.record,
        "timestamp": format_time(stored.time),
        "expunged": stored.expunged,
        "payload": stored.payload or None,
    }


def time_as_json(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
