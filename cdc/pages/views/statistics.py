"""Statistics as a page shows them: plots, and a table of the same values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest

from cdc.admin.statistics import TOP, Figures, Period, PeriodFigures
from cdc.pages import chart
from cdc.pages.chart import Bar, Bars
from cdc.pages.language import Language
from cdc.pages.page import Page


@dataclass(frozen=True, slots=True)
class Plot:
    """``drawn``: bars or a path.  ``top``: the value at its top.  ``labels`` and ``values``: of the slots."""

    drawn: Sequence[Bar] | str
    top: float
    labels: Sequence[str]
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShownStatistics:
    """``links``: to each period."""

    period: Period
    links: Sequence[tuple[Period, str]]
    figures: PeriodFigures
    labels: Sequence[str]
    sent: Plot
    success: Plot
    answer: Plot

    @property
    def endpoints(self) -> Mapping[str, Figures]:
        return _top(self.figures.endpoints)

    @property
    def sources(self) -> Mapping[str, Figures]:
        return _top(self.figures.sources)

    def rows(self) -> Iterator[tuple[str, Figures]]:
        """Yield the slots that have attempts."""
        return ((label, each) for label, each in zip(self.labels, self.figures.slots, strict=True) if each.attempts)


async def statistics(
    page: Page, *path: str, endpoint_id: str | None = None, source: str | None = None
) -> ShownStatistics:
    """Return the statistics of the period that the query names, by default the last day.  ``path``: of the page."""
    asked, language = page.query("period"), page.language
    period = Period(asked) if asked in tuple(Period) else Period.DAY
    figures = await page.admin.statistics.of(period, language.zone, endpoint_id=endpoint_id, source=source)
    slots, labels = figures.slots, [_label(language, period, start) for start in figures.starts]
    bars, most = chart.stacked(
        [Bars("delivered", [each.delivered for each in slots]), Bars("failed", [each.failed for each in slots])]
    )
    success, whole = chart.line([each.success for each in slots], most=1.0)
    answer, longest = chart.line([each.average for each in slots])
    return ShownStatistics(
        period,
        [(each, page.link(*path, period=each.value)) for each in Period],
        figures,
        labels,
        sent=Plot(bars, most, labels, [_counted(language, each) for each in slots]),
        success=Plot(success, whole, labels, [_known(language, language.percent, each.success) for each in slots]),
        answer=Plot(answer, longest, labels, [_known(language, language.span, each.average) for each in slots]),
    )


def _top(figures: Mapping[str, Figures]) -> dict[str, Figures]:
    """Return those with the most attempts, which a table shows; the most first."""
    return {name: figures[name] for name in nlargest(TOP, figures, key=lambda each: figures[each].attempts)}


def _label(language: Language, period: Period, start: datetime) -> str:
    if period in (Period.HOUR, Period.DAY):
        return language.clock(start)
    return language.day(start) + (f", {language.clock(start)}" if period is Period.WEEK else "")


def _counted(language: Language, figures: Figures) -> str:
    delivered, failed = language.number(figures.delivered), language.number(figures.failed)
    return language.text("%(delivered)s delivered, %(failed)s failed", delivered=delivered, failed=failed)


def _known(language: Language, written: Callable[[float], str], value: float | None) -> str:
    return language.text("no attempts") if value is None else written(value)


def lag_plot(page: Page, lags: Sequence[float | None], most: float) -> Plot:
    """Plot a source's lag in the last hour."""
    language, now = page.language, page.site.clock.now()
    minutes = [language.clock(now - timedelta(minutes=ago)) for ago in range(len(lags) - 1, -1, -1)]
    values = [language.text("unknown") if seconds is None else language.span(seconds) for seconds in lags]
    path, top = chart.line(lags, most)
    return Plot(path, top, minutes, values)
