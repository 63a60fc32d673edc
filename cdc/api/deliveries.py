"""Deliveries and their attempts; replays, which the serving process sends."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self

from pydantic import Field

from cdc.access.model import Scope
from cdc.admin.explain import Question
from cdc.api.operation import ApiOperation, OperationCall, Response, foreign_cursor, named_in_the_body
from cdc.api.resource import (
    NEXT,
    SHORT_PAGES,
    DeliveriesMeant,
    DeliveryDetail,
    DeliveryPage,
    DeliveryResource,
    ExplanationResource,
    LabelQuery,
    Moment,
    PageQuery,
    RequestModel,
    ResponseModel,
    Time,
)
from cdc.dispatch.replay import MOST_RATE, RATE, meant
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replay, ReplayState
from cdc.model.endpoint import SLOWEST_RATE
from cdc.model.errors import NotFound

_DELIVERIES = "deliveries"


class ExplainQuery(RequestModel):
    record: Annotated[
        str,
        Field(max_length=1000, description="`facturascli:12`, `invoice:12`, a code, or the beginning of a name."),
    ] = ""
    event: Annotated[str, Field(max_length=200, description="A name, a pattern, or an event's id.")] = ""
    endpoint: Annotated[str, Field(max_length=200, description="An endpoint's id, or part of its name.")] = ""
    at: Annotated[Time | None, Field(description="About when the change was made: an hour before and after.")] = None
    source: Annotated[str, Field(max_length=200, description="Where several sources may have the record.")] = ""
    inspect: Annotated[bool, Field(description="Ask the source's database too, for less than a second.")] = False


async def _explain(call: OperationCall[ExplainQuery, None]) -> Response:
    query = call.query
    question = Question(query.record, query.event, query.endpoint, query.at, query.source)
    found = await call.admin.explanations.explain(question, inspect=query.inspect)
    return Response(ExplanationResource.from_explanation(found))


class DeliveriesQuery(DeliveriesMeant, LabelQuery, PageQuery):
    pass


async def _list(call: OperationCall[DeliveriesQuery, None]) -> Response:
    query = call.query
    try:
        which = replace(query.filter(), label=query.label)
        page = await call.admin.deliveries.search(which, query.limit, query.cursor)
    except NotFound:
        raise foreign_cursor() from None
    return Response(
        DeliveryPage(items=[DeliveryResource.from_delivery(view) for view in page.found], next=page.further)
    )


async def _show(call: OperationCall[None, None]) -> Response:
    return Response(await _detail(call))


async def _retry(call: OperationCall[None, None]) -> Response:
    await call.admin.deliveries.retry(call.path["id"])
    return Response(await _detail(call))


async def _detail(call: OperationCall[None, None]) -> DeliveryDetail:
    view = await call.admin.deliveries.get(call.path["id"])
    return DeliveryDetail.with_log(view, await call.admin.deliveries.attempts(view))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/explain",
        "explain",
        "Why an event did not reach an endpoint, or when it did.",
        Scope.READ,
        _explain,
        answer=ExplanationResource,
        query=ExplainQuery,
        tag=_DELIVERIES,
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    ApiOperation(
        "GET",
        "/deliveries",
        "listDeliveries",
        "Deliveries, those of the newest events first.",
        Scope.READ,
        _list,
        answer=DeliveryPage,
        query=DeliveriesQuery,
        tag=_DELIVERIES,
        description=SHORT_PAGES,
    ),
    ApiOperation(
        "GET",
        "/deliveries/{id}",
        "showDelivery",
        "One delivery and its attempts.",
        Scope.READ,
        _show,
        answer=DeliveryDetail,
        tag=_DELIVERIES,
    ),
    ApiOperation(
        "POST",
        "/deliveries/{id}/retry",
        "retryDelivery",
        "Retry a finished delivery with the same webhook-id and a new attempt count, or send a waiting one now.",
        Scope.MANAGE,
        _retry,
        answer=DeliveryDetail,
        tag=_DELIVERIES,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
)


_REPLAYS = "replays"


class ReplayWanted(DeliveriesMeant):
    """The finished deliveries to send again, by at least one of these fields; `{"event": "*"}` is all."""

    def meant(self, now: datetime) -> DeliveryFilter:
        """Return the filter of the deliveries to replay; later ones are not part of it.  Raises `UsageError`."""
        return meant(self.filter(), now, 'Name an endpoint, a record, a time …; "*" is all.')


class NewReplay(ReplayWanted):
    rate: Annotated[float, Field(ge=SLOWEST_RATE, le=MOST_RATE, description="Deliveries made due a second.")] = RATE


class ReplayCount(ResponseModel):
    deliveries: int = Field(description="How many would be sent again.")
    expunged: int = Field(description="How many would be passed over: there is nothing to send any more.")
    complete: bool = Field(description="False: there are more, too many to be counted at once.")


class ReplaySelection(ResponseModel):
    """The deliveries that are sent again; a field that is null excludes none."""

    event: str | None
    record: str | None
    source: str | None
    since: Moment | None
    until: Moment | None
    endpoint: str | None
    state: DeliveryState | None

    @classmethod
    def from_filter(cls, which: DeliveryFilter) -> Self:
        return cls(
            event=which.event_id or which.event_pattern,
            record=which.record,
            source=which.source,
            since=which.since,
            until=which.until,
            endpoint=which.endpoint_id,
            state=which.state,
        )


class ReplayResource(ResponseModel):
    """A replay, and how far it is."""

    id: str = Field(examples=["rpl_5f2d1c0b9a8e7f60"])
    state: ReplayState
    waiting: bool = Field(description="It runs, and no process works on it: one that serves the API continues it soon.")
    selection: ReplaySelection
    rate: float
    total: int | None = Field(description="How many there were when it was asked for; null: too many to be counted.")
    deliveries: int = Field(description="Queued so far.")
    expunged: int = Field(description="Skipped so far.")
    requested_by: str
    created_at: Moment
    finished_at: Moment | None
    error: str | None

    @classmethod
    def from_replay(cls, replay: Replay, now: datetime) -> Self:
        return cls(
            id=replay.id,
            state=replay.state,
            waiting=replay.waiting(now),
            selection=ReplaySelection.from_filter(replay.which),
            rate=replay.rate,
            total=replay.total,
            deliveries=replay.deliveries,
            expunged=replay.expunged,
            requested_by=replay.actor,
            created_at=replay.created_at,
            finished_at=replay.finished_at,
            error=replay.error or None,
        )


class ReplayPage(ResponseModel):
    items: list[ReplayResource]
    next: str | None = Field(description=NEXT)


async def _count_replay(call: OperationCall[None, ReplayWanted]) -> Response:
    which = call.body.meant(call.clock.now())
    with named_in_the_body():
        found = await call.admin.deliveries.count_replay(which)
    return Response(ReplayCount(deliveries=found.deliveries, expunged=found.expunged, complete=found.after is None))


async def _begin_replay(call: OperationCall[None, NewReplay]) -> Response:
    which = call.body.meant(call.clock.now())
    with named_in_the_body():
        begun = await call.admin.deliveries.start_replay(which, call.body.rate)
    headers = {"Location": f"{call.request.path}/{begun.id}"}
    return Response(ReplayResource.from_replay(begun, call.clock.now()), headers)


async def _list_replays(call: OperationCall[PageQuery, None]) -> Response:
    query, now = call.query, call.clock.now()
    found = await call.admin.deliveries.replays(query.limit + 1, query.cursor)
    shown = found[: query.limit]
    items = [ReplayResource.from_replay(each, now) for each in shown]
    return Response(ReplayPage(items=items, next=shown[-1].id if len(found) > query.limit else None))


async def _show_replay(call: OperationCall[None, None]) -> Response:
    found = await call.admin.deliveries.replay(call.path["id"])
    return Response(ReplayResource.from_replay(found, call.clock.now()))


async def _cancel_replay(call: OperationCall[None, None]) -> Response:
    ended = await call.admin.deliveries.cancel_replay(call.path["id"])
    return Response(ReplayResource.from_replay(ended, call.clock.now()))


REPLAY_OPERATIONS = (
    ApiOperation(
        "POST",
        "/replay-count",
        "countReplay",
        "How many deliveries a replay would send again.",
        Scope.READ,
        _count_replay,
        answer=ReplayCount,
        body=ReplayWanted,
        tag=_REPLAYS,
        asks=True,
    ),
    ApiOperation(
        "POST",
        "/replays",
        "beginReplay",
        "Send finished deliveries again, with the same ids, in the order of their events.",
        Scope.MANAGE,
        _begin_replay,
        answer=ReplayResource,
        body=NewReplay,
        status=HTTPStatus.ACCEPTED,
        tag=_REPLAYS,
        description="With an endpoint, and no state, events that it wants and never got are sent as well.",
    ),
    ApiOperation(
        "GET",
        "/replays",
        "listReplays",
        "Replays, newest first.",
        Scope.READ,
        _list_replays,
        answer=ReplayPage,
        query=PageQuery,
        tag=_REPLAYS,
    ),
    ApiOperation(
        "GET",
        "/replays/{id}",
        "showReplay",
        "One replay, and how far it is.",
        Scope.READ,
        _show_replay,
        answer=ReplayResource,
        tag=_REPLAYS,
    ),
    ApiOperation(
        "POST",
        "/replays/{id}/cancel",
        "cancelReplay",
        "End a replay; what it made due by then is sent.",
        Scope.MANAGE,
        _cancel_replay,
        answer=ReplayResource,
        tag=_REPLAYS,
    ),
)
