"""Events: those that were stored, one of them with its deliveries, and the catalogue of those that there may be."""

from __future__ import annotations

from itertools import groupby

from aiohttp import web

from cdc.errors import NotFound, UsageError
from cdc.log_filter import DeliveryFilter
from cdc.pages.page import Page, Route
from cdc.pages.views.deliveries import differences, pretty
from cdc.pattern import check_pattern

_NEWEST = 50
_DELIVERIES = 200


async def events(page: Page) -> web.StreamResponse:
    """The newest that fit, newest first."""
    given, problem = page.query("event"), ""
    try:
        pattern = check_pattern(given) if given else None
        found = await page.site.desk.store.events(_NEWEST, pattern=pattern)
    except UsageError as error:
        found, problem = [], str(error)
    return page.render("events.html", events=found[::-1], given=given, problem=problem)


async def event(page: Page) -> web.StreamResponse:
    store, event_id = page.site.desk.store, page.path("id")
    found = await store.event(event_id)
    if found is None:
        raise NotFound(page.language.text("There is no such event (any more)."))
    endpoints = {endpoint.id: endpoint for endpoint in await store.endpoints()}
    shown = page.manages
    return page.render(
        "event.html",
        event=found,
        deliveries=await store.deliveries(DeliveryFilter(event_id=event_id), _DELIVERIES),
        endpoints=endpoints,
        payload=pretty(found.payload) if shown else "",
        differences=differences(found) if shown else [],
    )


async def catalogue(page: Page) -> web.StreamResponse:
    wanted, text = page.query("q").lower(), page.language.text
    kinds = [
        kind for kind in page.site.desk.event_kinds() if wanted in f"{kind.name} {kind.table} {text(kind.when)}".lower()
    ]
    groups = [(entity, list(group)) for entity, group in groupby(kinds, key=lambda kind: kind.entity)]
    return page.render("catalogue.html", groups=groups, wanted=page.query("q"))


async def kind(page: Page) -> web.StreamResponse:
    name = page.path("name")
    found = next((each for each in page.site.desk.event_kinds() if each.name == name), None)
    if found is None:
        raise NotFound(page.language.text("There is no such event."))
    return page.render("event_kind.html", kind=found, example=pretty(found.example), schema=pretty(found.schema))


ROUTES = (
    Route("GET", "/events", events),
    Route("GET", "/events/{id}", event),
    Route("GET", "/catalogue", catalogue),
    Route("GET", "/catalogue/{name}", kind),
)
