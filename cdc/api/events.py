"""Event types, stored events, and the live stream of them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
import structlog
from aiohttp import web

from cdc.access.model import Scope
from cdc.api.documents import asyncapi
from cdc.api.operation import ApiOperation, OperationCall, Problem, Response
from cdc.api.resource import (
    SHORT_PAGES,
    AsyncApiDocument,
    ColumnChange,
    DeliveryResource,
    EventPage,
    EventResource,
    EventsMeant,
    EventTypeDetail,
    EventTypeList,
    EventTypeResource,
    LabelQuery,
    PageQuery,
    RecordChangeResource,
    RecordEvent,
    RecordPage,
    StreamQuery,
)
from cdc.model.delivery import EventFilter
from cdc.model.errors import NotFound, OutboxError
from cdc.model.event import check_pattern
from cdc.outbox.base import StoredEvent

if TYPE_CHECKING:
    from cdc.admin.deliveries import EventType

#: How often the outbox is asked for new events while somebody listens (seconds).
LOOK_EVERY = 0.25
#: After so many seconds without an event a line goes out, so that a connection that is gone is noticed; and the token
#: is looked at again.
SILENCE = 15.0
#: Who takes longer to read what was sent (seconds) is cut off, and comes back with the id of the last event.
SLOW_READER = 30.0
_PAGE = 200
_LONGEST_SEQUENCE = 18

log = structlog.get_logger()


def sequence_of(text: str | None) -> int:
    """The place in the log that a cursor or a ``Last-Event-ID`` names; 0 for none.  Raises `Problem`."""
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_SEQUENCE:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not one of ours.")
    return int(text)


async def stream(call: OperationCall[StreamQuery, None]) -> web.StreamResponse:
    """Send events until the client disconnects, reads too slowly, or its token no longer works."""
    pattern = None if call.query.event is None else check_pattern(call.query.event)
    last = call.request.headers.get("Last-Event-ID", "")
    after = sequence_of(last) if last else await call.admin.events.newest()
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(call.request)
    try:
        await _follow(call, response, pattern, after)
    except (ConnectionError, TimeoutError):
        pass  # the client is gone, or does not read: it knows where to continue
    except OutboxError as error:
        log.warning("a stream ended", error=str(error))
    response.force_close()
    return response


async def _follow(
    call: OperationCall[StreamQuery, None], response: web.StreamResponse, pattern: str | None, after: int
) -> None:
    clock, never = call.clock, asyncio.Event()
    heard = looked = clock.monotonic()
    await _write(response, b":\n\n")  # the client sees at once that it is connected
    while True:
        newest = await call.admin.events.newest()
        found = await call.admin.events.after(after, _PAGE, pattern) if newest > after else []
        if found:
            await _write(response, b"".join(map(_message, found)))
            heard = clock.monotonic()
        # what does not fit is not looked at again
        after = found[-1].sequence if len(found) == _PAGE else max(newest, after, *(each.sequence for each in found))
        now = clock.monotonic()
        if now - heard >= SILENCE:
            await _write(response, b":\n\n")
            heard = now
        if now - looked >= SILENCE:
            if not await call.admitted():
                return
            looked = now
        if len(found) < _PAGE:
            await clock.wait(never, LOOK_EVERY)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SLOW_READER):
        await response.write(data)


def _message(stored: StoredEvent) -> bytes:
    payload = orjson.dumps(EventResource.from_event(stored).model_dump(mode="json"))
    return b"id: %d\nevent: event\ndata: %s\n\n" % (stored.sequence, payload)


_TAG = "events"


class EventsQuery(EventsMeant, LabelQuery, PageQuery):
    pass


async def _types(call: OperationCall[None, None]) -> Response:
    return Response(
        EventTypeList(items=[EventTypeResource(**_summary(kind)) for kind in call.admin.events.event_types()])
    )


async def _type(call: OperationCall[None, None]) -> Response:
    name = call.path["name"]
    kind = next((kind for kind in call.admin.events.event_types() if kind.name == name), None)
    if kind is None:
        raise NotFound(f"There is no event {name!r}.", "GET /api/v1/event-types lists all.")
    return Response(EventTypeDetail(**_summary(kind), payload_schema=kind.schema, example=kind.example))


async def _asyncapi(call: OperationCall[None, None]) -> web.StreamResponse:
    return web.Response(body=call.admin.events.document(asyncapi), content_type="application/json")


def _summary(kind: EventType) -> dict[str, str]:
    return {"event": kind.name, "entity": kind.entity, "table": kind.table, "when": kind.when}


async def _list(call: OperationCall[EventsQuery, None]) -> Response:
    query = call.query
    which, after = EventFilter(**query.fields(), label=query.label), sequence_of(query.cursor)
    page = await call.admin.events.search(which, query.limit, after, oldest_first=True)
    return Response(EventPage(items=[EventResource.from_event(stored) for stored in page.found], next=page.further))


async def _history(call: OperationCall[PageQuery, None]) -> Response:
    query, source, record = call.query, call.path["source"], call.path["record"]
    place = sequence_of(query.cursor) or None
    page = await call.admin.records.history(source, record, query.limit, place)
    if not page.found and page.further is None and place is None:
        raise NotFound(f"No event of the record {record} of {source!r} is stored.", "GET /api/v1/events lists them.")
    items = [
        RecordChangeResource(
            timestamp=change.events[0].time,
            columns=None
            if change.columns is None
            else [ColumnChange(column=name, before=before, after=after) for name, before, after in change.columns],
            events=[
                RecordEvent(
                    sequence=stored.sequence,
                    id=stored.id,
                    event=stored.name,
                    expunged=stored.expunged,
                    deliveries=[DeliveryResource.from_delivery(each) for each in change.deliveries.get(stored.id, ())],
                    complete=stored.id not in change.incomplete,
                )
                for stored in change.events
            ],
        )
        for change in page.found
    ]
    return Response(RecordPage(items=items, next=page.further))


async def _show(call: OperationCall[None, None]) -> Response:
    event_id = call.path["id"]
    stored = await call.admin.events.get(event_id)
    if stored is None:
        raise NotFound(f"There is no event {event_id}.", "GET /api/v1/events lists those that are kept.")
    return Response(EventResource.from_event(stored))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/event-types",
        "listEventTypes",
        "Every event that there may be, and when it fires.",
        Scope.READ,
        _types,
        answer=EventTypeList,
        tag=_TAG,
    ),
    ApiOperation(
        "GET",
        "/event-types/{name}",
        "showEventType",
        "One event: its JSON Schema and an example.",
        Scope.READ,
        _type,
        answer=EventTypeDetail,
        tag=_TAG,
    ),
    ApiOperation(
        "GET",
        "/asyncapi.json",
        "showAsyncApi",
        "All events as an AsyncAPI 3 document.",
        Scope.READ,
        _asyncapi,
        answer=AsyncApiDocument,
        tag=_TAG,
        description="With a token of this scope, `openapi.json` has them too, as `webhooks`.",
    ),
    ApiOperation(
        "GET",
        "/events",
        "listEvents",
        "Stored events in the order stored, oldest first.",
        Scope.READ,
        _list,
        answer=EventPage,
        query=EventsQuery,
        tag=_TAG,
        description=SHORT_PAGES,
    ),
    ApiOperation(
        "GET",
        "/records/{source}/{record}",
        "showRecord",
        "The changes of a record, newest first: its events, what changed, and their deliveries.",
        Scope.READ,
        _history,
        answer=RecordPage,
        query=PageQuery,
        tag=_TAG,
        description="`record` is its table and key, `facturascli:12`; `GET /events?label=FAC2026A12` finds it by its "
        "code or name. `limit` counts events. " + SHORT_PAGES,
    ),
    ApiOperation(
        "GET",
        "/events/stream",
        "streamEvents",
        "Events as they are stored, from now on (server-sent events).",
        Scope.READ,
        stream,
        query=StreamQuery,
        tag=_TAG,
        stream="text/event-stream",
        description="Each message is an event as `showEvent` gives it. `Last-Event-ID` continues after that one.",
    ),
    ApiOperation(
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
