"""The overview: what needs attention, how much is sent, how quickly it is answered, how far each source is."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from cdc.admin.endpoints import MOST_COUNTED
from cdc.admin.findings import Check
from cdc.model.finding import Severity
from cdc.pages.language import LANGUAGE_COOKIE, LANGUAGES
from cdc.pages.page import Page, Refused, Route
from cdc.pages.views.statistics import lag_plot, plot_top, statistics

_YEAR = 365 * 86_400
#: Sources whose lag is drawn.
_SOURCES = 12
_NOTES = 50


@dataclass(frozen=True, slots=True)
class Attention:
    """``kind``: ``bad`` or ``warn``.  ``path``: where to look."""

    kind: str
    text: str
    path: str


async def overview(page: Page) -> web.StreamResponse:
    admin = page.admin
    endpoints, complete = await admin.endpoints.checked()
    counts = await admin.endpoints.counts(MOST_COUNTED, [each.id for each in endpoints])
    waiting, more = await admin.endpoints.waiting(counts, complete=complete)
    sources, shown = admin.sources.slowest(_SOURCES), await statistics(page)
    longest = plot_top([seconds for each in sources for seconds in each.lags if seconds is not None])
    everything = page.principal is not None and page.principal.manages and not page.principal.sources
    tokens = await page.site.auth.store.tokens() if everything else []
    attention = await admin.attention(endpoints, counts, tokens)
    return page.render(
        "overview.html",
        attention=[_attention(page, each) for each in attention[:_NOTES]],
        more_attention=max(0, len(attention) - _NOTES),
        shown=shown,
        lags={each.name: lag_plot(page, each.lags, longest) for each in sources},
        waiting=waiting,
        cut=more,
        sources=sources,
        all_sources=len(admin.sources.names()),
        endpoints=await admin.endpoints.by_ids(shown.endpoints),
        any_endpoint=bool(endpoints),
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
