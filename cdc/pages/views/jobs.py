"""Replays and backfills: listings, and starting one after its effect is shown: what is sent, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import isfinite
from typing import NamedTuple

from aiohttp import web

from cdc.access.model import Role
from cdc.dispatch.replay import MOST_RATE, RATE, meant
from cdc.model.backfill import ACTIONS, Asked, Backfill, Planned, seconds_left
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replayed, ReplayState
from cdc.model.errors import SourceError, UsageError
from cdc.pages.language import parsed_number
from cdc.pages.page import Page, Route, View
from cdc.pages.views.delivery_log import (
    FIELDS,
    MOST_OFFERED,
    choices_meant,
    delivery_filter,
    endpoint_choice,
    names_of_records,
)

_PAGE = 50
#: What is not finished comes anyway.
_STATES = tuple(state for state in DeliveryState if state.final)


@dataclass(frozen=True, slots=True)
class ReplayForm:
    """The request of a form."""

    which: DeliveryFilter
    rate: float


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of a dry run.  ``form``: the fields that ask for exactly this."""

    found: Replayed
    wanted: ReplayForm
    form: Mapping[str, str]


async def replays(page: Page) -> web.StreamResponse:
    """Newest first."""
    before = page.query("before")
    found = await page.admin.deliveries.replays(_PAGE + 1, before or None)
    return page.render(
        "replays.html",
        replays=found[:_PAGE],
        names=await names_of_records(page, (each.which.record for each in found[:_PAGE])),
        removed=await page.admin.endpoints.removed(each.which.endpoint_id for each in found[:_PAGE]),
        endpoints=await page.admin.endpoints.by_ids(each.which.endpoint_id for each in found[:_PAGE]),
        now=page.site.clock.now(),
        older=page.link("replays", before=found[_PAGE - 1].id) if len(found) > _PAGE else "",
        newest=page.link("replays") if before else "",
    )


async def new_replay(page: Page) -> web.StreamResponse:
    """The form, and with ``count`` what it would do."""
    given = {name: page.query(name) for name in FIELDS}
    choice = await endpoint_choice(page, given["endpoint"])
    given = {**given, "endpoint": choice.chosen}
    rate = page.query("rate") or page.language.input(RATE)
    dry_run, problem = None, ""
    if page.query("count"):
        try:
            # deliveries later than now are not part of the replay, also when it is started later
            wanted = _replay_form(page, given, rate)
            until = wanted.which.until
            form = {**given, "until": until.isoformat() if until else "", "rate": rate}
            dry_run = DryRun(await page.admin.deliveries.count_replay(wanted.which), wanted, form)
        except UsageError as error:
            problem = page.language.error(error)
    return page.render(
        "replay_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        given=given,
        names=await names_of_records(page, [given["record"]]),
        removed=await page.admin.endpoints.removed([given["endpoint"]]),
        rate=rate,
        dry_run=dry_run,
        problem=problem,
        states=_STATES,
        endpoints=choice.known,
        choice=choice,
        suggestions=await choices_meant(page, ("replays", "new"), given, choice),
    )


def _replay_form(page: Page, given: Mapping[str, str], rate: str) -> ReplayForm:
    """Raises `UsageError`."""
    text = page.language.text
    if not any(given.values()):
        raise UsageError(text('Say what to send again: an endpoint, a record, a time …; the event "*" selects all.'))
    which = delivery_filter(page, given)
    if which.state is not None and which.state not in _STATES:
        raise UsageError(text("Only finished deliveries can be sent again."))
    return ReplayForm(meant(which, page.site.clock.now(), hint=""), _replay_rate(page, rate))


def _replay_rate(page: Page, text: str) -> float:
    try:
        rate = parsed_number(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MOST_RATE:  # nor is it NaN
        most = page.language.number(MOST_RATE)
        raise UsageError(
            page.language.text("The rate is more than 0 and at most %(most)s deliveries a second.", most=most)
        )
    return rate


async def start_replay(page: Page) -> web.StreamResponse:
    sent = await page.form()
    wanted = _replay_form(page, {name: sent.get(name, "").strip() for name in FIELDS}, sent.get("rate", ""))
    await page.admin.deliveries.start_replay(wanted.which, wanted.rate)
    return page.see("/replays", notice="replaying")


async def stop(page: Page) -> web.StreamResponse:
    replay_id = page.path("id")
    if (await page.admin.deliveries.replay(replay_id)).state is not ReplayState.RUNNING:
        return page.see("/replays", notice="replay-over")
    await page.admin.deliveries.cancel_replay(replay_id)
    return page.see("/replays", notice="replay-stopped")


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
        endpoints=await page.admin.endpoints.by_ids(each.endpoint for each in found[:_PAGE]),
        older=page.link("backfills", before=found[_PAGE - 1].id) if len(found) > _PAGE else "",
        newest=page.link("backfills") if before else "",
    )


def _going(page: Page, backfill: Backfill) -> RunningBackfill:
    speed = page.admin.backfills.speed(backfill)
    return RunningBackfill(backfill, speed, seconds_left(backfill, speed))


async def new_backfill(page: Page) -> web.StreamResponse:
    return await _form(page, {name: page.query(name) for name in _FIELDS})


async def preview_backfill(page: Page) -> web.StreamResponse:
    """Show what the backfill would do."""
    given = await _form_fields(page)
    try:
        (planned,) = await page.admin.backfills.plan(given["source"], _asked(page, given))
    except (UsageError, SourceError) as error:
        return await _form(page, given, problem=page.language.error(error))
    return await _form(page, given, planned)


async def start_backfill(page: Page) -> web.StreamResponse:
    given = await _form_fields(page)
    try:
        await page.admin.backfills.start(given["source"], _asked(page, given))
    except (UsageError, SourceError) as error:
        return await _form(page, given, problem=page.language.error(error))
    return page.see("/backfills", notice="backfill-begun")


async def _form_fields(page: Page) -> Mapping[str, str]:
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
    return Asked((given["table"],), given["where"], given["endpoint"], _backfill_rate(page, given["rate"]))


def _backfill_rate(page: Page, text: str) -> float:
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
    Route("GET", "/replays", replays, Role.MANAGER),
    Route("POST", "/replays", start_replay, Role.MANAGER),
    Route("GET", "/replays/new", new_replay, Role.MANAGER),
    Route("POST", "/replays/{id}/stop", stop, Role.MANAGER),
    Route("GET", "/backfills", backfills, Role.MANAGER),
    Route("POST", "/backfills", start_backfill, Role.MANAGER),
    Route("GET", "/backfills/new", new_backfill, Role.MANAGER),
    Route("POST", "/backfills/new", preview_backfill, Role.MANAGER),
    *(Route("POST", f"/backfills/{{id}}/{name}", _changing(name), Role.MANAGER) for name in ACTIONS),
)
