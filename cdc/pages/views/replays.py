"""Replays: those that there are, and making one: what is meant, how many that is, and then doing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from cdc.access.model import Role
from cdc.dispatch.replay import MOST_RATE, RATE, meant
from cdc.model.delivery import DeliveryFilter, DeliveryState, Replayed, ReplayState
from cdc.model.errors import UsageError
from cdc.pages.language import parsed_number
from cdc.pages.page import Page, Route
from cdc.pages.views.log_search import FIELDS, choices_meant, delivery_filter, endpoint_choice, names_of_records

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
        endpoints=await page.admin.endpoints.of(each.which.endpoint_id for each in found[:_PAGE]),
        now=page.site.clock.now(),
        older=page.link("replays", before=found[_PAGE - 1].id) if len(found) > _PAGE else "",
        newest=page.link("replays") if before else "",
    )


async def new(page: Page) -> web.StreamResponse:
    """The form, and with ``count`` what it would do."""
    given = {name: page.query(name) for name in FIELDS}
    choice = await endpoint_choice(page, given["endpoint"])
    given = {**given, "endpoint": choice.chosen}
    rate = page.query("rate") or page.language.input(RATE)
    dry_run, problem = None, ""
    if page.query("count"):
        try:
            dry_run = await _dry_run(page, given, rate)
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


async def _dry_run(page: Page, given: Mapping[str, str], rate: str) -> DryRun:
    """Count the deliveries of a replay.  Later ones are not part of it, also when it is begun later."""
    wanted = _wanted(page, given, rate)
    until = wanted.which.until
    form = {**given, "until": until.isoformat() if until else "", "rate": rate}
    return DryRun(await page.admin.deliveries.count_replay(wanted.which), wanted, form)


def _wanted(page: Page, given: Mapping[str, str], rate: str) -> ReplayForm:
    """Raises `UsageError`."""
    text = page.language.text
    if not any(given.values()):
        raise UsageError(text('Say what to send again: an endpoint, a record, a time …; the event "*" selects all.'))
    which = delivery_filter(page, given)
    if which.state is not None and which.state not in _STATES:
        raise UsageError(text("Only finished deliveries can be sent again."))
    return ReplayForm(meant(which, page.site.clock.now(), hint=""), _rate(page, rate))


def _rate(page: Page, text: str) -> float:
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


async def begin(page: Page) -> web.StreamResponse:
    sent = await page.form()
    wanted = _wanted(page, {name: sent.get(name, "").strip() for name in FIELDS}, sent.get("rate", ""))
    await page.admin.deliveries.begin_replay(wanted.which, wanted.rate)
    return page.see("/replays", notice="replaying")


async def stop(page: Page) -> web.StreamResponse:
    replay_id = page.path("id")
    if (await page.admin.deliveries.replay(replay_id)).state is not ReplayState.RUNNING:
        return page.see("/replays", notice="replay-over")
    await page.admin.deliveries.cancel_replay(replay_id)
    return page.see("/replays", notice="replay-stopped")


ROUTES = (
    Route("GET", "/replays", replays, Role.MANAGER),
    Route("POST", "/replays", begin, Role.MANAGER),
    Route("GET", "/replays/new", new, Role.MANAGER),
    Route("POST", "/replays/{id}/stop", stop, Role.MANAGER),
)
