"""The overview: what needs attention, how much is sent, how quickly it is answered, how far each source is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from cdc.admin.process import ActivityMinute, ReportedSource
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import Endpoint
from cdc.pages import chart
from cdc.pages.chart import Bar, Bars
from cdc.pages.language import LANGUAGE_COOKIE, LANGUAGES
from cdc.pages.page import Page, Refused, Route

_MINUTES = 60
_YEAR = 365 * 86_400

Counts = Mapping[str, Mapping[DeliveryState, int]]


@dataclass(frozen=True, slots=True)
class Attention:
    """``kind``: ``bad`` or ``warn``.  ``path``: where to look."""

    kind: str
    text: str
    path: str


async def overview(page: Page) -> web.StreamResponse:
    admin, process = page.admin, page.site.process
    endpoints, counts = await admin.endpoints.all(), await admin.endpoints.counts()
    minutes, sources = process.activity(_MINUTES), admin.sources.reported()
    delivered, failed = sum(each.delivered for each in minutes), sum(each.failed for each in minutes)
    return page.render(
        "overview.html",
        attention=_attention(page, sources, endpoints, counts),
        plots=_plots(minutes, [source.name for source in sources]),
        first=minutes[0].at,
        last=minutes[-1].at,
        delivered=delivered,
        failed=failed,
        seconds=sum(each.seconds for each in minutes) / (delivered + failed) if delivered + failed else None,
        waiting=sum(_unfinished(each) for each in counts.values()),
        sources=sources,
        endpoints=endpoints,
    )


@dataclass(frozen=True, slots=True)
class Plots:
    """Of each a path, or bars, and the value at its top.  ``lags``: by source, on one scale (seconds)."""

    sent: tuple[Sequence[Bar], float]
    success: tuple[str, float]
    answer: tuple[str, float]
    lags: Mapping[str, str]
    lag: float


def _plots(minutes: Sequence[ActivityMinute], sources: Sequence[str]) -> Plots:
    totals = [each.delivered + each.failed for each in minutes]
    delivered, failed = [each.delivered for each in minutes], [each.failed for each in minutes]
    lag = chart.top([seconds for each in minutes for seconds in each.lags.values()])
    return Plots(
        sent=chart.stacked([Bars("delivered", delivered), Bars("failed", failed)]),
        success=chart.line(
            [part / total if total else None for part, total in zip(delivered, totals, strict=True)], most=1.0
        ),
        answer=chart.line(
            [each.seconds / total if total else None for each, total in zip(minutes, totals, strict=True)]
        ),
        lags={name: chart.line([each.lags.get(name) for each in minutes], lag)[0] for name in sources},
        lag=lag,
    )


def _unfinished(counts: Mapping[DeliveryState, int]) -> int:
    return sum(number for state, number in counts.items() if not state.final)


def _attention(
    page: Page, sources: Sequence[ReportedSource], endpoints: list[Endpoint], counts: Counts
) -> list[Attention]:
    text, link = page.language.text, page.link
    limited = page.visitor is not None and page.visitor.sources
    reasons = [each.error for each in sources if each.error] if limited else page.site.process.reasons()
    found = [Attention("bad", reason, "/sources") for reason in reasons]
    for each in endpoints:
        name, here = each.description or each.id, link("endpoints", each.id)
        if not each.enabled:
            found.append(Attention("bad", text("%(name)s is disabled; its events wait.", name=name), here))
        elif each.failing_since:
            since = page.language.moment(each.failing_since)
            told = text("%(name)s has accepted nothing since %(time)s.", name=name, time=since)
            found.append(Attention("warn", told, here))
        dead = counts.get(each.id, {}).get(DeliveryState.DEAD, 0)
        if dead:
            told = page.language.plural(
                "%(name)s: %(number)s dead letter.", "%(name)s: %(number)s dead letters.", dead, name=name
            )
            found.append(Attention("warn", told, link("deliveries", endpoint=each.id, state="dead")))
    return sorted(found, key=lambda each: each.kind != "bad")


async def change_language(page: Page) -> web.StreamResponse:
    sent = await page.form()
    code, back = sent.get("language", ""), sent.get("back", "/")
    if code not in LANGUAGES:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such language.")
    response = page.see(back if own_path(back) else "/")
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
