"""Consumers: events that a program fetches, and what it made of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Self

import orjson
from pydantic import Field

from cdc.access.model import Scope
from cdc.admin.consumers import Fetched
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import Moment, RequestModel, ResponseModel
from cdc.dispatch.request import render
from cdc.model.endpoint import Endpoint
from cdc.model.errors import UsageError

#: Most events of one request.
MOST_FETCHED = 100
#: Longest wait of a request, and longest lease (seconds).
LONGEST_WAIT, LONGEST_LEASE = 30.0, 43_200
_TAG = "consumers"

Receipt = Annotated[str, Field(min_length=1, max_length=100)]


class FetchQuery(RequestModel):
    limit: Annotated[
        int, Field(ge=0, le=MOST_FETCHED, description="At most so many. 0: only wait until an event is due.")
    ] = 10
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, description="Seconds to wait where none is due.")] = 0.0
    lease: Annotated[
        int,
        Field(ge=1, le=LONGEST_LEASE, description="Seconds after which an event without an answer comes again."),
    ] = 60


class FetchedEvent(ResponseModel):
    receipt: str = Field(description="Names the delivery and this lease of it in `ackEvents`.")
    id: str = Field(description="Of the event: the same each time that it comes.", examples=["evt_0f3d"])
    event: str = Field(examples=["invoice.paid"])
    record: str
    delivery: str
    attempt: int = Field(description="From 1; a lease that ended without an answer counts.")
    lease_until: Moment
    payload: Any = Field(description="The event, as a request to an endpoint of this format has it as body.")

    @classmethod
    def from_fetched(cls, fetched: Fetched, consumer: Endpoint) -> Self:
        leased = fetched.delivery
        return cls(
            receipt=fetched.receipt,
            id=leased.event_id,
            event=leased.event_name,
            record=leased.record,
            delivery=leased.id,
            attempt=leased.attempt,
            lease_until=leased.lease_until,
            payload=orjson.loads(render(leased, consumer.format, consumer.fields).content),
        )


class FetchedEvents(ResponseModel):
    items: list[FetchedEvent]


class Failure(RequestModel):
    receipt: Receipt
    reason: Annotated[str, Field(max_length=500, description="Why, for the log.")] = ""


class Acknowledgement(RequestModel):
    """The results of fetched events, by their receipts."""

    acknowledged: Annotated[list[Receipt], Field(max_length=MOST_FETCHED, description="They are done.")] = Field(
        default_factory=list
    )
    failed: Annotated[
        list[Failure],
        Field(max_length=MOST_FETCHED, description="They come again as the consumer's retries say, then are dead."),
    ] = Field(default_factory=list)
    released: Annotated[
        list[Receipt], Field(max_length=MOST_FETCHED, description="They come again at once; no attempt is counted.")
    ] = Field(default_factory=list)


class Acknowledged(ResponseModel):
    acknowledged: int
    failed: int
    released: int
    late: list[str] = Field(
        description="Receipts without effect: the lease ended, and the event was given out again, or is finished."
    )


async def _fetch(call: OperationCall[FetchQuery, None]) -> Response:
    consumer, query, transport = await call.admin.consumers.find(call.path["name"]), call.query, call.request.transport
    fetched = await call.admin.consumers.fetch(
        consumer,
        query.limit,
        timedelta(seconds=query.lease),
        query.wait,
        lambda: transport is None or transport.is_closing(),
    )
    return Response(FetchedEvents(items=[FetchedEvent.from_fetched(each, consumer) for each in fetched]))


async def _acknowledge(call: OperationCall[None, Acknowledgement]) -> Response:
    body, consumer = call.body, await call.admin.consumers.find(call.path["name"])
    failed = {each.receipt: each.reason for each in body.failed}
    if len(failed) < len(body.failed):
        raise UsageError("A receipt is given twice.", "Acknowledge an event, report a failure, or give it back.")
    answered = await call.admin.consumers.answer(consumer, body.acknowledged, failed, body.released)
    return Response(
        Acknowledged(
            acknowledged=answered.acknowledged,
            failed=answered.failed,
            released=answered.released,
            late=list(answered.late),
        )
    )


OPERATIONS = (
    ApiOperation(
        "GET",
        "/consumers/{name}/events",
        "fetchEvents",
        "Events of a consumer, each leased for this client.",
        Scope.CONSUME,
        _fetch,
        answer=FetchedEvents,
        query=FetchQuery,
        tag=_TAG,
        waits=True,
        description="`name`: of an endpoint `pull:NAME`, or its id. While an event is leased, or waits for a retry, no "
        "later event of its record comes. A lease that ends without an answer counts as a failed attempt: when "
        "the endpoint's retries are used up, the event becomes a dead letter.",
    ),
    ApiOperation(
        "POST",
        "/consumers/{name}/ack",
        "ackEvents",
        "Acknowledge fetched events, report failures, or give events back.",
        Scope.CONSUME,
        _acknowledge,
        answer=Acknowledged,
        body=Acknowledgement,
        tag=_TAG,
        description="A receipt counts once. After its lease it still does until the event is given out again; then it "
        "has no effect, and the answer names it in `late`.",
    ),
)
