"""Deliveries and attempts as ``--json`` prints them: as the HTTP API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cdc.api.resource import AttemptResource, DeliveryResource, EventResource
from cdc.model.delivery import Attempt, DeliveryView
from cdc.model.event import format_time
from cdc.outbox.base import StoredEvent


def attempt_as_json(attempt: Attempt) -> dict[str, Any]:
    return AttemptResource.of(attempt).model_dump(mode="json")


def delivery_as_json(view: DeliveryView) -> dict[str, Any]:
    return DeliveryResource.of(view).model_dump(mode="json")


def event_as_json(stored: StoredEvent) -> dict[str, Any]:
    return EventResource.of(stored).model_dump(mode="json")


def time_as_json(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
