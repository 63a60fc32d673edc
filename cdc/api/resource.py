"""Resources of the API: the keys are a promise to programs (``--json`` of the command line prints these)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from cdc.admin.explain import Explanation, Reason
from cdc.model.delivery import Attempt, DeliveryFilter, DeliveryState, DeliveryView
from cdc.model.event import check_pattern, format_time
from cdc.outbox.base import StoredEvent


def _written(value: object) -> object:
    """A date and a time of day with an offset, as RFC 3339 writes them: what else pydantic would take is a mistake."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("is not a time such as 2026-11-24T21:48:00Z")
    return value


#: From a caller.
Time = Annotated[AwareDatetime, BeforeValidator(_written)]
#: UTC, always six digits and a Z.
Moment = Annotated[
    datetime,
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
#: Most items of a page.
MOST = 200
NEXT = "The cursor of the page behind; null on the last one."
SHORT_PAGES = (
    "Searches are time-limited: a page may be short or empty; while `next` is set, continue. The search has ended when "
    "`next` is null."
)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EVENT_ID = "evt_"


class ResponseModel(BaseModel):
    """Base of answers; immutable.  Built when it is first used: all of them take 1 MB."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class RequestModel(BaseModel):
    """The body of a request: no unknown keys, and its values never in an error's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class PageQuery(RequestModel):
    limit: Annotated[int, Field(ge=1, le=MOST, description="At most so many.")] = 50
    cursor: Annotated[str | None, Field(max_length=40, description="`next` of the page before.")] = None


class EventsMeant(RequestModel):
    """The events that are meant; a parameter that is left out does not narrow them."""

    event: Annotated[
        str | None, Field(description="Only these (`invoice.*`), or one (`evt_…`).", min_length=1, max_length=200)
    ] = None
    record: Annotated[str | None, Field(description="Only of this record (`facturascli:12`).", max_length=1000)] = None
    source: Annotated[str | None, Field(description="Only of this source.", max_length=200)] = None
    since: Annotated[Time | None, Field(description="Only of changes at this time or later.")] = None
    until: Annotated[Time | None, Field(description="Only of changes before this time.")] = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `EventFilter`.  Raises `UsageError` for an invalid pattern."""
        is_id = self.event is not None and self.event.startswith(_EVENT_ID)
        return {
            "event_id": self.event if is_id else None,
            "event_pattern": None if self.event is None or is_id else check_pattern(self.event),
            "record": self.record,
            "source": self.source,
            "since": self.since,
            "until": self.until,
        }


class LabelQuery(RequestModel):
    label: Annotated[
        str | None,
        Field(
            description="Only of records with this code or name, in any case (`FAC2026A12`); of events that were "
            "stored since version 0.2.0, and not where payloads are encrypted.",
            min_length=1,
            max_length=200,
        ),
    ] = None


class StreamQuery(RequestModel):
    event: Annotated[str | None, Field(description="Only these (`invoice.*`).", min_length=1, max_length=200)] = None


class DeliveriesMeant(EventsMeant):
    """The deliveries that are meant: of such events, to this endpoint, in this state."""

    endpoint: Annotated[str | None, Field(description="Only to this endpoint.", max_length=200)] = None
    state: Annotated[DeliveryState | None, Field(description="Only in this state.")] = None

    def filter(self) -> DeliveryFilter:
        return DeliveryFilter(endpoint_id=self.endpoint, state=self.state, **self.fields())


class AttemptResource(ResponseModel):
    """One request that was made, or tried."""

    delivery: str
    number: int = Field(description="From 1; a retry by hand counts from 1 again.")
    event: str
    event_id: str
    url: str = Field(description="Scheme, host and port, with the end of the endpoint's id in place of the path.")
    status: int | None = Field(description="Null when no answer came.")
    started_at: Moment
    duration: float = Field(description="Seconds.")
    error: str | None = Field(description="One sentence; null on success.")
    answer: str = Field(description="The first 1,000 bytes of the answer's body.")

    @classmethod
    def from_attempt(cls, attempt: Attempt) -> Self:
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


class DeliveryResource(ResponseModel):
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
    expunged: bool = Field(description="What it carried is gone: it cannot be sent again.")

    @classmethod
    def from_delivery(cls, view: DeliveryView) -> Self:
        return cls(**_delivery(view))


class DeliveryDetail(DeliveryResource):
    log: list[AttemptResource] = Field(description="Its attempts, oldest first.")

    @classmethod
    def with_log(cls, view: DeliveryView, attempts: list[Attempt]) -> Self:
        return cls(**_delivery(view), log=[AttemptResource.from_attempt(attempt) for attempt in attempts])


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
        "expunged": view.expunged,
    }


class DeliveryPage(ResponseModel):
    items: list[DeliveryResource]
    next: str | None = Field(description=NEXT)


class EventResource(ResponseModel):
    """An event as it is stored."""

    sequence: int = Field(description="Grows with storing.")
    id: str = Field(examples=["evt_9b0dd2531f4887cef743e2cc87841e1c"])
    event: str = Field(examples=["invoice.paid"])
    source: str
    record: str
    timestamp: Moment
    expunged: bool = Field(description="Its payload was removed.")
    payload: Mapping[str, Any] | None = Field(description="As it is sent in the default format; null once expunged.")

    @classmethod
    def from_event(cls, stored: StoredEvent) -> Self:
        return cls(
            sequence=stored.sequence,
            id=stored.id,
            event=stored.name,
            source=stored.source,
            record=stored.record,
            timestamp=stored.time,
            expunged=stored.expunged,
            payload=stored.payload or None,
        )


class ExplanationResource(ResponseModel):
    """Why an event did not reach an endpoint, or when it did."""

    reason: Reason = Field(description="The documentation explains each, under Troubleshooting.")
    sentence: str = Field(description="The reason in a sentence, for people.")
    step: str = Field(description="What to do.")
    source: str | None
    record: str | None
    event_id: str | None
    delivery_id: str | None
    endpoint_id: str | None
    ahead_id: str | None = Field(description="The delivery that this one waits for.")
    evidence: Mapping[str, Any] = Field(
        description="What the sentence names: times, answers, columns and their values."
    )

    @classmethod
    def from_explanation(cls, found: Explanation) -> Self:
        sentence, step = found.texts()
        ids = ("source", "record", "event_id", "delivery_id", "endpoint_id", "ahead_id")
        evidence = {name: format_time(v) if isinstance(v, datetime) else v for name, v in found.values.items()}
        named = {name: getattr(found, name) or None for name in ids}
        return cls(reason=found.reason, sentence=sentence, step=step, evidence=evidence, **named)


class EventPage(ResponseModel):
    items: list[EventResource]
    next: str | None = Field(description=NEXT)


class ColumnChange(ResponseModel):
    column: str
    before: Any
    after: Any


class RecordEvent(ResponseModel):
    sequence: int = Field(description="Grows with storing.")
    id: str = Field(examples=["evt_9b0dd2531f4887cef743e2cc87841e1c"])
    event: str = Field(examples=["invoice.paid"])
    expunged: bool = Field(description="Its payload was removed.")
    deliveries: list[DeliveryResource]
    complete: bool = Field(description="False: it may have more deliveries; `GET /deliveries?event=evt_…` has all.")


class RecordChangeResource(ResponseModel):
    """One change of a record."""

    timestamp: Moment
    columns: list[ColumnChange] | None = Field(
        description="What differs from before; null where that is not known: nothing was stored before, or it was "
        "removed."
    )
    events: list[RecordEvent] = Field(description="The events that it made, in the order stored.")


class RecordPage(ResponseModel):
    items: list[RecordChangeResource]
    next: str | None = Field(description=NEXT)


class EventTypeResource(ResponseModel):
    """An event that there may be."""

    event: str = Field(examples=["invoice.paid"])
    entity: str
    table: str
    when: str = Field(description="When it fires, in a sentence.")


class EventTypeDetail(EventTypeResource):
    payload_schema: Mapping[str, Any] = Field(description="JSON Schema of its payload.")
    example: Mapping[str, Any]


class AsyncApiDocument(ResponseModel):
    asyncapi: str
    info: Mapping[str, Any]
    default_content_type: str = Field(alias="defaultContentType")
    channels: Mapping[str, Any]
    operations: Mapping[str, Any]
    components: Mapping[str, Any]


class EventTypeList(ResponseModel):
    items: list[EventTypeResource]
