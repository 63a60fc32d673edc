"""The operations of the API, one for each method of a path; routes and OpenAPI document are built from them.

Errors are ``application/problem+json`` (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.admin.accounts import PortalLinks
from cdc.admin.admin import Admin
from cdc.admin.principal import Principal
from cdc.model.clock import Clock
from cdc.model.errors import CdcError, LimitReached, NotFound, OutboxError, UsageError

CONTENT_TYPE = "application/problem+json"

log = structlog.get_logger()


class FieldProblem(BaseModel):
    """A problem of one value."""

    where: str = Field(examples=["body.timeout"], description="The place of the value, from its kind on.")
    what: str = Field(examples=["Input should be greater than 0"])


class ProblemDetails(BaseModel):
    """The body of every error."""

    type: str = Field(default="about:blank")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no endpoint ep_1."], description="What is wrong, in one sentence.")
    hint: str | None = Field(default=None, description="How to fix it.")
    errors: list[FieldProblem] | None = Field(default=None, description="Values that are wrong, where they are known.")


class Problem(Exception):
    """``headers``: go with the answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        hint: str = "",
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def answer(self) -> web.Response:
        details = ProblemDetails(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            hint=self.hint or None,
            errors=self.errors or None,
        )
        body = orjson.dumps(details.model_dump(exclude_none=True))
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", **self.headers}
        return web.Response(body=body, status=self.status, headers=headers)


def foreign_cursor() -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "The cursor is not one of ours (any more).", "Begin again without it."
    )


def of_error(error: CdcError) -> Problem:
    """Return the problem for an error raised on purpose: its sentence holds no secret."""
    if isinstance(error, NotFound):
        return Problem(HTTPStatus.NOT_FOUND, error.message, error.hint)
    if isinstance(error, LimitReached):
        if error.retry_after is None:
            return Problem(HTTPStatus.CONFLICT, error.message, error.hint)
        retry = {"Retry-After": str(error.retry_after)}
        return Problem(HTTPStatus.TOO_MANY_REQUESTS, error.message, error.hint, headers=retry)
    if isinstance(error, UsageError):
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.message, error.hint)
    if isinstance(error, OutboxError):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, error.hint, headers={"Retry-After": "5"})
    return Problem(HTTPStatus.BAD_GATEWAY, error.message, error.hint)


@contextmanager
def named_in_the_body() -> Iterator[None]:
    """Report an object that was not found as a problem of the body, which names it: the path is right."""
    try:
        yield
    except NotFound as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.message, error.hint) from None


def of_validation(error: ValidationError, kind: str) -> Problem:
    """``kind``: where the values are from: ``body`` or ``query``.  No value is repeated."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    errors = [FieldProblem(where=".".join([kind, *map(str, each["loc"])]), what=each["msg"]) for each in found]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "A value is not what is expected here.", errors=errors)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem; that of a defect says nothing but that there is one."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.answer()
    except CdcError as error:
        return of_error(error).answer()
    except web.HTTPException as error:
        # aiohttp's own refusals: no such path, no such method, too large a body.
        headers = {name: value for name, value in error.headers.items() if name == "Allow"}
        return Problem(error.status, _SENTENCES.get(error.status, f"{error.reason}."), headers=headers).answer()
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        log.exception("a request broke off", method=request.method, path=request.path)
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The request broke off; see the log.").answer()


_SENTENCES: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this path.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This path does not know that method.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
}


def description(status: int) -> dict[str, Any]:
    """An answer with a problem, for the OpenAPI document."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": HTTPStatus(status).phrase, "content": {CONTENT_TYPE: {"schema": schema}}}


Query_co = TypeVar("Query_co", bound=BaseModel | None, covariant=True)
Body_co = TypeVar("Body_co", bound=BaseModel | None, covariant=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """``id``: of the token."""

    id: str
    scope: Scope
    principal: Principal


@dataclass(frozen=True, slots=True)
class OperationCall(Generic[Query_co, Body_co]):
    """One request, checked: values of the path by name, query and body as the operation declares them.  ``admitted``:
    whether the caller's token still works, for what takes long."""

    request: web.Request
    admin: Admin
    clock: Clock
    caller: Caller
    path: Mapping[str, str]
    query: Query_co
    body: Body_co
    admitted: Callable[[], Awaitable[bool]]
    portal_links: Callable[[], PortalLinks]
    access: AccessStore


@dataclass(frozen=True, slots=True)
class Response:
    """``content``: None for an answer without a body."""

    content: BaseModel | None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """``path``: with ``{name}`` for values.  ``name``: of the operation, unique.  ``problems``: statuses besides those
    that every operation may answer.  ``stream``: it writes its answer itself, of this content type.  ``waits``: its
    answer may take as long.  ``asks``: a POST that changes nothing."""

    method: str
    path: str
    name: str
    summary: str
    scope: Scope
    handle: Callable[[OperationCall[Any, Any]], Awaitable[Response | web.StreamResponse]]
    answer: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_optional: bool = False
    status: int = 200
    description: str = ""
    tag: str = ""
    problems: tuple[int, ...] = ()
    stream: str = ""
    waits: bool = False
    asks: bool = False

    @property
    def once(self) -> bool:
        """Return whether the same request with the same idempotency key is made once."""
        return self.method == "POST" and not self.asks

    @property
    def long(self) -> bool:
        """Return whether it counts as an open stream, and is not for HEAD requests."""
        return bool(self.stream) or self.waits
