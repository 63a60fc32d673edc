"""Events: those that were stored, one of them with its deliveries, and the catalogue of those that there may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby

from aiohttp import web

from cdc.api.application import DOCUMENTS
from cdc.model.delivery import TEXT_EVENTS, DeliveryFilter
from cdc.model.errors import NotFound, UsageError
from cdc.outbox.base import StoredEvent
from cdc.outbox.slices import SearchPage
from cdc.pages.page import Page, Refused, Route
from cdc.pages.views.deliveries import differences, looked_back_to, pretty
from cdc.pages.views.log_search import EVENT_FIELDS, event_filter, events_meant, names

_PAGE = 50
_FILTERS = (*EVENT_FIELDS, "text")
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_DELIVERIES = 200
#: Title → document; titles are names.
_FILES = (
    ("OpenAPI", "openapi.json"),
    ("AsyncAPI", "asyncapi.json"),
    ("JSON Schema", "schemas.json"),
    ("TypeScript", "events.d.ts"),
)


async def events(page: Page) -> web.StreamResponse:
    """The newest that fit, newest first."""
    given = {name: page.query(name) for name in _FILTERS}
    before, problem = page.query("before"), ""
    try:
        searched = await _search(page, given, before)
    except UsageError as error:
        searched, problem = SearchPage([], None), page.language.error(error)
    return page.render(
        "events.html",
        events=searched.found,
        names=names(page, searched.found),
        older=page.link("events", **given, before=searched.further) if searched.further else "",
        looked=await looked_back_to(page, searched),
        newest=page.link("events", **given) if before else "",
        given=given,
        problem=problem,
        text_events=TEXT_EVENTS,
        suggestions=[] if searched.found else events_meant(page, "events", given),
    )


async def _search(page: Page, given: Mapping[str, str], before: str) -> SearchPage[StoredEvent]:
    if before and not _SEQUENCE.fullmatch(before):
        raise UsageError(page.language.text("There is no such place in the log."))
    which = event_filter(page, given)
    return await page.admin.events.search(which, _PAGE, int(before) if before else None, oldest_first=False)


async def event(page: Page) -> web.StreamResponse:
    admin, event_id = page.admin, page.path("id")
    found = await admin.events.get(event_id)
    if found is None:
        raise NotFound(page.language.text("This event does not exist (any more)."))
    shown = page.manages
    deliveries = (await admin.deliveries.search(DeliveryFilter(event_id=event_id), _DELIVERIES)).found
    return page.render(
        "event.html",
        event=found,
        removed=await admin.endpoints.removed(each.endpoint_id for each in deliveries),
        names=names(page, [found]),
        deliveries=deliveries,
        endpoints=await admin.endpoints.of(each.endpoint_id for each in deliveries),
        payload=pretty(found.payload) if shown else "",
        differences=differences(found) if shown else [],
    )


async def catalogue(page: Page) -> web.StreamResponse:
    wanted, text = page.query("q").lower(), page.language.text
    every = page.admin.events.event_types()
    kinds = [
        each for each in every if wanted in f"{each.name} {each.table} {text(each.title)} {text(each.when)}".lower()
    ]
    groups = [(entity, list(group)) for entity, group in groupby(kinds, key=lambda kind: kind.entity)]
    files = [(title, page.link("catalogue", "documents", file)) for title, file in _FILES]
    return page.render("catalogue.html", groups=groups, wanted=page.query("q"), files=files)


async def kind(page: Page) -> web.StreamResponse:
    name = page.path("name")
    found = next((each for each in page.admin.events.event_types() if each.name == name), None)
    if found is None:
        meant = [each for each in page.admin.events.meant(name) if "*" not in each]
        links = [(each, page.link("catalogue", each)) for each in meant]
        return page.missing(page.language.text("There is no such event."), links)
    return page.render("event_kind.html", kind=found, example=pretty(found.example), schema=pretty(found.schema))


async def document(page: Page) -> web.StreamResponse:
    """Show the catalogue as a file for other programs."""
    name = page.path("file")
    if name not in DOCUMENTS:
        raise Refused(HTTPStatus.NOT_FOUND, "Page not found.")
    kind = "application/json" if name.endswith(".json") else "text/plain"
    body = page.admin.events.document(DOCUMENTS[name])
    return web.Response(body=body, content_type=kind, charset="utf-8")


ROUTES = (
    Route("GET", "/events", events),
    Route("GET", "/events/{id}", event),
    Route("GET", "/catalogue", catalogue, catalogue=True),
    Route("GET", "/catalogue/{name}", kind, catalogue=True),
    Route("GET", "/catalogue/documents/{file}", document, catalogue=True),
)
