"""Sources: what each reads, how far it is, and what the doctor says."""

from __future__ import annotations

from aiohttp import web

from cdc.access.nouns import Role
from cdc.pages.page import Page, Route


async def sources(page: Page) -> web.StreamResponse:
    return page.render("sources.html", sources=page.site.desk.sources(), findings={})


async def examine(page: Page) -> web.StreamResponse:
    """The doctor's findings: questions to the database, so only when somebody asks."""
    name = page.path("name")
    findings = await page.site.desk.examine(name)
    return page.render("sources.html", sources=page.site.desk.sources(), findings={name: findings})


ROUTES = (
    Route("GET", "/sources", sources),
    Route("POST", "/sources/{name}/examine", examine, Role.MANAGER),
)
