"""Event types, stored events, and the live stream of them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated

import orjson
from aiohttp import web
from pydantic import Field

from cdc.access.nouns import Scope
from cdc.api.desk import EventKind
from cdc.api.operation import Answer, Call, Operation
from cdc.api.problem import Problem
from cdc.api.resource import (
    EventPage,
    EventResource,
    EventTypeDetail,
    EventTypeList,
    EventTypeResource,
    PageQuery,
    Taken,
)
from cdc.errors import NotFound
from cdc.outbox.base import StoredEvent
from cdc.pattern import check_pattern

_TAG = "events"
#: How often the outbox is asked for new events while somebody listens (seconds).
_LOOK_EVERY = 0.25
#: A line goes out at least this often (seconds), so that a connection that is gone is noticed.
_SILENCE = 15.0
_STREAM_PAGE = 200


class EventsQuery(PageQuery):
    event: Annotated[str | None, Field(description="Only these (`invoice.*`).", max_length=200)] = None


class StreamQuery(Taken):
    event: Annotated[str | None, Field(description="Only these (`invoice.*`).", max_length=200)] = None


async def _types(call: Call[None, None]) -> Answer:
    return Answer(EventTypeList(items=[EventTypeResource(**_summary(kind)) for kind in call.desk.event_kinds()]))


async def _type(call: Call[None, None]) -> Answer:
    name = call.path["name"]
    kind = next((kind for kind in call.desk.event_kinds() if kind.name == name), None)
    if kind is None:
        raise NotFound(f"There is no event {name!r}.", "GET /api/v1/event-types lists all.")
    return Answer(EventTypeDetail(**_summary(kind), payload_schema=kind.schema, example=kind.example))


def _summary(kind: EventKind) -> dict[str, str]:
    return {"event": kind.name, "entity": kind.entity, "table": kind.table, "when": kind.when}


async def _list(call: Call[EventsQuery, None]) -> Answer:
    query = call.query
    pattern = None if query.event is None else check_pattern(query.event)
    found = await call.desk.store.events(query.limit + 1, pattern=pattern, after=_sequence(query.cursor))
    more = len(found) > query.limit
    shown = found[: query.limit]
    items = [EventResource.of(stored) for stored in shown]
    return Answer(EventPage(items=items, next=str(shown[-1].sequence) if more else None))


def _sequence(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > _LONGEST_CURSOR:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not one of ours.")
    return int(cursor)


_LONGEST_CURSOR = 18


async def _show(call: Call[None, None]) -> Answer:
    event_id = call.path["id"]
    stored = await call.desk.store.event(event_id)
    if stored is None:
        raise NotFound(f"There is no event {event_id}.", "GET /api/v1/events lists those that are kept.")
    return Answer(EventResource.of(stored))


async def _stream(call: Call[StreamQuery, None]) -> web.StreamResponse:
    pattern = None if call.query.event is None else check_pattern(call.query.event)
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    after = await _begin(call)
    await response.prepare(call.request)
    never, quiet = asyncio.Event(), 0.0
    while True:
        found = await call.desk.store.events(_STREAM_PAGE, after=after, pattern=pattern)
        for stored in found:
            await response.write(_message(stored))
            after, quiet = stored.sequence, 0.0
        if quiet >= _SILENCE:
            await response.write(b":\n\n")
            quiet = 0.0
        if not found:
            await call.desk.clock.wait(never, _LOOK_EVERY)
            quiet += _LOOK_EVERY


async def _begin(call: Call[StreamQuery, None]) -> int:
    """Behind the event that a client which comes back saw last, else behind the newest."""
    last = call.request.headers.get("Last-Event-ID", "")
    if last:
        return _sequence(last)
    newest = await call.desk.store.events(1)
    return newest[-1].sequence if newest else 0


def _message(stored: StoredEvent) -> bytes:
    payload = orjson.dumps(EventResource.of(stored).model_dump(mode="json"))
    return b"id: %d\nevent: event\ndata: %s\n\n" % (stored.sequence, payload)


OPERATIONS = (
    Operation(
        "GET",
        "/event-types",
        "listEventTypes",
        "Every event that there may be, and when it fires.",
        Scope.READ,
        _types,
        answer=EventTypeList,
        tag=_TAG,
    ),
    Operation(
        "GET",
        "/event-types/{name}",
        "showEventType",
        "One event: its JSON Schema and an example.",
        Scope.READ,
        _type,
        answer=EventTypeDetail,
        tag=_TAG,
    ),
    Operation(
        "GET",
        "/events",
        "listEvents",
        "Stored events in the order stored, oldest first.",
        Scope.READ,
        _list,
        answer=EventPage,
        query=EventsQuery,
        tag=_TAG,
    ),
    Operation(
        "GET",
        "/events/stream",
        "streamEvents",
        "Events as they are stored, from now on (server-sent events).",
        Scope.READ,
        _stream,
        query=StreamQuery,
        tag=_TAG,
        stream="text/event-stream",
        description="Each message is an event as `showEvent` gives it. `Last-Event-ID` goes on behind that one.",
    ),
    Operation(
        "GET",
        "/events/{id}",
        "showEvent",
        "One stored event with its payload.",
        Scope.READ,
        _show,
        answer=EventResource,
        tag=_TAG,
    ),
)
