"""Endpoints: who gets what."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from cdc.access.model import Scope
from cdc.admin.endpoint_preview import ShapeWanted
from cdc.admin.endpoints import MOST_COUNTED
from cdc.api.endpoint_resource import (
    Disabling,
    EndpointList,
    EndpointPatch,
    EndpointResource,
    EndpointsQuery,
    EndpointWithSecret,
    NewEndpoint,
    Preview,
    PreviewWanted,
    Rotation,
    TestEvent,
    TestResult,
    body_of,
)
from cdc.api.events import sequence_of
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import MOST, SHORT_PAGES, AttemptResource, EventResource
from cdc.model.endpoint import Endpoint

_TAG = "endpoints"


async def _list(call: OperationCall[EndpointsQuery, None]) -> Response:
    admin, query = call.admin.endpoints, call.query
    page = await admin.search(query.filter(), query.limit or MOST, sequence_of(query.cursor))
    found = list(page.found)
    while query.limit is None and page.further is not None:
        page = await admin.search(query.filter(), MOST, int(page.further))
        found += page.found
    counts = await admin.counts(MOST_COUNTED, [each.id for each in found])
    shown = [EndpointResource.of(each, counts.get(each.id, {}), call.caller.scope) for each in found]
    return Response(EndpointList(items=shown, next=page.further))


async def _create(call: OperationCall[None, NewEndpoint]) -> Response:
    body = call.body
    secret = body.secret.get_secret_value() if body.secret else None
    signature = body.signature if "signature" in body.model_fields_set else None
    made = await call.admin.endpoints.add(call.admin.endpoints.new(body.given(), secret, signature))
    created = EndpointWithSecret.revealing(made, {})
    return Response(created, {"Location": f"{call.request.path}/{made.id}"})


async def _show(call: OperationCall[None, None]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.get(call.path["id"])))


async def _update(call: OperationCall[None, EndpointPatch]) -> Response:
    found = await call.admin.endpoints.get(call.path["id"])
    return Response(await _resource(call, await call.admin.endpoints.change(found, call.body.given())))


async def _remove(call: OperationCall[None, None]) -> Response:
    await call.admin.endpoints.remove(call.path["id"])
    return Response(None)


async def _enable(call: OperationCall[None, None]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.enable(call.path["id"])))


async def _disable(call: OperationCall[None, Disabling]) -> Response:
    return Response(await _resource(call, await call.admin.endpoints.disable(call.path["id"], call.body.reason)))


async def _rotate(call: OperationCall[None, Rotation]) -> Response:
    body, overlap = call.body, timedelta(hours=call.body.overlap_hours)
    secret = body.secret.get_secret_value() if body.secret else None
    rotated = await call.admin.endpoints.rotate_secret(call.path["id"], secret, body.signature, overlap)
    counts = await call.admin.endpoints.counts(MOST_COUNTED, [rotated.id])
    return Response(EndpointWithSecret.revealing(rotated, counts.get(rotated.id, {})))


async def _test(call: OperationCall[None, TestEvent]) -> Response:
    attempt = await call.admin.endpoints.send_test(call.path["id"], call.body.event)
    shown: dict[str, Any] = AttemptResource.of(attempt).model_dump()
    return Response(TestResult(**shown, accepted=not attempt.error))


async def _preview(call: OperationCall[None, PreviewWanted]) -> Response:
    body = call.body
    wanted = {"events": tuple(body.events), "sources": tuple(body.sources), "condition": body.filter}
    last = await call.admin.events.last(body.last)
    shape = ShapeWanted(body.transform, body.language, tuple(body.fields))
    fitting = await call.admin.endpoints.fitting(wanted, last, shape)
    return Response(
        Preview(
            looked_at=len(last),
            fitting=[EventResource.of(each.event) for each in fitting],
            bodies=[body_of(each) for each in fitting] if body.transform else [],
        )
    )


async def _resource(call: OperationCall[Any, Any], endpoint: Endpoint) -> EndpointResource:
    counts = await call.admin.endpoints.counts(MOST_COUNTED, [endpoint.id])
    return EndpointResource.of(endpoint, counts.get(endpoint.id, {}), call.caller.scope)


OPERATIONS = (
    ApiOperation(
        "GET",
        "/endpoints",
        "listEndpoints",
        "Endpoints, in the order in which they were added.",
        Scope.READ,
        _list,
        answer=EndpointList,
        query=EndpointsQuery,
        tag=_TAG,
        problems=(HTTPStatus.UNPROCESSABLE_ENTITY,),
        description=f"Without a limit all of them. {SHORT_PAGES}",
    ),
    ApiOperation(
        "POST",
        "/endpoints",
        "createEndpoint",
        "Add an endpoint. The answer holds its secret, this once.",
        Scope.MANAGE,
        _create,
        answer=EndpointWithSecret,
        body=NewEndpoint,
        status=HTTPStatus.CREATED,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoint-preview",
        "previewEndpoint",
        "Which of the last events an endpoint like this one would get, and in which shape.",
        Scope.READ,
        _preview,
        answer=Preview,
        body=PreviewWanted,
        tag=_TAG,
        asks=True,
    ),
    ApiOperation(
        "GET",
        "/endpoints/{id}",
        "showEndpoint",
        "One endpoint.",
        Scope.READ,
        _show,
        answer=EndpointResource,
        tag=_TAG,
    ),
    ApiOperation(
        "PATCH",
        "/endpoints/{id}",
        "updateEndpoint",
        "Change what is given, and leave the rest.",
        Scope.MANAGE,
        _update,
        answer=EndpointResource,
        body=EndpointPatch,
        tag=_TAG,
    ),
    ApiOperation(
        "DELETE",
        "/endpoints/{id}",
        "removeEndpoint",
        "Remove an endpoint; what has not been delivered is cancelled.",
        Scope.MANAGE,
        _remove,
        status=HTTPStatus.NO_CONTENT,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/enable",
        "enableEndpoint",
        "Send again, beginning with what has waited.",
        Scope.MANAGE,
        _enable,
        answer=EndpointResource,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/disable",
        "disableEndpoint",
        "Stop sending; events wait until it is enabled again.",
        Scope.MANAGE,
        _disable,
        answer=EndpointResource,
        body=Disabling,
        body_optional=True,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/rotate-secret",
        "rotateSecret",
        "Give it a new secret or key pair; the former one signs too until the overlap ends.",
        Scope.MANAGE,
        _rotate,
        answer=EndpointWithSecret,
        body=Rotation,
        body_optional=True,
        tag=_TAG,
    ),
    ApiOperation(
        "POST",
        "/endpoints/{id}/test",
        "testEndpoint",
        "Send one test event now; the answer says what came of it.",
        Scope.MANAGE,
        _test,
        answer=TestResult,
        body=TestEvent,
        body_optional=True,
        tag=_TAG,
    ),
)
