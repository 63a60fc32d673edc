"""Endpoints: who gets what."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from cdc.access.model import Scope
from cdc.api.endpoint_resource import (
    Disabling,
    EndpointList,
    EndpointPatch,
    EndpointResource,
    EndpointWithSecret,
    NewEndpoint,
    Preview,
    PreviewWanted,
    Rotation,
    TestEvent,
    TestResult,
)
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import AttemptResource, EventResource
from cdc.model.endpoint import Endpoint, EndpointChange
from cdc.outbox.shared import no_endpoint

_TAG = "endpoints"


async def _list(call: OperationCall[None, None]) -> Response:
    endpoints, counts = await call.desk.store.endpoints(), await call.desk.store.counts()
    return Response(
        EndpointList(
            items=[EndpointResource.of(each, counts.get(each.id, {}), call.caller.scope) for each in endpoints]
        )
    )


async def _create(call: OperationCall[None, NewEndpoint]) -> Response:
    body = call.body
    secret = body.secret.get_secret_value() if body.secret else None
    made = call.desk.made(body.given(), secret, body.signature if "signature" in body.model_fields_set else None)
    await call.desk.store.add_endpoint(made, call.note(made.id))
    created = EndpointWithSecret.revealing(made, {})
    return Response(created, {"Location": f"{call.request.path}/{made.id}"})


async def _show(call: OperationCall[None, None]) -> Response:
    return Response(await _resource(call, await _found(call)))


async def _update(call: OperationCall[None, EndpointPatch]) -> Response:
    found = await _found(call)
    fields = call.desk.checked(call.body.given(), found)
    return Response(await _resource(call, await _changed(call, EndpointChange(**fields))))


async def _remove(call: OperationCall[None, None]) -> Response:
    await call.desk.store.remove_endpoint(call.path["id"], call.desk.clock.now(), call.note())
    return Response(None)


async def _enable(call: OperationCall[None, None]) -> Response:
    wanted = EndpointChange(enabled=True, disabled_reason="")
    return Response(await _resource(call, await _changed(call, wanted)))


async def _disable(call: OperationCall[None, Disabling]) -> Response:
    wanted = EndpointChange(enabled=False, disabled_reason=call.body.reason)
    return Response(await _resource(call, await _changed(call, wanted)))


async def _rotate(call: OperationCall[None, Rotation]) -> Response:
    body, found = call.body, await _found(call)
    secret = call.desk.secret(body.secret.get_secret_value() if body.secret else None, body.signature, found)
    until = call.desk.clock.now() + timedelta(hours=body.overlap_hours)
    rotated = await _changed(call, EndpointChange(secret=secret, former_secret_until=until))
    counts = await call.desk.store.counts()
    return Response(EndpointWithSecret.revealing(rotated, counts.get(rotated.id, {})))


async def _test(call: OperationCall[None, TestEvent]) -> Response:
    attempt = await call.desk.send_test(call.path["id"], call.body.event, call.note())
    shown: dict[str, Any] = AttemptResource.of(attempt).model_dump()
    return Response(TestResult(**shown, accepted=not attempt.error))


async def _preview(call: OperationCall[None, PreviewWanted]) -> Response:
    body = call.body
    wanted = {"events": tuple(body.events), "sources": tuple(body.sources), "condition": body.filter}
    last = await call.desk.store.events(body.last)
    fitting = await call.desk.fitting(wanted, last)
    return Response(Preview(looked_at=len(last), fitting=[EventResource.of(stored) for stored in fitting]))


async def _found(call: OperationCall[Any, Any]) -> Endpoint:
    endpoint_id = call.path["id"]
    found = await call.desk.store.endpoint(endpoint_id)
    if found is None:
        raise no_endpoint(endpoint_id)
    return found


async def _changed(call: OperationCall[Any, Any], change: EndpointChange) -> Endpoint:
    return await call.desk.store.change_endpoint(call.path["id"], change, call.note())


async def _resource(call: OperationCall[Any, Any], endpoint: Endpoint) -> EndpointResource:
    counts = await call.desk.store.counts()
    return EndpointResource.of(endpoint, counts.get(endpoint.id, {}), call.caller.scope)


OPERATIONS = (
    ApiOperation(
        "GET", "/endpoints", "listEndpoints", "All endpoints.", Scope.READ, _list, answer=EndpointList, tag=_TAG
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
        action="endpoint.add",
    ),
    ApiOperation(
        "POST",
        "/endpoint-preview",
        "previewEndpoint",
        "Which of the last events an endpoint like this one would get.",
        Scope.READ,
        _preview,
        answer=Preview,
        body=PreviewWanted,
        tag=_TAG,
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
        action="endpoint.update",
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
        action="endpoint.remove",
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
        action="endpoint.enable",
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
        action="endpoint.disable",
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
        action="endpoint.rotate-secret",
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
        action="endpoint.test",
    ),
)
