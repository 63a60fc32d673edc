"""Deliveries and their attempts."""

from __future__ import annotations

from http import HTTPStatus

from cdc.access.model import Scope
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.problem import Problem
from cdc.api.resource import (
    SHORT_PAGES,
    DeliveriesMeant,
    DeliveryDetail,
    DeliveryPage,
    DeliveryResource,
    PageQuery,
)
from cdc.model.errors import NotFound
from cdc.outbox.shared import no_delivery
from cdc.outbox.slices import TimeBudget

_TAG = "deliveries"


class DeliveriesQuery(DeliveriesMeant, PageQuery):
    pass


async def _list(call: OperationCall[DeliveriesQuery, None]) -> Response:
    query, patience = call.query, TimeBudget(call.desk.clock.monotonic)
    try:
        page = await call.desk.store.search_deliveries(query.filter(), query.limit, patience, query.cursor)
    except NotFound:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not one of ours (any more).", "Begin again without it."
        ) from None
    return Response(DeliveryPage(items=[DeliveryResource.of(view) for view in page.found], next=page.further))


async def _show(call: OperationCall[None, None]) -> Response:
    return Response(await _detail(call))


async def _retry(call: OperationCall[None, None]) -> Response:
    await call.desk.store.retry(call.path["id"], call.desk.clock.now(), call.note())
    return Response(await _detail(call))


async def _detail(call: OperationCall[None, None]) -> DeliveryDetail:
    store, delivery_id = call.desk.store, call.path["id"]
    view = await store.delivery(delivery_id)
    if view is None:
        raise no_delivery(delivery_id)
    return DeliveryDetail.with_log(view, await store.attempts(delivery_id))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/deliveries",
        "listDeliveries",
        "Deliveries, those of the newest events first.",
        Scope.READ,
        _list,
        answer=DeliveryPage,
        query=DeliveriesQuery,
        tag=_TAG,
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
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/deliveries/{id}/retry",
        "retryDelivery",
        "Retry a finished delivery with the same webhook-id and a new attempt count, or send a waiting one now.",
        Scope.MANAGE,
        _retry,
        answer=DeliveryDetail,
        tag=_TAG,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
        action="delivery.retry",
    ),
)
