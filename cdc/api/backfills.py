"""Backfills: rows that were there before, read by the process that captures from their source."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Self

from pydantic import Field

from cdc.access.model import Scope
from cdc.admin.admin import Admin
from cdc.admin.backfill_plan import LONGEST
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.problem import named_in_the_body
from cdc.api.resource import NEXT, Moment, PageQuery, RequestModel, ResponseModel
from cdc.model.backfill import Asked, Backfill, BackfillState, seconds_left

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
        Field(description="For this endpoint alone, whatever events it names; null: for all that name such events."),
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
    def of(cls, backfill: Backfill, admin: Admin) -> Self:
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
        ((begun, _),) = await call.admin.backfills.begin(body.source, asked)
    headers = {"Location": f"{call.request.path}/{begun.id}"}
    return Response(BackfillResource.of(begun, call.admin), headers)


async def _list(call: OperationCall[PageQuery, None]) -> Response:
    query = call.query
    found = await call.admin.backfills.newest(query.limit + 1, query.cursor)
    shown = found[: query.limit]
    items = [BackfillResource.of(each, call.admin) for each in shown]
    return Response(BackfillPage(items=items, next=shown[-1].id if len(found) > query.limit else None))


async def _show(call: OperationCall[None, None]) -> Response:
    found = await call.admin.backfills.get(call.path["id"])
    return Response(BackfillResource.of(found, call.admin))


def _changing(name: str, summary: str) -> ApiOperation:
    """``name``: of `ACTIONS`."""

    async def change(call: OperationCall[None, None]) -> Response:
        changed = await call.admin.backfills.change(call.path["id"], name)
        return Response(BackfillResource.of(changed, call.admin))

    path, operation = f"/backfills/{{id}}/{name}", f"{name}Backfill"
    return ApiOperation("POST", path, operation, summary, Scope.MANAGE, change, answer=BackfillResource, tag=_TAG)


OPERATIONS = (
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
        _list,
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
