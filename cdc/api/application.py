"""The API as an aiohttp application: who asks, may they, what do they ask, once; then the operation's own handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from cdc.access.model import Scope
from cdc.admin.accounts import PortalLinks
from cdc.admin.admin import Admin
from cdc.admin.base import Service
from cdc.admin.principal import STRANGER
from cdc.api import access, consumers, deliveries, endpoints, events, sources
from cdc.api.documents import asyncapi, document, schemas, typescript
from cdc.api.operation import (
    ApiOperation,
    Caller,
    FieldProblem,
    Handler,
    OperationCall,
    Problem,
    Response,
    add_headers,
    invalid,
    problems,
    value_problems,
)
from cdc.api.token_auth import TokenAuth
from cdc.dispatch.authentication import public_jwk
from cdc.model.errors import LimitReached

if TYPE_CHECKING:
    from cdc.admin.deliveries import EventType

PREFIX = "/api/v1"
#: No request needs more (bytes).
LARGEST_BODY = 64 * 1024
#: Seconds for the body of a request to arrive, of API and page; a client that takes longer is slow on purpose, or gone.
REQUEST_SECONDS = web.AppKey("request_seconds", float)
BODY_SECONDS = 15.0


def api_application(service: Service, auth: TokenAuth) -> web.Application:
    app = web.Application(middlewares=[problems])
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/openapi.json", _openapi(service, auth))
    app.router.add_get("/endpoints/{endpoint}/jwks.json", _jwks(service, auth))
    for each in OPERATIONS:
        route = _route(each, service, auth)
        app.router.add_route(each.method, each.path, route)
        if each.method == "GET" and not each.long:
            app.router.add_route("HEAD", each.path, route)
    return app


def _openapi(service: Service, auth: TokenAuth) -> Handler:
    """Serve the description of the API to everyone; with the webhooks to callers who may read the catalogue."""

    async def described(request: web.Request) -> web.StreamResponse:
        caller = await auth.known(request)
        if caller is not None and caller.scope.allows(Scope.READ):
            principal = caller.principal
        elif service.config.web.public_catalogue:
            principal = STRANGER
        else:
            return web.Response(body=_described(), content_type="application/json")
        events = Admin(service, principal).events
        return web.Response(body=events.document(openapi), content_type="application/json")

    return described


def _jwks(service: Service, auth: TokenAuth) -> Handler:
    """Serve the public key of an endpoint's JWTs to everyone.  A set of its own for each endpoint: in one of all, the
    owner of one endpoint's private key could sign what the receivers of others accept."""

    async def keys(request: web.Request) -> web.StreamResponse:
        await auth.known(request)  # limits how often
        name = request.match_info["endpoint"]
        found = await service.store.endpoint(name) if name.isprintable() else None
        public = None if found is None else public_jwk(found)
        if public is None:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no key at this path.")
        body, headers = orjson.dumps({"keys": [public]}), {"Cache-Control": "max-age=300"}
        return web.Response(body=body, content_type="application/jwk-set+json", headers=headers)

    return keys


@cache  # takes 50 ms, and hardly any process is asked for it
def _described() -> bytes:
    return orjson.dumps(document(OPERATIONS, PREFIX), option=orjson.OPT_INDENT_2)


def openapi(types: Sequence[EventType]) -> bytes:
    return orjson.dumps(document(OPERATIONS, PREFIX, types))


def _route(operation: ApiOperation, service: Service, auth: TokenAuth) -> Handler:
    async def route(request: web.Request) -> web.StreamResponse:
        caller = await auth.caller(request)
        if not caller.scope.allows(operation.scope):
            raise Problem(HTTPStatus.FORBIDDEN, f"This needs the scope {operation.scope}, and the token has less.")
        raw = await _read(request)

        async def work() -> web.StreamResponse:
            call = _call(operation, request, raw, service=service, auth=auth, caller=caller)
            answered = await operation.handle(call)
            if not isinstance(answered, Response):
                return answered
            headers = {"Cache-Control": "no-store", **answered.headers}
            if answered.content is None:
                return web.Response(status=operation.status, headers=headers)
            body = orjson.dumps(answered.content.model_dump(mode="json", by_alias=True))
            return web.Response(
                body=body, status=operation.status, headers={"Content-Type": "application/json", **headers}
            )

        try:
            with auth.streaming(caller) if operation.long else nullcontext():
                return await (auth.once(request, caller, raw, work) if operation.once else work())
        except LimitReached as error:
            if service.process is not None:
                service.process.refused(error)
            raise

    return route


def body_seconds(request: web.Request) -> float:
    return request.config_dict.get(REQUEST_SECONDS, BODY_SECONDS)


async def _read(request: web.Request) -> bytes:
    raw = b""
    if (request.content_length or 0) <= LARGEST_BODY:
        try:
            async with asyncio.timeout(body_seconds(request)):
                raw = await request.read()
        except TimeoutError:
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.") from None
    if (request.content_length or len(raw)) > LARGEST_BODY:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {LARGEST_BODY} bytes.")
    return raw


def _call(
    operation: ApiOperation, request: web.Request, raw: bytes, *, service: Service, auth: TokenAuth, caller: Caller
) -> OperationCall[BaseModel | None, BaseModel | None]:
    path = dict(request.match_info)
    if not all(value.isprintable() for value in path.values()):
        raise Problem(HTTPStatus.NOT_FOUND, "There is nothing at this path.")
    wrong = list[FieldProblem]()
    query, body = _query(operation, request, wrong), _body(operation, request, raw, wrong)
    if wrong:
        raise invalid(wrong)
    return OperationCall(
        request=request,
        admin=Admin(service, caller.principal),
        clock=service.clock,
        caller=caller,
        path=path,
        query=query,
        body=body,
        admitted=lambda: auth.admitted(request),
        portal_links=lambda: PortalLinks(auth.store, service.clock, service.config),
        access=auth.store,
    )


def _query(operation: ApiOperation, request: web.Request, wrong: list[FieldProblem]) -> BaseModel | None:
    """Return the query; add what is wrong with it to ``wrong``."""
    if operation.query is None:
        if request.query:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "This takes no query parameters.")
        return None
    repeated = [name for name in request.query if len(request.query.getall(name)) > 1]
    if repeated:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "A query parameter is given twice.")
    if not _storable(dict(request.query)):
        raise _no_text("query")
    try:
        return operation.query.model_validate_strings(dict(request.query))
    except ValidationError as error:
        wrong += value_problems(error, "query", operation.query)
        return None


def _body(operation: ApiOperation, request: web.Request, raw: bytes, wrong: list[FieldProblem]) -> BaseModel | None:
    """Return the body; add what is wrong with its values to ``wrong``."""
    if operation.body is None:
        if raw:
            raise Problem(HTTPStatus.BAD_REQUEST, "This takes no body.")
        return None
    if not raw and operation.body_optional:
        raw = b"{}"
    elif request.content_type != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    try:
        given = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from None
    if not _storable(given):
        raise _no_text("body")
    try:
        return operation.body.model_validate_json(raw, strict=True)
    except ValidationError as error:
        wrong += value_problems(error, "body", operation.body)
        return None


def _storable(value: object) -> bool:
    """Return whether every outbox can store its texts unchanged: without NUL, and of whole characters."""
    left = [value]  # not by recursion: it may be nested deeply
    while left:
        each = left.pop()
        if isinstance(each, str) and ("\0" in each or any("\ud800" <= sign <= "\udfff" for sign in each)):
            return False
        if isinstance(each, dict):
            left += [*each, *each.values()]
        elif isinstance(each, list):
            left += each
    return True


def _no_text(kind: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"A text of the {kind} holds a NUL or half a character.")


OPERATIONS: tuple[ApiOperation, ...] = (
    *endpoints.OPERATIONS,
    *events.OPERATIONS,
    *deliveries.OPERATIONS,
    *consumers.OPERATIONS,
    *deliveries.REPLAY_OPERATIONS,
    *sources.BACKFILL_OPERATIONS,
    *sources.OPERATIONS,
    *access.OPERATIONS,
    *access.AUDIT_OPERATIONS,
)

#: Name of a file → what makes it of the types of events.
DOCUMENTS: Final[Mapping[str, Callable[[Sequence[EventType]], bytes]]] = {
    "openapi.json": openapi,
    "asyncapi.json": asyncapi,
    "schemas.json": schemas,
    "events.d.ts": typescript,
}
