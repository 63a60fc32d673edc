"""Deliveries and their attempts."""

from __future__ import annotations

from http import HTTPStatus

from cdc.access.model import Scope
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.problem import foreign_cursor
from cdc.api.resource import (
    SHORT_PAGES,
    DeliveriesMeant,
    DeliveryDetail,
    DeliveryPage,
    DeliveryResource,
    PageQuery,
)
from cdc.model.errors import NotFound

_TAG = "deliveries"


class DeliveriesQuery(DeliveriesMeant, PageQuery):
    pass


async def _list(call: OperationCall[DeliveriesQuery, None]) -> Response:
    query = call.query
    try:
        page = await call.admin.deliveries.search(query.filter(), query.limit, query.cursor)
    except NotFound:
        raise foreign_cursor() from None
    return Response(DeliveryPage(items=[DeliveryResource.of(view) for view in page.found], next=page.further))


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
    ),
)
