"""The operations of the API, one for each method of a path; routes and the OpenAPI document are built from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel

from cdc.access.base import AccessStore
from cdc.access.model import Scope
from cdc.admin.admin import Admin
from cdc.admin.portal_links import PortalLinks
from cdc.admin.principal import Principal
from cdc.model.clock import Clock

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
