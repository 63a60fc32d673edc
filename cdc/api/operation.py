"""The operations of the API, one for each method of a path; routes and OpenAPI document are built from them.

Errors are ``application/problem+json`` (RFC 9457).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, Generic, TypeVar, get_args
from uuid import uuid4

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.admin.accounts import PortalLinks
from cdc.admin.admin import Admin
from cdc.admin.principal import Principal
from cdc.model.clock import Clock
from cdc.model.endpoint import OPTIONS
from cdc.model.errors import CdcError, LimitReached, NotFound, OutboxError, UsageError

CONTENT_TYPE = "application/problem+json"

log = structlog.get_logger()


#: The page that explains each type of problem, at the type's name.
TYPES_PAGE: Final = "https://github.com/facturascripts-cdc/facturascripts-cdc/blob/main/docs/api.md#"
#: Type of problem → its statuses, and what it means.  A promise: programs compare the URL.
PROBLEM_TYPES: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "malformed-request": ((400,), "The body is not JSON, there is one where none belongs, or the key is not one."),
    "unauthorized": ((401,), "The request has no valid token: it is unknown, removed or expired."),
    "forbidden": ((403,), "The token's scope is too small, or it may not be used from this address."),
    "not-found": ((404,), "Nothing is at this path, or no object that the token may see has this id."),
    "method-not-allowed": ((405,), "The path does not know the method; the header `Allow` names those that it knows."),
    "body-late": ((408,), "The body of the request did not arrive in time."),
    "idempotency-conflict": (
        (409,),
        "The `Idempotency-Key` belongs to another request, or its request is still running.",
    ),
    "limit-reached": (
        (409, 429),
        "A [limit](configuration.md#limits-of-tenants) is reached: remove something, or wait `Retry-After` seconds.",
    ),
    "body-too-large": ((413,), "The body is larger than any request needs."),
    "unsupported-media-type": ((415,), "The body is not `application/json`."),
    "invalid-value": ((422,), "Values of the body or the query are wrong; `errors` names each of them."),
    "rate-limited": (
        (429,),
        "The token, or the address without one, sends too many requests; wait `Retry-After` seconds.",
    ),
    "internal-error": ((500,), "A defect: the log has the request's `X-Request-Id` and the cause."),
    "not-possible": ((502,), "The request was right, but another system or this one's state does not allow it now."),
    "outbox-unavailable": ((503,), "The outbox does not answer; wait `Retry-After` seconds."),
}
_TYPES: Final = {status: name for name in reversed(PROBLEM_TYPES) for status in PROBLEM_TYPES[name][0]}
#: Code of a wrong value → the kinds of pydantic's errors, by their beginnings.  A promise, too.
VALUE_CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "unknown_field": ("extra_forbidden",),
    "required": ("missing",),
    "out_of_range": ("greater_than", "less_than", "finite_number"),
    "wrong_length": ("string_too_", "too_"),
    "not_allowed": ("literal_error", "enum"),
    "wrong_format": ("string_pattern_mismatch", "value_error"),
    "wrong_type": ("model_", "dict_", "list_", "string_", "int_", "float_", "bool_", "datetime_", "timezone_"),
    "invalid": ("",),
}


class FieldProblem(BaseModel):
    """A problem of one value."""

    where: str = Field(examples=["body.timeout"], description="The place of the value, from its kind on.")
    what: str = Field(examples=["Input should be greater than 0"])
    pointer: str | None = Field(default=None, examples=["#/timeout"], description="In the body: a JSON Pointer.")
    parameter: str | None = Field(default=None, examples=["limit"], description="In the query: its name.")
    code: str = Field(examples=["out_of_range"], description=f"{', '.join(f'`{code}`' for code in VALUE_CODES)}.")
    detail: str = Field(examples=["timeout should be greater than 0."], description="What is wrong, in one sentence.")
    hint: str | None = Field(default=None, examples=["Did you mean retries?"], description="How to fix it.")


class ProblemDetails(BaseModel):
    """The body of every error."""

    type: str = Field(examples=[f"{TYPES_PAGE}not-found"], description="A URL of the section about this problem.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no endpoint ep_1."], description="What is wrong, in one sentence.")
    hint: str | None = Field(default=None, description="How to fix it.")
    errors: list[FieldProblem] | None = Field(default=None, description="All values that are wrong.")


class Problem(Exception):
    """``kind``: the type, of `PROBLEM_TYPES`; empty: the one of the status.  ``headers``: go with the answer."""

    def __init__(
        self,
        status: int,
        detail: str,
        hint: str = "",
        *,
        kind: str = "",
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.kind = kind or _TYPES.get(status, "malformed-request")
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def answer(self) -> web.Response:
        details = ProblemDetails(
            type=TYPES_PAGE + self.kind,
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
        status = HTTPStatus.CONFLICT if error.retry_after is None else HTTPStatus.TOO_MANY_REQUESTS
        retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return Problem(status, error.message, error.hint, kind="limit-reached", headers=retry)
    if isinstance(error, UsageError):
        errors = [_field_problem(each) for each in (error, *error.others) if each.field]
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.message, error.hint, errors=errors)
    if isinstance(error, OutboxError):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, error.message, error.hint, headers={"Retry-After": "5"})
    return Problem(HTTPStatus.BAD_GATEWAY, error.message, error.hint)


def _field_problem(error: UsageError) -> FieldProblem:
    """Return the problem of an endpoint's field, by its name in the API."""
    name = OPTIONS[error.field].name if error.field in OPTIONS else error.field
    place = {"where": f"body.{name}", "pointer": f"#/{name}"}
    return FieldProblem(**place, what=error.message, code="invalid", detail=error.message, hint=error.hint or None)


@contextmanager
def named_in_the_body() -> Iterator[None]:
    """Report an object that was not found as a problem of the body, which names it: the path is right."""
    try:
        yield
    except NotFound as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.message, error.hint) from None


def value_problems(error: ValidationError, kind: str, model: type[BaseModel]) -> list[FieldProblem]:
    """``kind``: where the values of the model are from: ``body`` or ``query``.  No value is repeated."""
    return [
        _value_problem(each, kind, model)
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _value_problem(each: ErrorDetails, kind: str, model: type[BaseModel]) -> FieldProblem:
    path = [str(part) for part in each["loc"]]
    code = next(code for code, kinds in VALUE_CODES.items() if each["type"].startswith(kinds))
    name, hint = ".".join(path) or f"The {kind}", ""
    detail = f"{name}: {each['msg'].removeprefix('Value error, ')}."
    if each["msg"].startswith("Input should "):
        detail = f"{name} {each['msg'].removeprefix('Input ')}."
    if code == "required":
        detail = f"{name} is missing."
    if code == "unknown_field":
        detail = f"There is no field {name}."
        hint = near_field(path[-1], _model_at(model, path[:-1]))
    return FieldProblem(
        where=".".join([kind, *path]),
        what=each["msg"],
        pointer="#" + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)
        if kind == "body"
        else None,
        parameter=path[0] if kind == "query" and path else None,
        code=code,
        detail=detail,
        hint=hint or None,
    )


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """Return the model of an object within the values of another one."""
    for part in path:
        found = model.model_fields.get(part)
        queue: list[Any] = [found.annotation] if found else []
        while queue:
            kind = queue.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
            queue += get_args(kind)
    return model


def near_field(name: str, model: type[BaseModel]) -> str:
    """Return a question with the field that was probably meant; empty for none that is like it."""
    known: Mapping[str, str] = {**getattr(model, "other_names", {}), **{each: each for each in model.model_fields}}
    near = get_close_matches(name.lower(), known, n=1) or [
        each for each in known if each.startswith(f"{name.lower()}_")
    ]
    return f"Did you mean {known[near[0]]}?" if near else ""


def invalid(errors: Sequence[FieldProblem]) -> Problem:
    """Return one problem for all wrong values of a request."""
    detail = f"A value is not what is expected here: {errors[0].detail}"
    if len(errors) > 1:
        detail = f"{len(errors)} values are not what is expected here: {', '.join(each.where for each in errors)}."
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, detail, (errors[0].hint or "") if len(errors) == 1 else "", errors=errors
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


#: The request that is worked on, or was last on its connection, and headers of the answer.
ANSWERED: Final[ContextVar[tuple[web.Request | None, dict[str, str]]]] = ContextVar("answered", default=(None, {}))
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a problem.  All that is logged for the request names it: as the client does
    (``X-Request-Id``) if that is short and printable, else by a new id."""
    given = request.headers.get("X-Request-Id", "")
    request_id = given if _SANE_ID.fullmatch(given) else uuid4().hex
    ANSWERED.set((request, {"X-Request-Id": request_id}))
    started = monotonic()
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        response = await _answered(request, handler)
        done = response.status < HTTPStatus.BAD_REQUEST and request.method not in ("GET", "HEAD")
        report = log.info if done else log.debug  # anybody can have requests refused
        took = round((monotonic() - started) * 1000)
        report("api request", method=request.method, path=request.path, status=response.status, ms=took)
        return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return the answer, or the problem of an exception; that of a defect says nothing but that there is one."""
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
        detail = "The request broke off; the log says why, with this X-Request-Id."
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail).answer()


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Name the request in its answer, and say how many more may follow: also where the answer is a stream."""
    answered, headers = ANSWERED.get()
    if answered is request:  # else another middleware refused it
        response.headers.update(headers)


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
