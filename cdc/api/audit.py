"""The audit log."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cdc.access.model import AuditFilter, Scope
from cdc.admin.audit_log import entry_as_json
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import MOST, NEXT, RequestModel, ResponseModel, Time
from cdc.model.audit import BEFORE_ALL
from cdc.model.errors import NotFound

_Word = Annotated[str | None, Field(max_length=200)]


class AuditEntryResource(ResponseModel):
    """An act of a person or program, or an attempt."""

    number: int = Field(description="Grows by one from entry to entry.")
    at: str = Field(json_schema_extra={"format": "date-time"})
    actor: str = Field(examples=["user:ann"])
    action: str = Field(examples=["endpoint.update"])
    subject: str = Field(examples=["ep_9b0dd2531f4887ce"])
    detail: dict[str, Any]
    previous: str = Field(description="The hash of the entry before; empty for the first.")
    hash: str = Field(description="Over the entry and `previous`; empty for an entry of an earlier release.")


class AuditPage(ResponseModel):
    items: list[AuditEntryResource]
    next: str | None = Field(description=NEXT)


class AuditQuery(RequestModel):
    limit: Annotated[int, Field(ge=1, le=MOST, description="At most so many.")] = 50
    cursor: Annotated[
        str | None,
        Field(description="`next` of the page before, or the last `number` that is known.", pattern="^[0-9]{1,18}$"),
    ] = None
    actor: Annotated[_Word, Field(description="Only by this actor.", examples=["user:ann"])] = None
    action: Annotated[_Word, Field(description="Only this action.", examples=["user.add"])] = None
    subject: Annotated[_Word, Field(description="Only on this subject.", examples=["token:shop"])] = None
    since: Annotated[Time | None, Field(description="Only entries of this time or later.")] = None
    until: Annotated[Time | None, Field(description="Only entries before this time.")] = None


async def _list(call: OperationCall[AuditQuery, None]) -> Response:
    query = call.query
    if call.caller.principal.sources:
        raise NotFound("There is nothing at this path.", "The audit log needs a token of all sources.")
    which = AuditFilter(query.actor, query.action, query.subject, query.since, query.until)
    after = BEFORE_ALL if query.cursor is None else int(query.cursor)
    found = await call.access.audit_after(which, query.limit + 1, after)
    shown = found[: query.limit]
    further = str(shown[-1].number) if len(found) > len(shown) else None
    return Response(AuditPage(items=[AuditEntryResource(**entry_as_json(each)) for each in shown], next=further))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/audit",
        "listAuditEntries",
        "The audit log, oldest entry first.",
        Scope.MANAGE,
        _list,
        answer=AuditPage,
        query=AuditQuery,
        description="With a token of all sources. To follow the log, ask again with the last `number` as `cursor`. "
        "`cdc audit export` writes files that `cdc audit verify` checks.",
        tag="audit",
    ),
)
