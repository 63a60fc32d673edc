"""Statistics as a page shows them: plots as SVG paths, which the templates draw, and a table of the same values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest

from cdc.admin.deliveries import TOP, Figures, Period, PeriodFigures
from cdc.pages.language import Language
from cdc.pages.page import Page

WIDTH, HEIGHT = 600.0, 120.0
_STEPS = (1, 2, 5)
#: Height of the smallest bar: it is seen beside the greatest.
_LEAST = 3.0


@dataclass(frozen=True, slots=True)
class Bars:
    """``values``: one a slot, stacked on each other in the order of the series."""

    name: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Bar:
    """``series``: the number of its series."""

    x: float
    y: float
    width: float
    height: float
    series: int


def plot_top(values: Sequence[float]) -> float:
    """A round number that is no less than the greatest value; 1 when all are 0, or as good as."""
    most = max(values, default=0.0)
    if most < sys.float_info.min:
        return 1.0
    size = 10.0 ** len(str(int(most))) / 10 if most >= 1 else 0.1
    while size > most:
        size /= 10
    return next(step * size for size in (size, size * 10) for step in _STEPS if step * size >= most)


def stacked_bars(series: Sequence[Bars]) -> tuple[list[Bar], float]:
    """The bars, and the value at the top of the plot."""
    slots = max((len(each.values) for each in series), default=0)
    totals = [sum(each.values[slot] for each in series) for slot in range(slots)]
    most = plot_top(totals)
    width = WIDTH / max(slots, 1)
    bars = []
    for slot in range(slots):
        below = 0.0
        for number, each in enumerate(series):
            value = each.values[slot]
            if value > 0:
                height = max(value / most * HEIGHT, _LEAST)
                bars.append(Bar(slot * width, HEIGHT - below - height, max(width - 1, 0.5), height, number))
                below += height
    return bars, most


def plot_line(values: Sequence[float | None], most: float = 0.0) -> tuple[str, float]:
    """Return the path of a line through the middles of the slots, with gaps where there is no value, and the value at
    the top of the plot: ``most``, or without it a round number above all.  A lone value is as wide as its slot."""
    most = most or plot_top([value for value in values if value is not None])
    step = WIDTH / max(len(values), 1)
    path, before = [], None
    for place, (value, after) in enumerate(zip(values, [*values[1:], None], strict=True)):
        if value is not None:
            lone = before is None and after is None
            x = (place if lone else place + 0.5) * step
            path.append(f"{'M' if before is None else 'L'}{x:.1f} {HEIGHT - value / most * HEIGHT:.1f}")
            if lone:
                path.append(f"h{step:.1f}")
        before = value
    return " ".join(path), most


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
    figures = await page.admin.statistics.figures(period, language.zone, endpoint_id=endpoint_id, source=source)
    slots, labels = figures.slots, [_label(language, period, start) for start in figures.starts]
    bars, most = stacked_bars(
        [Bars("delivered", [each.delivered for each in slots]), Bars("failed", [each.failed for each in slots])]
    )
    success, whole = plot_line([each.success for each in slots], most=1.0)
    answer, longest = plot_line([each.average for each in slots])
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
    path, top = plot_line(lags, most)
    return Plot(path, top, minutes, values)
