"""Deliveries: the log, one of them with its attempts and its request, sending again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from cdc.access.model import Role
from cdc.dispatch.request import build_request
from cdc.dispatch.transform import TransformFailed
from cdc.model.broker import scheme_of
from cdc.model.delivery import TEXT_EVENTS, DeliveryState, DeliveryView, LeasedDelivery
from cdc.model.endpoint import Endpoint, authentication_of
from cdc.model.errors import UsageError
from cdc.model.event import Labels
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.pages.page import Page, Route
from cdc.pages.views.log_search import FIELDS, delivery_filter, endpoint_choice, meant, names, names_of

_HIDDEN = "…"


@dataclass(frozen=True, slots=True)
class ShownRequest:
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def command(self) -> str:
        """Return the request as a shell command with curl."""
        headers = [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in self.headers.items()]
        parts = [f"curl -X POST {shlex.quote(self.url)}", *headers, f"--data-raw {shlex.quote(self.body)}"]
        return " \\\n  ".join(parts)


def request_of(
    view: DeliveryView, event: StoredEvent, endpoint: Endpoint, at: datetime, labels: Labels
) -> ShownRequest | None:
    """Return the delivery's request as it is sent ``at`` that time; None where it is no request of HTTP, or its
    transform fails."""
    if scheme_of(endpoint.url) not in ("http", "https"):
        return None
    leased = LeasedDelivery(
        id=view.id,
        endpoint_id=endpoint.id,
        event_id=event.id,
        event_name=event.name,
        record=event.record,
        attempt=view.attempts,
        lease_until=at,
        body_event=orjson.dumps(event.payload),
    )
    settings = authentication_of(endpoint.authentication)
    hidden = [*(name for name, _ in endpoint.headers), *([settings.header] if settings else [])]
    shown = replace(endpoint, headers=tuple((name, _HIDDEN) for name in hidden), authentication="")
    try:
        request = build_request(leased, shown, at, labels)
    except TransformFailed:
        return None  # the attempts say why
    return ShownRequest(endpoint.url, request.headers, request.body.decode())


_PAGE = 50
_FILTERS = (*FIELDS, "text")


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """``changed``: the column is among the previous values."""

    column: str
    before: str
    after: str
    changed: bool


async def deliveries(page: Page) -> web.StreamResponse:
    given = {name: page.query(name) for name in _FILTERS}
    choice = await endpoint_choice(page, given["endpoint"])
    given, problem = {**given, "endpoint": choice.chosen}, ""
    try:
        searched = await page.admin.deliveries.search(delivery_filter(page, given), _PAGE, page.query("before") or None)
    except UsageError as error:
        searched, problem = SearchPage([], None), page.language.error(error)
    named = [each.endpoint_id for each in searched.found]
    return page.render(
        "deliveries.html",
        deliveries=searched.found,
        names=await names_of(page, (each.event_id for each in searched.found)),
        removed=await page.admin.endpoints.removed([given["endpoint"], *named]),
        endpoints={**choice.known, **await page.admin.endpoints.of(each for each in named if each not in choice.known)},
        choice=choice,
        given=given,
        states=list(DeliveryState),
        older=page.link("deliveries", **given, before=searched.further) if searched.further else "",
        looked=await looked_back_to(page, searched),
        newest=page.link("deliveries", **given) if page.query("before") else "",
        problem=problem,
        again="" if problem else _again(page, given),
        text_events=TEXT_EVENTS,
        suggestions=[] if searched.found else await meant(page, given, choice),
    )


async def looked_back_to(page: Page, searched: SearchPage[Any]) -> datetime | None:
    """The time of the oldest event that a search looked at, when it ended there with more behind it."""
    if searched.looked is None:
        return None
    oldest = await page.site.store.events(1, after=searched.looked - 1)
    return oldest[0].time if oldest else None


def _again(page: Page, given: Mapping[str, str]) -> str:
    """Return the link to the replay of everything that fits; empty when there is none: a replay cannot search for a
    text, and unfinished deliveries are not sent again."""
    unfinished = [state for state in DeliveryState if not state.final]
    if not page.manages or given["text"] or given["state"] in unfinished or not any(given.values()):
        return ""
    return page.link("replays", "new", **given, count="1")


async def delivery(page: Page) -> web.StreamResponse:
    store, delivery_id = page.site.store, page.path("id")
    view = await page.admin.deliveries.get(delivery_id)
    event = await store.event(view.event_id)
    endpoint = await store.endpoint(view.endpoint_id)
    shown = event if page.manages else None
    now = page.site.clock.now()
    request = request_of(view, event, endpoint, now, page.admin.events.label) if shown and endpoint and event else None
    return page.render(
        "delivery.html",
        delivery=view,
        endpoint=endpoint,
        attempts=await store.attempts(delivery_id),
        event=shown,
        removed=await page.admin.endpoints.removed([view.endpoint_id]),
        names=names(page, [event] if event else []),
        payload=pretty(event.payload) if shown and event else "",
        differences=differences(event) if shown and event else [],
        request=request,
    )


async def resend(page: Page) -> web.StreamResponse:
    delivery_id = page.path("id")
    await page.admin.deliveries.retry(delivery_id)
    return page.see(page.link("deliveries", delivery_id), notice="resent")


def pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def differences(event: StoredEvent) -> list[ColumnDifference]:
    """Return each column of the record before and after; the changed ones first."""
    data: Mapping[str, Any] = event.payload.get("data") or {}
    previous: Mapping[str, Any] = event.payload.get("previous") or {}
    found = [
        ColumnDifference(name, _text(previous.get(name, value)), _text(value), name in previous)
        for name, value in data.items()
        if not isinstance(value, list)
    ]
    return sorted(found, key=lambda each: not each.changed)


def _text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


ROUTES = (
    Route("GET", "/deliveries", deliveries),
    Route("GET", "/deliveries/{id}", delivery),
    Route("POST", "/deliveries/{id}/resend", resend, Role.MANAGER),
)
