"""The overview: problems by their cause, the way from sources to endpoints, how much is sent and how fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from aiohttp import web

from cdc.admin.endpoints import MOST_COUNTED, cut, unfinished
from cdc.admin.findings import Check
from cdc.language import LANGUAGES, sentences
from cdc.model.delivery import Attempt, DeliveryState
from cdc.model.endpoint import Endpoint, shown_url
from cdc.model.finding import Severity
from cdc.pages.language import LANGUAGE_COOKIE
from cdc.pages.page import Health, Page, Refused, Route
from cdc.pages.session_auth import SessionPrincipal
from cdc.pages.views.statistics import ShownStatistics, lag_plots, sparkline, statistics

_YEAR = 365 * 86_400
#: Sources and endpoints in the picture; endpoints of the table with their hours; sources whose lag is drawn.
_FLOW, _SPARKS, _LAGS = 6, 10, 2
#: Problems shown as cards, and in all; endpoints whose last failure is read; letters of a receiver's answer.
_CARDS, _NOTES, _ASKED, _WORDS = 5, 50, 40, 200
#: For how long a number of problems is shown (seconds), and of how many principals' sources.
_FRESH, _REMEMBERED = 5.0, 1_000
_KINDS = {Severity.WRONG: "bad", Severity.WARNING: "warn"}
#: Checks of endpoints that are shown together when they have one cause → the state that lists these endpoints.
_GROUPED = {"enabled": "disabled", "accepting": "failing", "delivered": "dead"}


@dataclass(frozen=True, slots=True)
class ProblemCard:
    """Findings with one cause, as a card.  ``kind``: ``bad`` or ``warn``.  ``path``: where to read more.  ``waiting``:
    deliveries, and whether there may be more.  ``why``: a sentence; ``words``: the receiver's answer.  ``command``:
    repairs it.  ``endpoints``: those that have it.  ``action``: ``enabled``, ``accepting`` or ``delivered`` (the check)
    has a button that repairs it."""

    kind: str
    title: str
    path: str
    action: str = ""
    endpoints: Sequence[Endpoint] = ()
    since: datetime | None = None
    waiting: tuple[int, bool] = (0, False)
    why: str = ""
    words: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """``complete``: these are all endpoints.  ``counts``: of their deliveries."""

    endpoints: Sequence[Endpoint]
    complete: bool
    counts: Mapping[str, Mapping[DeliveryState, int]]
    problems: Sequence[ProblemCard]


async def check(page: Page) -> Checked:
    """Return what needs attention, the worst first, and remember how many problems there are."""
    admin, principal = page.admin, page.principal
    assert principal is not None, "a route with a role has a principal"
    endpoints, complete = await admin.endpoints.checked()
    counts = await admin.endpoints.counts(MOST_COUNTED, [each.id for each in endpoints])
    tokens = await page.site.auth.store.tokens() if principal.manages and not principal.sources else []
    attention = await admin.attention(endpoints, counts, tokens)
    problems = await _problems(page, attention, {each.id: each for each in endpoints}, counts)

    found = Health(len(problems), problems[0].kind if problems else "good")
    remembered = page.site.health
    if len(remembered) >= _REMEMBERED:
        remembered.clear()
    remembered[_scope(principal)] = page.site.clock.monotonic(), found
    return Checked(endpoints, complete, counts, problems)


async def _problems(
    page: Page,
    attention: Sequence[Check],
    endpoints: Mapping[str, Endpoint],
    counts: Mapping[str, Mapping[DeliveryState, int]],
) -> list[ProblemCard]:
    """Return the findings as problems: those of endpoints with one cause together."""
    failing = [each.about.removeprefix("endpoint ") for each in attention if each.finding.check in _GROUPED]
    failures = await page.admin.endpoints.last_failures(list(dict.fromkeys(failing))[:_ASKED])
    groups: dict[tuple[str, str], list[Endpoint]] = {}
    places: list[tuple[Check, tuple[str, str] | None]] = []
    for each in attention:
        endpoint = endpoints.get(each.about.removeprefix("endpoint "))
        if endpoint is None or each.finding.check not in _GROUPED:
            places.append((each, None))
            continue
        failure = failures.get(endpoint.id)
        off = each.finding.check == "enabled"
        key = each.finding.check, endpoint.disabled_reason if off else failure.error if failure else ""
        if key not in groups:
            places.append((each, key))
        groups.setdefault(key, []).append(endpoint)
    return [
        _problem(page, each) if key is None else _endpoints_problem(page, each, groups[key], counts, failures)
        for each, key in places
    ]


def _problem(page: Page, check: Check) -> ProblemCard:
    subject, _, name = check.about.partition(" ")
    title, *more = sentences(page.language.message(check.finding.detail))
    fix = check.finding.fix
    paths = {"endpoint": ("endpoints", name), "endpoints": ("endpoints",), "source": ("sources", name)}
    people = subject.startswith("token")
    operates = page.principal is not None and not page.principal.sources
    return ProblemCard(
        _KINDS[check.finding.severity],
        title if subject in ("endpoint", "consumer") or not name else f"{name}: {title}",
        page.link(*paths.get(subject, ("people" if people else "sources",))),
        why=" ".join((*more, "" if fix.startswith("cdc ") else page.language.message(fix))).strip(),
        command=fix.partition(";")[0] if fix.startswith("cdc ") and operates else "",
    )


def _endpoints_problem(
    page: Page,
    check: Check,
    endpoints: Sequence[Endpoint],
    counts: Mapping[str, Mapping[DeliveryState, int]],
    failures: Mapping[str, Attempt],
) -> ProblemCard:
    language, kind, first, number = page.language, check.finding.check, endpoints[0], len(endpoints)
    dead = kind == "delivered"
    theirs = [counts.get(each.id, {}) for each in endpoints]
    waiting = sum(each.get(DeliveryState.DEAD, 0) if dead else unfinished(each) for each in theirs)
    failure = next((failures[each.id] for each in endpoints if each.id in failures), None)
    reasons = [first.disabled_reason if kind == "enabled" else "", failure.error if failure else ""]
    if number == 1:
        name = first.description or shown_url(first)
        title = {
            "enabled": language.text("%(name)s is disabled", name=name),
            "accepting": language.text("%(name)s accepts nothing", name=name),
            "delivered": language.text("%(name)s has dead letters", name=name),
        }[kind]
        path = page.link("deliveries", endpoint=first.id, state="dead") if dead else page.link("endpoints", first.id)
    else:
        title = {
            "enabled": language.plural("%(number)s endpoint is disabled", "%(number)s endpoints are disabled", number),
            "accepting": language.plural(
                "%(number)s endpoint accepts nothing", "%(number)s endpoints accept nothing", number
            ),
            "delivered": language.plural(
                "%(number)s endpoint has dead letters", "%(number)s endpoints have dead letters", number
            ),
        }[kind]
        path = page.link("endpoints", state=_GROUPED[kind])
    return ProblemCard(
        _KINDS[check.finding.severity],
        title,
        path,
        kind,
        endpoints,
        min((each.failing_since for each in endpoints if each.failing_since), default=None),
        (waiting, not dead and any(map(cut, theirs))),
        " ".join(dict.fromkeys(language.message(each) for each in reasons if each)),
        failure.answer.strip()[:_WORDS] if failure and page.manages else "",
    )


async def with_health(page: Page) -> Page:
    """Return the page with the number of problems that each page shows, at most `_FRESH` old."""
    principal, remembered = page.principal, page.site.health
    if principal is None or principal.must_enrol or principal.portal:
        return page
    at, found = remembered.get(_scope(principal), (-math.inf, page.health))
    if page.site.clock.monotonic() - at > _FRESH:
        await check(page)
        _, found = remembered[_scope(principal)]
    return replace(page, health=found)


def forget_health(page: Page, principal: SessionPrincipal) -> None:
    """Have the number of problems counted again: the principal may have repaired one."""
    page.site.health.pop(_scope(principal), None)


def _scope(principal: SessionPrincipal) -> tuple[str, ...]:
    return principal.role.value, *principal.sources


@dataclass(frozen=True, slots=True)
class FlowEndpoint:
    """``kind``: ``good``, ``warn`` or ``bad``.  ``waiting``: deliveries, and whether there may be more.  ``dead``: dead
    letters.  ``hours``: its attempts of the last 24 hours, drawn."""

    endpoint: Endpoint
    kind: str
    waiting: tuple[int, bool]
    dead: int
    hours: tuple[str, str]


async def overview(page: Page) -> web.StreamResponse:
    admin, checked = page.admin, await check(page)
    page = await with_health(page)
    sources, shown = admin.sources.slowest(_FLOW), await statistics(page)
    waiting, more = await admin.endpoints.waiting(checked.counts, complete=checked.complete)

    known = {each.id: each for each in checked.endpoints}
    known |= await admin.endpoints.by_ids(each for each in shown.endpoints if each not in known)
    flow = sorted(known.values(), key=lambda each: _place(each, checked.counts, shown))
    hours = await admin.statistics.hourly([*(each.id for each in flow[:_FLOW]), *list(shown.endpoints)[:_SPARKS]])
    sparks = {endpoint_id: sparkline(figures) for endpoint_id, figures in hours.items()}
    counted = {each.id: checked.counts.get(each.id, {}) for each in flow[:_FLOW]}
    return page.render(
        "overview.html",
        problems=checked.problems[:_CARDS],
        more_problems=checked.problems[_CARDS:_NOTES],
        left_out=max(0, len(checked.problems) - _NOTES),
        shown=shown,
        lags=lag_plots(page, {each.name: each.lags for each in sources[:_LAGS]}),
        waiting=waiting,
        cut=more,
        sources=sources[:_FLOW],
        all_sources=len(admin.sources.names()),
        flow=[
            FlowEndpoint(
                each,
                _kind(each, counted[each.id]),
                (unfinished(counted[each.id]), cut(counted[each.id])),
                counted[each.id].get(DeliveryState.DEAD, 0),
                sparks[each.id],
            )
            for each in flow[:_FLOW]
        ],
        more_endpoints=max(0, len(known) - _FLOW),
        complete=checked.complete,
        sparks=sparks,
        endpoints=known,
        ready=not any(each.kind == "bad" and not each.endpoints for each in checked.problems),
    )


def _kind(endpoint: Endpoint, counts: Mapping[DeliveryState, int]) -> str:
    if not endpoint.enabled or counts.get(DeliveryState.DEAD):
        return "bad"
    return "warn" if endpoint.failing_since or endpoint.filter_problem else "good"


def _place(
    endpoint: Endpoint, counts: Mapping[str, Mapping[DeliveryState, int]], shown: ShownStatistics
) -> tuple[int, int, int]:
    """Return where an endpoint comes in the picture: those with trouble first, then those with most attempts."""
    figures, theirs = shown.figures.endpoints.get(endpoint.id), counts.get(endpoint.id, {})
    order = ("bad", "warn", "good").index(_kind(endpoint, theirs))
    return order, -unfinished(theirs) if order < 2 else 0, -figures.attempts if figures else 0  # noqa: PLR2004 - in trouble


async def change_language(page: Page) -> web.StreamResponse:
    sent = await page.form()
    code, back = sent.get("language", ""), sent.get("back", "/")
    if code not in LANGUAGES:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such language.")
    response = page.see(back if own_path(back) else "/")
    if page.of_portal:
        page.site.auth.set_portal_cookie(page.request, response, LANGUAGE_COOKIE, code, max_age=_YEAR)
        return response
    response.set_cookie(
        LANGUAGE_COOKIE, code, max_age=_YEAR, httponly=True, samesite="Lax", secure=page.request.secure, path="/"
    )
    return response


def own_path(path: str) -> bool:
    """A path of this site: neither another site's address nor a way around that check."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()


ROUTES = (
    Route("GET", "/", overview),
    Route("POST", "/language", change_language, None),
)
