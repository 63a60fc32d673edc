"""Backfills: those that there are, and beginning one: what is meant, about how many rows that is, and then doing it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from math import isfinite
from typing import NamedTuple

from aiohttp import web

from cdc.access.model import Role
from cdc.model.backfill import ACTIONS, Asked, Backfill, Planned, seconds_left
from cdc.model.errors import SourceError, UsageError
from cdc.pages.language import parsed_number
from cdc.pages.page import Page, Route, View
from cdc.pages.views.log_search import MOST_OFFERED, choices_meant, endpoint_choice

_PAGE = 50
_FIELDS = ("source", "table", "where", "endpoint", "rate")


class RunningBackfill(NamedTuple):
    """``speed``: rows a second; ``left``: seconds."""

    backfill: Backfill
    speed: float | None
    left: float | None


async def backfills(page: Page) -> web.StreamResponse:
    """Newest first."""
    before = page.query("before")
    found = await page.admin.backfills.newest(_PAGE + 1, before or None)
    return page.render(
        "backfills.html",
        backfills=[_going(page, each) for each in found[:_PAGE]],
        removed=await page.admin.endpoints.removed(each.endpoint for each in found[:_PAGE]),
        endpoints=await page.admin.endpoints.of(each.endpoint for each in found[:_PAGE]),
        older=page.link("backfills", before=found[_PAGE - 1].id) if len(found) > _PAGE else "",
        newest=page.link("backfills") if before else "",
    )


def _going(page: Page, backfill: Backfill) -> RunningBackfill:
    speed = page.admin.backfills.speed(backfill)
    return RunningBackfill(backfill, speed, seconds_left(backfill, speed))


async def new(page: Page) -> web.StreamResponse:
    return await _form(page, {name: page.query(name) for name in _FIELDS})


async def look(page: Page) -> web.StreamResponse:
    """Show what the backfill would do."""
    given = await _given(page)
    try:
        (planned,) = await page.admin.backfills.plan(given["source"], _asked(page, given))
    except (UsageError, SourceError) as error:
        return await _form(page, given, problem=page.language.error(error))
    return await _form(page, given, planned)


async def begin(page: Page) -> web.StreamResponse:
    given = await _given(page)
    try:
        await page.admin.backfills.begin(given["source"], _asked(page, given))
    except (UsageError, SourceError) as error:
        return await _form(page, given, problem=page.language.error(error))
    return page.see("/backfills", notice="backfill-begun")


async def _given(page: Page) -> Mapping[str, str]:
    sent = await page.form()
    given = {name: sent.get(name, "").strip() for name in _FIELDS}
    return {**given, "endpoint": (await endpoint_choice(page, given["endpoint"])).chosen}


async def _form(
    page: Page, given: Mapping[str, str], planned: Planned | None = None, problem: str = ""
) -> web.StreamResponse:
    tables = page.admin.backfills.tables()
    choice = await endpoint_choice(page, given["endpoint"], planned.receivers[:MOST_OFFERED] if planned else ())
    return page.render(
        "backfill_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        given=given,
        planned=planned,
        problem=problem,
        sources=list(tables),
        tables={table: title for each in tables.values() for table, title in each.items()},
        endpoints=choice.known,
        choice=choice,
        offered=MOST_OFFERED,
        suggestions=await choices_meant(page, ("backfills", "new"), given, choice),
    )


def _asked(page: Page, given: Mapping[str, str]) -> Asked:
    """Raises `UsageError`."""
    if not given["table"]:
        raise UsageError(page.language.text("Choose a table."))
    return Asked((given["table"],), given["where"], given["endpoint"], _rate(page, given["rate"]))


def _rate(page: Page, text: str) -> float:
    try:
        rate = parsed_number(text or "0")
    except ValueError:
        rate = -1.0
    if not (isfinite(rate) and rate >= 0):
        raise UsageError(page.language.text("The rate is a number of rows a second; empty: unlimited."))
    return rate


def _changing(name: str) -> View:
    """``name``: of `ACTIONS`."""

    async def change(page: Page) -> web.StreamResponse:
        backfill_id = page.path("id")
        if (await page.admin.backfills.get(backfill_id)).state.ended:
            return page.see("/backfills", notice="backfill-over")
        await page.admin.backfills.change(backfill_id, name)
        return page.see("/backfills", notice=f"backfill-{name}")

    return change


ROUTES = (
    Route("GET", "/backfills", backfills, Role.MANAGER),
    Route("POST", "/backfills", begin, Role.MANAGER),
    Route("GET", "/backfills/new", new, Role.MANAGER),
    Route("POST", "/backfills/new", look, Role.MANAGER),
    *(Route("POST", f"/backfills/{{id}}/{name}", _changing(name), Role.MANAGER) for name in ACTIONS),
)
