"""Search for everything at once: an event or a delivery by its id, records by key, code or name, endpoints by name.

Every look-up is by an index, so that an answer comes at once however long the log is; `Records` and `Endpoints` search
further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from cdc.model.endpoint import EndpointFilter, shown_url
from cdc.model.errors import NotFound, UsageError
from cdc.outbox.base import StoredEvent
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import names

#: Longest text that is searched; results of each kind.
_LONGEST: Final = 200
_EACH: Final = 8


@dataclass(frozen=True, slots=True)
class Hit:
    """``note``: what distinguishes it from others of the same title."""

    title: str
    path: str
    note: str = ""


async def search(page: Page) -> web.StreamResponse:
    """Show what a text means, by kind."""
    text, groups = page.query("q")[:_LONGEST], {}
    problem = ""
    if text:
        groups["events"] = await _events(page, text)
        groups["deliveries"] = await _deliveries(page, text)
        try:
            groups["records"] = await _records(page, text)
        except UsageError as error:  # payloads are encrypted
            problem = page.language.error(error)
        found = await page.admin.endpoints.search(EndpointFilter(text), _EACH)
        groups["endpoints"] = [
            Hit(each.description or shown_url(each), page.link("endpoints", each.id), shown_url(each))
            for each in found.found
        ]
    return page.render(
        "search.html",
        text=text,
        groups={kind: hits for kind, hits in groups.items() if hits},
        problem=problem,
        further={
            "records": page.link("records", search=text, begins="1") if page.manages else "",
            "endpoints": page.link("endpoints", search=text),
        },
    )


async def _events(page: Page, text: str) -> list[Hit]:
    event = await page.admin.events.get(text) if text.startswith("evt_") else None
    return [] if event is None else [Hit(event.name, page.link("events", event.id), event.record)]


async def _deliveries(page: Page, text: str) -> list[Hit]:
    if not text.startswith("dlv_"):
        return []
    try:
        found = await page.admin.deliveries.get(text)
    except NotFound:
        return []
    return [Hit(found.event_name, page.link("deliveries", found.id), found.record)]


async def _records(page: Page, text: str) -> list[Hit]:
    """Return records by their key, and for those who see payloads by their code or name."""
    if ":" not in text and not page.manages:
        return []
    found = (await page.admin.records.find(text, whole=True)).found[:_EACH]
    named = names(page, found)
    several = page.several_sources

    def note(event: StoredEvent) -> str:
        return " · ".join(filter(None, (event.record if event.id in named else "", event.source if several else "")))

    return [
        Hit(named.get(each.id, each.record), page.link("records", each.source, each.record), note(each))
        for each in found
    ]


ROUTES = (Route("GET", "/search", search),)
