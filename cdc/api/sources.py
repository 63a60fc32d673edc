"""Sources: what each reads, and how far it is; backfills, which the process that captures from a source reads."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal, Self

from pydantic import Field

from cdc.access.model import Scope
from cdc.admin.admin import Admin
from cdc.admin.backfills import LONGEST
from cdc.api.operation import ApiOperation, OperationCall, Response, foreign_cursor, named_in_the_body
from cdc.api.resource import MOST, NEXT, Moment, PageQuery, RequestModel, ResponseModel
from cdc.model.backfill import Asked, Backfill, BackfillState, seconds_left
from cdc.model.errors import NotFound


class SourceResource(ResponseModel):
    name: str
    capture: str = Field(examples=["triggers", "binlog", "logical"])
    server: str = Field(
        description="Engine and version; empty before it was first reached.", examples=["MariaDB 11.8.3"]
    )
    state: str = Field(examples=["reading", "standby", "failed", "opening", "stalled"])
    since: Moment = Field(description="Since when it is so.")
    lag: float | None = Field(description="Seconds that the oldest change which is not stored waits; null: not known.")
    gaps: dict[str, int] = Field(description="Changes that could not be recorded, by table, as this process saw them.")
    error: str | None
    warning: str | None = Field(description="A danger that does not stop it yet, such as a changed password.")
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
    problem: str | None = Field(description="Why the rule is off although enabled.")


class DueRules(ResponseModel):
    items: list[DueRule]


class SourcesQuery(RequestModel):
    limit: Annotated[int | None, Field(ge=1, le=MOST, description="At most so many; all when it is left out.")] = None
    cursor: Annotated[str, Field(max_length=200, description="`next` of the page before.")] = ""
    search: Annotated[str, Field(max_length=200, description="Part of the name or server, in any case.")] = ""
    state: Literal["reading", "standby", "failed", "opening", "stalled"] | None = None


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


_TAG = "backfills"
_CONDITION = (
    "Only rows that meet this condition of the database's SQL: what follows WHERE. Here it compares columns of "
    "the row that are not secret; queries, and functions that look at anything but their arguments, are refused."
)


class NewBackfill(RequestModel):
    source: Annotated[str, Field(description="Whose table it is.", max_length=200)]
    table: Annotated[
        str,
        Field(description="A table, or the name that its events have.", min_length=1, max_length=200),
        Field(examples=["facturascli", "invoice"]),
    ]
    where: Annotated[str, Field(description=_CONDITION, max_length=LONGEST)] = ""
    endpoint: Annotated[
        str | None,
        Field(description="The only endpoint that receives it, with any events; null: all that name such events."),
    ] = None
    rate: Annotated[float, Field(ge=0, allow_inf_nan=False, description="Rows a second at most; 0: any.")] = 0.0


class BackfillResource(ResponseModel):
    """A backfill, and how far it is."""

    id: str = Field(examples=["bf_5f2d1c0b9a8e7f60"])
    state: BackfillState
    source: str
    table: str
    where: str
    endpoint: str | None = Field(description="The only one that gets it; null: all that name such events.")
    rate: float = Field(description="Rows a second at most; 0: any.")
    rows: int = Field(description="Rows emitted so far.")
    estimate: int | None = Field(description="How many there were, about, when it was asked for; null: not known.")
    rows_per_second: float | None = Field(description="Lately; null: this process is not at it, or has just begun.")
    seconds_left: float | None = Field(description="At that speed; null: not known.")
    requested_by: str
    created_at: Moment
    finished_at: Moment | None
    error: str | None

    @classmethod
    def from_backfill(cls, backfill: Backfill, admin: Admin) -> Self:
        speed = admin.backfills.speed(backfill)
        return cls(
            id=backfill.id,
            state=backfill.state,
            source=backfill.source,
            table=backfill.table,
            where=backfill.where,
            endpoint=backfill.endpoint or None,
            rate=backfill.rate,
            rows=backfill.rows,
            estimate=backfill.estimate,
            rows_per_second=speed,
            seconds_left=seconds_left(backfill, speed),
            requested_by=backfill.actor,
            created_at=backfill.created_at,
            finished_at=backfill.finished_at,
            error=backfill.error or None,
        )


class BackfillPage(ResponseModel):
    items: list[BackfillResource]
    next: str | None = Field(description=NEXT)


async def _begin(call: OperationCall[None, NewBackfill]) -> Response:
    body = call.body
    asked = Asked((body.table,), body.where.strip(), body.endpoint or "", body.rate)
    with named_in_the_body():
        ((begun, _),) = await call.admin.backfills.start(body.source, asked)
    headers = {"Location": f"{call.request.path}/{begun.id}"}
    return Response(BackfillResource.from_backfill(begun, call.admin), headers)


async def _list_backfills(call: OperationCall[PageQuery, None]) -> Response:
    query = call.query
    found = await call.admin.backfills.newest(query.limit + 1, query.cursor)
    shown = found[: query.limit]
    items = [BackfillResource.from_backfill(each, call.admin) for each in shown]
    return Response(BackfillPage(items=items, next=shown[-1].id if len(found) > query.limit else None))


async def _show(call: OperationCall[None, None]) -> Response:
    found = await call.admin.backfills.get(call.path["id"])
    return Response(BackfillResource.from_backfill(found, call.admin))


def _changing(name: str, summary: str) -> ApiOperation:
    """``name``: of `ACTIONS`."""

    async def change(call: OperationCall[None, None]) -> Response:
        changed = await call.admin.backfills.change(call.path["id"], name)
        return Response(BackfillResource.from_backfill(changed, call.admin))

    path, operation = f"/backfills/{{id}}/{name}", f"{name}Backfill"
    return ApiOperation("POST", path, operation, summary, Scope.MANAGE, change, answer=BackfillResource, tag=_TAG)


BACKFILL_OPERATIONS = (
    ApiOperation(
        "POST",
        "/backfills",
        "beginBackfill",
        "Send the rows of a table that were there before, as events `*.existing`.",
        Scope.MANAGE,
        _begin,
        answer=BackfillResource,
        body=NewBackfill,
        status=HTTPStatus.ACCEPTED,
        tag=_TAG,
        problems=(HTTPStatus.BAD_GATEWAY,),
        description="It continues while its source is captured; those of one source run one after the other.",
    ),
    ApiOperation(
        "GET",
        "/backfills",
        "listBackfills",
        "Backfills, newest first.",
        Scope.READ,
        _list_backfills,
        answer=BackfillPage,
        query=PageQuery,
        tag=_TAG,
    ),
    ApiOperation(
        "GET",
        "/backfills/{id}",
        "showBackfill",
        "One backfill, and how far it is.",
        Scope.READ,
        _show,
        answer=BackfillResource,
        tag=_TAG,
    ),
    _changing("pause", "Let a backfill rest; one that has ended stays as it is."),
    _changing("resume", "Let a backfill go on; one that has ended stays as it is."),
    _changing("cancel", "End a backfill for good; what was emitted by then is sent."),
)
