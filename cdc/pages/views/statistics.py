"""Statistics as a page shows them: plots as SVG paths, which the templates draw, and a table of the same values."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest
from typing import NamedTuple

from cdc.admin.deliveries import TOP, Figures, Period, PeriodFigures
from cdc.pages.language import Language
from cdc.pages.page import Page

WIDTH, HEIGHT = 600.0, 120.0
#: Steps of an axis, at most.
_STEPS = 5
#: Round numbers of seconds from which on an axis of time is written in minutes, hours and days.
_SPANS = (60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
#: Height of the smallest bar: it is seen beside the greatest.
_LEAST = 3.0
#: Labels nearer to an end of the axis of time (percent) do not reach beyond it.
_EDGE = 6.0


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


def ticks(values: Sequence[float], *, whole: bool = False, spans: bool = False) -> list[float]:
    """Return the values on an axis, in equal round steps, from 0 to the first that is no less than the greatest of
    ``values``.  ``whole``: they are counts.  ``spans``: seconds, of which many are minutes, hours or days."""
    most = max(values, default=0.0)
    if most < sys.float_info.min:
        return [0.0, 1.0]
    rough = most / _STEPS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next((each * size for each in (1, 2, 5) if each * size >= rough), 10 * size)
    if whole:
        step = max(step, 1.0)
    if spans and most > _SPANS[1]:
        step = next((each for each in _SPANS if each >= rough), math.ceil(rough / _SPANS[-1]) * _SPANS[-1])
    return [step * number for number in range(math.ceil(round(most / step, 9)) + 1)]


def stacked_bars(series: Sequence[Bars], most: float) -> list[Bar]:
    """Return the bars.  ``most``: the value at the top of the plot."""
    slots = max((len(each.values) for each in series), default=0)
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
    return bars


def plot_line(values: Sequence[float | None], most: float) -> str:
    """Return the path of a line through the middles of the slots, with gaps where there is no value.  ``most``: the
    value at the top of the plot.  A lone value is as wide as its slot."""
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
    return " ".join(path)


class TimeTick(NamedTuple):
    """A label on the axis of time.  ``place``: percent from the left.  ``anchor``: of the text, as SVG has it."""

    place: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Plot:
    """``drawn``: bars or a path.  ``scale``: the labels of the axis, from the top.  ``times``: of the axis of time.
    ``labels`` and ``values``: of the slots."""

    drawn: Sequence[Bar] | str
    scale: Sequence[str]
    times: Sequence[TimeTick]
    labels: Sequence[str]
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShownStatistics:
    """``links``: to each period.  ``percentiles``: 50, 95 and 99 → seconds, of the newest attempts."""

    period: Period
    links: Sequence[tuple[Period, str]]
    figures: PeriodFigures
    percentiles: Mapping[int, float]
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


def attempt_bars(figures: Sequence[Figures], most: float) -> list[Bar]:
    delivered, failed = [each.delivered for each in figures], [each.failed for each in figures]
    return stacked_bars([Bars("delivered", delivered), Bars("failed", failed)], most)


def sparkline(figures: Sequence[Figures]) -> tuple[str, str]:
    """Draw the bars of delivered and of failed attempts as two paths: a page has many of them."""
    bars = attempt_bars(figures, max((each.attempts for each in figures), default=0) or 1)
    drawn = [
        "".join(
            f"M{bar.x:.0f} {bar.y + bar.height:.0f}v-{bar.height:.0f}h{bar.width:.0f}v{bar.height:.0f}z"
            for bar in bars
            if bar.series == number
        )
        for number in (0, 1)
    ]
    return drawn[0], drawn[1]


async def statistics(
    page: Page, *path: str, endpoint_id: str | None = None, source: str | None = None
) -> ShownStatistics:
    """Return the statistics of the period that the query names, by default the last day.  ``path``: of the page."""
    asked, language = page.query("period"), page.language
    period = Period(asked) if asked in tuple(Period) else Period.DAY
    figures = await page.admin.statistics.figures(period, language.zone, endpoint_id=endpoint_id, source=source)
    slots, labels = figures.slots, [_label(language, period, start) for start in figures.starts]
    times = time_ticks(language, period, figures.starts)
    counts = ticks([each.attempts for each in slots], whole=True)
    averages = [each.average for each in slots]
    seconds = ticks([each for each in averages if each is not None], spans=True)
    return ShownStatistics(
        period,
        [(each, page.link(*path, period=each.value)) for each in Period],
        figures,
        await page.admin.statistics.percentiles(endpoint_id) if source is None else {},
        labels,
        sent=Plot(
            attempt_bars(slots, counts[-1]),
            [language.number(each) for each in reversed(counts)],
            times,
            labels,
            [_counted(language, each) for each in slots],
        ),
        success=Plot(
            plot_line([each.success for each in slots], 1.0),
            [language.percent(part / 4) for part in range(4, -1, -1)],
            times,
            labels,
            [_known(language, language.percent, each.success) for each in slots],
        ),
        answer=Plot(
            plot_line(averages, seconds[-1]),
            [language.span(each) if each else "0" for each in reversed(seconds)],
            times,
            labels,
            [_known(language, language.span, each) for each in averages],
        ),
    )


def _top(figures: Mapping[str, Figures]) -> dict[str, Figures]:
    """Return those with the most attempts, which a table shows; the most first."""
    return {name: figures[name] for name in nlargest(TOP, figures, key=lambda each: figures[each].attempts)}


def _label(language: Language, period: Period, start: datetime) -> str:
    if period in (Period.HOUR, Period.DAY):
        return language.clock(start)
    return f"{language.day(start)}, {language.clock(start)}"


def time_ticks(language: Language, period: Period, starts: Sequence[datetime]) -> list[TimeTick]:
    """Return the labels at round times: quarters of the hour, quarters of the day, days, or Mondays."""
    found = []
    for number, start in enumerate(starts):
        local = start.astimezone(language.zone)
        midnight = local.hour == local.minute == 0
        if {
            Period.HOUR: local.minute % 15 == 0,
            Period.DAY: local.hour % 6 == 0,
            Period.WEEK: midnight,
            Period.MONTH: midnight and local.weekday() == 0,
        }[period]:
            place = 100 * number / len(starts)
            anchor = "start" if place < _EDGE else "end" if place > 100 - _EDGE else "middle"
            label = language.clock(start) if period in (Period.HOUR, Period.DAY) else language.day(start)
            found.append(TimeTick(place, label, anchor))
    return found


def _counted(language: Language, figures: Figures) -> str:
    delivered, failed = language.number(figures.delivered), language.number(figures.failed)
    return language.text("%(delivered)s delivered, %(failed)s failed", delivered=delivered, failed=failed)


def _known(language: Language, written: Callable[[float], str], value: float | None) -> str:
    return language.text("no attempts") if value is None else written(value)


def lag_plots(page: Page, lags: Mapping[str, Sequence[float | None]]) -> dict[str, Plot]:
    """Plot the lag of sources in the last hour, by name, on one scale.  ``lags``: a value for each minute."""
    language, now = page.language, page.site.clock.now()
    number = max(map(len, lags.values()), default=0)
    starts = [now - timedelta(minutes=ago) for ago in range(number - 1, -1, -1)]
    labels, times = [language.clock(each) for each in starts], time_ticks(language, Period.HOUR, starts)
    scale = ticks([seconds for each in lags.values() for seconds in each if seconds is not None], spans=True)
    written = [language.span(each) if each else "0" for each in reversed(scale)]
    unknown = language.text("unknown")
    return {
        name: Plot(
            plot_line(each, scale[-1]),
            written,
            times,
            labels,
            [unknown if seconds is None else language.span(seconds) for seconds in each],
        )
        for name, each in lags.items()
    }
