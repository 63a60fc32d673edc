"""Sources: what each reads, and how far it is."""

from __future__ import annotations

from pydantic import Field

from cdc.access.model import Scope
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import Moment, ResponseModel


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


async def _list(call: OperationCall[None, None]) -> Response:
    names = SourceResource.model_fields
    shown = [SourceResource(**{name: getattr(each, name) for name in names}) for each in call.admin.sources.reported()]
    return Response(SourceList(items=shown))


OPERATIONS = (
    ApiOperation(
        "GET",
        "/sources",
        "listSources",
        "The sources that this process captures.",
        Scope.READ,
        _list,
        answer=SourceList,
        tag="sources",
    ),
)
