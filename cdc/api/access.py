"""Links that open the page for a tenant without a user; the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from cdc.access.model import LONGEST_NAME, Allowance, AuditFilter, Role, Scope
from cdc.access.proxy import MOST_NETWORKS
from cdc.admin.accounts import LINK_MINUTES, SESSION_MINUTES, NewPortal
from cdc.admin.audit_log import entry_as_json
from cdc.api.operation import ApiOperation, OperationCall, Response
from cdc.api.resource import MOST, NEXT, Moment, RequestModel, ResponseModel, Time
from cdc.model.audit import BEFORE_ALL
from cdc.model.errors import NotFound

_TAG = "portals"
_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class NewPortalLink(RequestModel):
    """A portal of one tenant."""

    tenant: Annotated[str, Field(description="Its name on the page and in the audit log.", max_length=LONGEST_NAME)]
    sources: Annotated[
        tuple[_Name, ...],
        Field(description="Its sources; left out, those of a token of some sources.", max_length=1000),
    ] = ()
    minutes: Annotated[int, Field(ge=1, le=LINK_MINUTES, description="The link must be opened within this time.")] = 10
    session_minutes: Annotated[
        int, Field(ge=1, le=SESSION_MINUTES, description="How long the session lasts that the link opens.")
    ] = 60
    language: Annotated[str, Field(description="`en` or `es`; left out, the browser's.", max_length=10)] = ""
    return_url: Annotated[
        str,
        Field(
            description="The host's page that the portal links back to; with a token of some sources, on a site of "
            "`frame_ancestors`.",
            max_length=2000,
        ),
    ] = ""
    read_only: Annotated[bool, Field(description="The tenant changes nothing, and sees no payloads.")] = False
    allow_mail: Annotated[bool, Field(description="The tenant may add `mailto:` endpoints.")] = False
    networks: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(
            description="Link and session work from these addresses and networks only; left out, from anywhere.",
            examples=[["203.0.113.0/24", "2001:db8::/48"]],
            max_length=MOST_NETWORKS,
        ),
    ] = ()


class PortalLinkResource(ResponseModel):
    url: str = Field(description="Works once, and is shown only here.")
    tenant: str
    sources: list[str]
    read_only: bool
    expires_at: Moment


class PortalEnded(ResponseModel):
    ended: int = Field(description="Links and sessions that ended.")


async def _create(call: OperationCall[None, NewPortalLink]) -> Response:
    sent = call.body
    wanted = NewPortal(**sent.model_dump(exclude={"allow_mail"}), allowed=(Allowance.MAIL,) if sent.allow_mail else ())
    link, url = await call.portal_links().create(call.caller.principal, wanted, call.caller.scope, call.caller.id)
    return Response(
        PortalLinkResource(
            url=url,
            tenant=sent.tenant,
            sources=list(link.sources),
            read_only=link.role is Role.VIEWER,
            expires_at=link.expires_at,
        )
    )


async def _revoke(call: OperationCall[None, None]) -> Response:
    return Response(PortalEnded(ended=await call.portal_links().revoke(call.caller.principal, call.path["name"])))


OPERATIONS = (
    ApiOperation(
        "POST",
        "/portal-links",
        "createPortalLink",
        "Create a link that opens the page for one tenant, without a user.",
        Scope.READ,
        _create,
        answer=PortalLinkResource,
        body=NewPortalLink,
        status=201,
        description="The page then shows endpoints, deliveries and events of these sources, and nothing else. With a "
        "token of scope `read` the tenant only reads. Removing the token ends its links and their sessions.",
        tag=_TAG,
    ),
    ApiOperation(
        "DELETE",
        "/portal-links/{name}",
        "revokePortal",
        "End the links and sessions of a tenant.",
        Scope.MANAGE,
        _revoke,
        answer=PortalEnded,
        description="A token of some sources ends those that have no other sources.",
        tag=_TAG,
    ),
)


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


async def _list_entries(call: OperationCall[AuditQuery, None]) -> Response:
    query = call.query
    if call.caller.principal.sources:
        raise NotFound("There is nothing at this path.", "The audit log needs a token of all sources.")
    which = AuditFilter(query.actor, query.action, query.subject, query.since, query.until)
    after = BEFORE_ALL if query.cursor is None else int(query.cursor)
    found = await call.access.audit_after(which, query.limit + 1, after)
    shown = found[: query.limit]
    further = str(shown[-1].number) if len(found) > len(shown) else None
    return Response(AuditPage(items=[AuditEntryResource(**entry_as_json(each)) for each in shown], next=further))


AUDIT_OPERATIONS = (
    ApiOperation(
        "GET",
        "/audit",
        "listAuditEntries",
        "The audit log, oldest entry first.",
        Scope.MANAGE,
        _list_entries,
        answer=AuditPage,
        query=AuditQuery,
        description="With a token of all sources. To follow the log, ask again with the last `number` as `cursor`. "
        "`cdc audit export` writes files that `cdc audit verify` checks.",
        tag="audit",
    ),
)
