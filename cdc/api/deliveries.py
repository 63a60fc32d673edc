"""Deliveries and their attempts."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from pydantic import Field

from cdc.access.nouns import Scope
from cdc.api.operation import Answer, Call, Operation
from cdc.api.resource import DeliveryDetail, DeliveryPage, DeliveryResource, PageQuery
from cdc.delivery import DeliveryState
from cdc.outbox.base import DeliveryFilter
from cdc.outbox.shared import no_delivery
from cdc.pattern import check_pattern

_TAG = "deliveries"
_EVENT_ID = "evt_"


class DeliveriesQuery(PageQuery):
    endpoint: Annotated[str | None, Field(description="Only to this endpoint.")] = None
    event: Annotated[
        str | None, Field(description="Only of these events (`invoice.*`), or of one (`evt_…`).", max_length=200)
    ] = None
    record: Annotated[str | None, Field(description="Only of this record (`facturascli:12`).")] = None
    source: Annotated[str | None, Field(description="Only of this source.")] = None
    state: Annotated[DeliveryState | None, Field(description="Only in this state.")] = None
    since: Annotated[datetime | None, Field(description="Only made at this time or later.")] = None
    until: Annotated[datetime | None, Field(description="Only made before this time.")] = None


async def _list(call: Call[DeliveriesQuery, None]) -> Answer:
    query = call.query
    is_id = query.event is not None and query.event.startswith(_EVENT_ID)
    which = DeliveryFilter(
        endpoint_id=query.endpoint,
        event_id=query.event if is_id else None,
        event_pattern=None if query.event is None or is_id else check_pattern(query.event),
        record=query.record,
        state=query.state,
    )
    views = await call.desk.store.deliveries(which, query.limit + 1, query.cursor)
    more = len(views) > query.limit
    shown = views[: query.limit]
    items = [DeliveryResource.of(view) for view in shown]
    return Answer(DeliveryPage(items=items, next=shown[-1].id if more else None))


async def _show(call: Call[None, None]) -> Answer:
    return Answer(await _detail(call))


async def _retry(call: Call[None, None]) -> Answer:
    await call.desk.store.retry(call.path["id"], call.desk.clock.now())
    return Answer(await _detail(call))


async def _detail(call: Call[None, None]) -> DeliveryDetail:
    store, delivery_id = call.desk.store, call.path["id"]
    view = await store.delivery(delivery_id)
    if view is None:
        raise no_delivery(delivery_id)
    return DeliveryDetail.with_log(view, await store.attempts(delivery_id))


OPERATIONS = (
    Operation(
        "GET",
        "/deliveries",
        "listDeliveries",
        "Deliveries, newest first.",
        Scope.READ,
        _list,
        answer=DeliveryPage,
        query=DeliveriesQuery,
        tag=_TAG,
    ),
    Operation(
        "GET",
        "/deliveries/{id}",
        "showDelivery",
        "One delivery and its attempts.",
        Scope.READ,
        _show,
        answer=DeliveryDetail,
        tag=_TAG,
    ),
    Operation(
        "POST",
        "/deliveries/{id}/retry",
        "retryDelivery",
        "Send a finished delivery again, with the same webhook-id; its attempts count anew.",
        Scope.MANAGE,
        _retry,
        answer=DeliveryDetail,
        tag=_TAG,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
)
