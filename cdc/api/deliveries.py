"""Deliveries and their attempts."""

from __future__ import annotations

from http import HTTPStatus

from cdc.access.nouns import Scope
from cdc.api.operation import Answer, Call, Operation
from cdc.api.problem import Problem
from cdc.api.resource import DeliveriesMeant, DeliveryDetail, DeliveryPage, DeliveryResource, PageQuery
from cdc.errors import NotFound
from cdc.outbox.shared import no_delivery

_TAG = "deliveries"


class DeliveriesQuery(DeliveriesMeant, PageQuery):
    pass


async def _list(call: Call[DeliveriesQuery, None]) -> Answer:
    query = call.query
    try:
        views = await call.desk.store.deliveries(query.filter(), query.limit + 1, query.cursor)
    except NotFound:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not one of ours (any more).", "Begin again without it."
        ) from None
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
        "Deliveries, those of the newest events first.",
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
        action="delivery.retry",
    ),
)
