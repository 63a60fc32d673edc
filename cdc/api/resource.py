"""What the API shows and takes: the keys are a promise to programs (``--json`` of the command line prints the same)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from cdc.delivery import Attempt, DeliveryState, DeliveryView
from cdc.outbox.base import StoredEvent
from cdc.payload import format_time

#: UTC, always six digits and a Z.
Moment = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
#: Most items of a page.
MOST = 200


class Shown(BaseModel):
    """Never changed once made."""

    model_config = ConfigDict(frozen=True)


class Taken(BaseModel):
    """From a caller: no unknown keys, and the values never in an error's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PageQuery(Taken):
    limit: Annotated[int, Field(ge=1, le=MOST, description="At most so many.")] = 50
    cursor: Annotated[str | None, Field(max_length=40, description="`next` of the page before.")] = None


class AttemptResource(Shown):
    """One request that was made, or tried."""

    delivery: str
    number: int = Field(description="From 1; a retry by hand counts from 1 again.")
    event: str
    event_id: str
    url: str = Field(description="Without what may be secret.")
    status: int | None = Field(description="Null when no answer came.")
    started_at: Moment
    duration: float = Field(description="Seconds.")
    error: str | None = Field(description="One sentence; null on success.")
    answer: str = Field(description="The first 1,000 bytes of the answer's body.")

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        return cls(
            delivery=attempt.delivery_id,
            number=attempt.number,
            event=attempt.event_name,
            event_id=attempt.event_id,
            url=attempt.url,
            status=attempt.status,
            started_at=attempt.started_at,
            duration=attempt.duration,
            error=attempt.error or None,
            answer=attempt.answer,
        )


class DeliveryResource(Shown):
    """One event on its way to one endpoint."""

    id: str = Field(examples=["dlv_12"])
    endpoint: str
    event: str
    event_id: str
    record: str = Field(examples=["facturascli:12"])
    source: str
    state: DeliveryState
    attempts: int
    due_at: Moment | None = Field(description="When it is sent next; null unless it is pending.")
    created_at: Moment
    finished_at: Moment | None
    last_status: int | None
    last_error: str | None

    @classmethod
    def of(cls, view: DeliveryView) -> Self:
        return cls(**_delivery(view))


class DeliveryDetail(DeliveryResource):
    log: list[AttemptResource] = Field(description="Its attempts, oldest first.")

    @classmethod
    def with_log(cls, view: DeliveryView, attempts: list[Attempt]) -> Self:
        return cls(**_delivery(view), log=[AttemptResource.of(attempt) for attempt in attempts])


def _delivery(view: DeliveryView) -> dict[str, Any]:
    return {
        "id": view.id,
        "endpoint": view.endpoint_id,
        "event": view.event_name,
        "event_id": view.event_id,
        "record": view.record,
        "source": view.source,
        "state": view.state,
        "attempts": view.attempts,
        "due_at": view.due_at,
        "created_at": view.created_at,
        "finished_at": view.finished_at,
        "last_status": view.last_status,
        "last_error": view.last_error or None,
    }


class DeliveryPage(Shown):
    items: list[DeliveryResource]
    next: str | None = Field(description="The cursor of the page behind; null on the last one.")


class EventResource(Shown):
    """An event as it is stored."""

    id: str = Field(examples=["evt_9b0dd2531f4887cef743e2cc87841e1c"])
    event: str = Field(examples=["invoice.paid"])
    source: str
    record: str
    timestamp: Moment
    payload: Mapping[str, Any] = Field(description="As it is sent in the default format.")

    @classmethod
    def of(cls, stored: StoredEvent) -> Self:
        return cls(
            id=stored.id,
            event=stored.name,
            source=stored.source,
            record=stored.record,
            timestamp=stored.time,
            payload=stored.payload,
        )


class EventPage(Shown):
    items: list[EventResource]
    next: str | None = Field(description="The cursor of the page behind; null on the last one.")


class EventTypeResource(Shown):
    """An event that there may be."""

    event: str = Field(examples=["invoice.paid"])
    entity: str
    table: str
    when: str = Field(description="When it fires, in a sentence.")


class EventTypeDetail(EventTypeResource):
    payload_schema: Mapping[str, Any] = Field(description="JSON Schema of its payload.")
    example: Mapping[str, Any]


class EventTypeList(Shown):
    items: list[EventTypeResource]
