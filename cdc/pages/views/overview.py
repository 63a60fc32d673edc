"""The overview: what needs attention, how much is sent, how quickly it is answered, how far each source is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import web

from cdc.admin.endpoints import MOST_COUNTED
from cdc.admin.findings import Check
from cdc.language import LANGUAGES
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.model.finding import Severity
from cdc.pages.language import LANGUAGE_COOKIE
from cdc.pages.page import Health, Page, Refused, Route
from cdc.pages.session_auth import SessionPrincipal
from cdc.pages.views.statistics import lag_plot, plot_top, statistics

_YEAR = 365 * 86_400
#: Sources whose lag is drawn.
_SOURCES = 12
_NOTES = 50
#: For how long a number of problems is shown (seconds), and of how many principals' sources.
_FRESH, _REMEMBERED = 5.0, 1_000


@dataclass(frozen=True, slots=True)
class Attention:
    """``kind``: ``bad`` or ``warn``.  ``path``: where to look."""

    kind: str
    text: str
    path: str


@dataclass(frozen=True, slots=True)
class Checked:
    """``complete``: these are all endpoints.  ``counts``: of their deliveries."""

    endpoints: Sequence[Endpoint]
    complete: bool
    counts: Mapping[str, Mapping[DeliveryState, int]]
    attention: Sequence[Check]


async def check(page: Page) -> Checked:
    """Return what needs attention, and remember how many problems there are."""
    admin, principal = page.admin, page.principal
    assert principal is not None, "a route with a role has a principal"
    endpoints, complete = await admin.endpoints.checked()
    counts = await admin.endpoints.counts(MOST_COUNTED, [each.id for each in endpoints])
    tokens = await page.site.auth.store.tokens() if principal.manages and not principal.sources else []
    attention = await admin.attention(endpoints, counts, tokens)
    wrong = any(each.finding.severity is Severity.WRONG for each in attention)
    found = Health(len(attention), "bad" if wrong else "warn" if attention else "good")
    remembered = page.site.health
    if len(remembered) >= _REMEMBERED:
        remembered.clear()
    remembered[_scope(principal)] = page.site.clock.monotonic(), found
    return Checked(endpoints, complete, counts, attention)


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


async def overview(page: Page) -> web.StreamResponse:
    admin, checked = page.admin, await check(page)
    page = await with_health(page)
    waiting, more = await admin.endpoints.waiting(checked.counts, complete=checked.complete)
    sources, shown = admin.sources.slowest(_SOURCES), await statistics(page)
    longest = plot_top([seconds for each in sources for seconds in each.lags if seconds is not None])
    return page.render(
        "overview.html",
        attention=[_attention(page, each) for each in checked.attention[:_NOTES]],
        more_attention=max(0, len(checked.attention) - _NOTES),
        shown=shown,
        lags={each.name: lag_plot(page, each.lags, longest) for each in sources},
        waiting=waiting,
        cut=more,
        sources=sources,
        all_sources=len(admin.sources.names()),
        endpoints=await admin.endpoints.by_ids(shown.endpoints),
        any_endpoint=bool(checked.endpoints),
    )


def _attention(page: Page, check: Check) -> Attention:
    subject, _, name = check.about.partition(" ")
    text = page.language.message(check.finding.detail)
    kind = "bad" if check.finding.severity is Severity.WRONG else "warn"
    if subject in ("endpoint", "endpoints"):
        dead = check.finding.check == "delivered"
        shown = page.link(*filter(None, ("endpoints", name)))
        return Attention(kind, text, page.link("deliveries", endpoint=name, state="dead") if dead else shown)
    return Attention(kind, f"{name}: {text}" if name else text, "/people" if subject == "token" else "/sources")


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
