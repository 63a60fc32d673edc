"""Event types, stored events, and the live stream of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc.access.model import Scope
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import (
    SHORT_PAGES,
    EventPage,
    EventResource,
    EventsMeant,
    EventTypeDetail,
    EventTypeList,
    EventTypeResource,
    PageQuery,
    StreamQuery,
)
from cdc.api.stream import sequence_of, stream
from cdc.model.errors import NotFound
from cdc.model.log_filter import EventFilter

if TYPE_CHECKING:
    from cdc.admin.events import EventType

_TAG = "events"


class EventsQuery(EventsMeant, PageQuery):
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


def _summary(kind: EventType) -> dict[str, str]:
    return {"event": kind.name, "entity": kind.entity, "table": kind.table, "when": kind.when}


async def _list(call: OperationCall[EventsQuery, None]) -> Response:
    query = call.query
    which, after = EventFilter(**query.fields()), sequence_of(query.cursor)
    page = await call.admin.events.search(which, query.limit, after, oldest_first=True)
    return Response(EventPage(items=[EventResource.of(stored) for stored in page.found], next=page.further))


async def _show(call: OperationCall[None, None]) -> Response:
    event_id = call.path["id"]
    stored = await call.admin.events.get(event_id)
    if stored is None:
        raise NotFound(f"There is no event {event_id}.", "GET /api/v1/events lists those that are kept.")
    return Response(EventResource.of(stored))


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
        "/events/stream",
        "streamEvents",
        "Events as they are stored, from now on (server-sent events).",
        Scope.READ,
        stream,
        query=StreamQuery,
        tag=_TAG,
        stream="text/event-stream",
        description="Each message is an event as `showEvent` gives it. `Last-Event-ID` goes on behind that one.",
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
