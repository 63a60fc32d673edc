"""Sources: what each reads, how far it is, and what the doctor says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from aiohttp import web

from cdc.access.model import Role
from cdc.model.delivery import EventFilter
from cdc.model.endpoint import EndpointFilter
from cdc.model.errors import CdcError, NotFound
from cdc.model.finding import DescribedTable, Finding, grouped
from cdc.pages.page import Page, Route
from cdc.pages.views.delivery_log import MOST_OFFERED, names
from cdc.pages.views.statistics import statistics

#: So many sources are shown as sheets; more of them as a table.
_SHEETS: Final = 6
_PAGE: Final = 50
_NEWEST: Final = 20


async def sources(page: Page) -> web.StreamResponse:
    given, after = {name: page.query(name) for name in ("search", "state")}, page.query("after")
    admin = page.admin.sources
    known = after if after in admin.names() else ""
    searched = admin.search(given["search"], given["state"], _PAGE, known)
    return page.render(
        "sources.html",
        sources=searched.found,
        sheets=_SHEETS,
        given=given,
        first=page.link("sources", **given) if known else "",
        more=page.link("sources", **given, after=searched.further) if searched.further else "",
    )


async def source(page: Page) -> web.StreamResponse:
    return await _source(page)


async def examine(page: Page) -> web.StreamResponse:
    """The doctor's findings: questions to the database, so only when somebody asks."""
    return await _source(page, grouped(await page.admin.sources.examine(page.path("name"))))


async def _source(page: Page, findings: Sequence[Finding] | None = None) -> web.StreamResponse:
    """One source, who gets its events, and the newest of them."""
    name = page.path("name")
    admin = page.admin
    names_here = admin.sources.names()
    if name not in names_here:
        links = [(each, page.link("sources", each)) for each in get_close_matches(name, names_here)]
        return page.missing(page.language.text("There is no such source here."), links)
    receivers = await admin.endpoints.search(EndpointFilter(source=name), MOST_OFFERED)
    shown = await statistics(page, "sources", name, source=name)
    endpoints = {each.id: each for each in receivers.found}
    newest = await page.admin.events.search(EventFilter(source=name), _NEWEST, oldest_first=False)
    return page.render(
        "source.html",
        source=admin.sources.get(name),
        findings=findings,
        due=await admin.sources.due(name),
        endpoints=receivers.found,
        more=page.link("endpoints", source=name) if receivers.further else "",
        all_endpoints={**endpoints, **await admin.endpoints.by_ids(shown.endpoints)},
        events=newest.found,
        names=names(page, newest.found),
        shown=shown,
    )


async def tables(page: Page) -> web.StreamResponse:
    """Every table, captured or not, and why; the lines of the configuration that make events of ``make``, the name of a
    table or a pattern."""
    name, make, problem = page.path("name"), page.query("make"), ""
    found: Sequence[DescribedTable] = ()
    try:
        found = await page.admin.sources.tables(name)
    except NotFound:
        raise
    except CdcError as error:
        problem = page.language.error(error)
    plugins = [each.name for each in found if each.unnamed and not each.model]
    together = Counter(f"{each.partition('_')[0]}_*" for each in plugins if "_" in each)
    patterns = [pattern for pattern, number in together.items() if number > 1]
    offered = [*patterns, *(each for each in plugins if f"{each.partition('_')[0]}_*" not in patterns)]
    makeable = {each.name for each in found if each.unnamed}.union(patterns)
    return page.render(
        "tables.html",
        source=name,
        tables=sorted(found, key=lambda each: (not each.unnamed or bool(each.model), each.captured, each.name)),
        captured=sum(each.captured for each in found),
        offered=[(each, page.link("sources", name, "tables", make=each)) for each in offered],
        plugins=len(plugins),
        make=make if make in makeable else "",
        lines=page.admin.sources.table_lines(name, [make]) if make in makeable else "",
        problem=problem,
    )


ROUTES = (
    Route("GET", "/sources", sources),
    Route("GET", "/sources/{name}", source),
    Route("GET", "/sources/{name}/tables", tables, Role.MANAGER),
    Route("POST", "/sources/{name}/examine", examine, Role.MANAGER),
)
