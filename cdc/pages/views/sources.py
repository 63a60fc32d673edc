"""Sources: what each reads, how far it is, and what the doctor says."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from aiohttp import web

from cdc.access.model import Role
from cdc.model.delivery import EventFilter
from cdc.model.finding import Finding, grouped
from cdc.pages.page import Page, Route
from cdc.pages.views.record import names
from cdc.pages.views.statistics import statistics

#: So many sources are shown as sheets; more of them as a table.
_SHEETS: Final = 6
_NEWEST: Final = 20


async def sources(page: Page) -> web.StreamResponse:
    return page.render("sources.html", sources=page.admin.sources.reported(), sheets=_SHEETS)


async def source(page: Page) -> web.StreamResponse:
    return await _source(page)


async def examine(page: Page) -> web.StreamResponse:
    """The doctor's findings: questions to the database, so only when somebody asks."""
    return await _source(page, grouped(await page.admin.sources.examine(page.path("name"))))


async def _source(page: Page, findings: Sequence[Finding] | None = None) -> web.StreamResponse:
    """One source, who gets its events, and the newest of them."""
    name = page.path("name")
    found = next((each for each in page.admin.sources.reported() if each.name == name), None)
    if found is None:
        near = get_close_matches(name, [each.name for each in page.admin.sources.reported()])
        links = [(each, page.link("sources", each)) for each in near]
        return page.missing(page.language.text("There is no such source here."), links)
    endpoints = await page.admin.endpoints.by_id()
    newest = await page.admin.events.search(EventFilter(source=name), _NEWEST, oldest_first=False)
    return page.render(
        "source.html",
        source=found,
        findings=findings,
        endpoints=[each for each in endpoints.values() if not each.sources or name in each.sources],
        all_endpoints=endpoints,
        events=newest.found,
        names=names(page, newest.found),
        shown=await statistics(page, "sources", name, source=name),
    )


ROUTES = (
    Route("GET", "/sources", sources),
    Route("GET", "/sources/{name}", source),
    Route("POST", "/sources/{name}/examine", examine, Role.MANAGER),
)
