"""Sources: what each reads, and how far it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cdc.access.model import Scope
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.problem import foreign_cursor
from cdc.api.resource import MOST, NEXT, Moment, RequestModel, ResponseModel
from cdc.model.errors import NotFound


class SourceResource(ResponseModel):
    name: str
    capture: str = Field(examples=["triggers", "binlog", "logical"])
    server: str = Field(
        description="Engine and version; empty before it was first reached.", examples=["MariaDB 11.8.3"]
    )
    state: str = Field(examples=["reading", "standby", "failed", "opening"])
    since: Moment = Field(description="Since when it is so.")
    lag: float | None = Field(description="Seconds that the oldest change which is not stored waits; null: not known.")
    gaps: dict[str, int] = Field(description="Changes that could not be recorded, by table, as this process saw them.")
    error: str | None
    position: str | None = Field(description="The last stored position, in the source's own format.")


class SourceList(ResponseModel):
    items: list[SourceResource]
    next: str | None = Field(description=NEXT)


class DueRule(ResponseModel):
    """A rule by time."""

    event: str = Field(examples=["receipt.due"])
    column: str = Field(description="Table and column of the date.", examples=["recibospagoscli.vencimiento"])
    days: list[int] = Field(description="Days since the date that make events; negative: before it.")
    complete: str | None = Field(description="The last day that was worked through.", examples=["2026-11-24"])
    next: Moment = Field(description="When the next day begins.")
    problem: str | None = Field(description="Why the rule is off all the same.")


class DueRules(ResponseModel):
    items: list[DueRule]


class SourcesQuery(RequestModel):
    limit: Annotated[int | None, Field(ge=1, le=MOST, description="At most so many; all when it is left out.")] = None
    cursor: Annotated[str, Field(max_length=200, description="`next` of the page before.")] = ""
    search: Annotated[str, Field(max_length=200, description="Part of the name or server, in any case.")] = ""
    state: Literal["reading", "standby", "failed", "opening"] | None = None


async def _list(call: OperationCall[SourcesQuery, None]) -> Response:
    query, names = call.query, SourceResource.model_fields
    try:
        page = call.admin.sources.search(query.search, query.state or "", query.limit, query.cursor)
    except NotFound:
        raise foreign_cursor() from None
    shown = [SourceResource(**{name: getattr(each, name) for name in names}) for each in page.found]
    return Response(SourceList(items=shown, next=page.further))


async def _due(call: OperationCall[None, None]) -> Response:
    found = await call.admin.sources.due(call.path["name"])
    shown = [
        DueRule(
            event=each.event,
            column=each.column,
            days=list(each.days),
            complete=each.complete or None,
            next=each.next,
            problem=each.problem or None,
        )
        for each in found
    ]
    return Response(DueRules(items=shown))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/sources",
        "listSources",
        "The sources that this process captures.",
        Scope.READ,
        _list,
        answer=SourceList,
        query=SourcesQuery,
        tag="sources",
    ),
    ApiOperation(
        "GET",
        "/sources/{name}/due",
        "listDueRules",
        "The rules by time of a source, and how far each is.",
        Scope.READ,
        _due,
        answer=DueRules,
        tag="sources",
    ),
)
