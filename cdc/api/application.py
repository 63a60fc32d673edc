"""The API as an aiohttp application: who asks, may they, what do they ask, once; then the operation's own handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from cdc.api.desk import Desk
from cdc.api.gate import Gate
from cdc.api.openapi import document
from cdc.api.operation import Answer, Call, Operation
from cdc.api.problem import Problem, of_validation, problems

PREFIX = "/api/v1"
#: No request needs more (bytes).
LARGEST_BODY = 64 * 1024

Model = TypeVar("Model", bound=BaseModel)


def api_application(desk: Desk, gate: Gate, operations: Sequence[Operation]) -> web.Application:
    app = web.Application(middlewares=[problems])
    described = orjson.dumps(document(operations, PREFIX), option=orjson.OPT_INDENT_2)

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    app.router.add_get("/openapi.json", openapi)
    for each in operations:
        app.router.add_route(each.method, each.path, _route(each, desk, gate))
    return app


def _route(operation: Operation, desk: Desk, gate: Gate) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def route(request: web.Request) -> web.StreamResponse:
        caller = await gate.caller(request)
        if not caller.scope.allows(operation.scope):
            raise Problem(HTTPStatus.FORBIDDEN, f"This needs the scope {operation.scope}, and the token has less.")
        if (request.content_length or 0) > LARGEST_BODY or len(raw := await request.read()) > LARGEST_BODY:
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {LARGEST_BODY} bytes.")

        async def work() -> web.StreamResponse:
            call = Call(
                request=request,
                desk=desk,
                caller=caller,
                path=dict(request.match_info),
                query=_query(operation, request),
                body=_body(operation, request, raw),
            )
            answered = await operation.handle(call)
            if operation.method != "GET":
                await gate.done(caller, operation.name, "/".join(request.match_info.values()))
            return _encoded(answered, operation) if isinstance(answered, Answer) else answered

        return await (gate.once(request, caller, raw, work) if operation.method == "POST" else work())

    return route


def _query(operation: Operation, request: web.Request) -> BaseModel | None:
    if operation.query is None:
        if request.query:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "This takes no query parameters.")
        return None
    repeated = [name for name in request.query if len(request.query.getall(name)) > 1]
    if repeated:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "A query parameter is given twice.")
    try:
        return operation.query.model_validate_strings(dict(request.query))
    except ValidationError as error:
        raise of_validation(error, "query") from None


def _body(operation: Operation, request: web.Request, raw: bytes) -> BaseModel | None:
    if operation.body is None:
        if raw:
            raise Problem(HTTPStatus.BAD_REQUEST, "This takes no body.")
        return None
    if not raw and operation.body_optional:
        raw = b"{}"
    elif request.content_type != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    try:
        return operation.body.model_validate(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from None
    except ValidationError as error:
        raise of_validation(error, "body") from None


def _encoded(answer: Answer, operation: Operation) -> web.Response:
    headers = {"Cache-Control": "no-store", **answer.headers}
    status = answer.status if answer.status != HTTPStatus.OK else operation.status
    if answer.content is None:
        return web.Response(status=status, headers=headers)
    body = orjson.dumps(answer.content.model_dump(mode="json", by_alias=True))
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json", **headers})
