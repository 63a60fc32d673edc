"""Plots as SVG paths, which the templates draw.  Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

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


def top(values: Sequence[float]) -> float:
    """A round number that is no less than the greatest value; 1 when all are 0, or as good as."""
    most = max(values, default=0.0)
    if most < sys.float_info.min:
        return 1.0
    size = 10.0 ** len(str(int(most))) / 10 if most >= 1 else 0.1
    while size > most:
        size /= 10
    return next(step * size for size in (size, size * 10) for step in _STEPS if step * size >= most)


def stacked(series: Sequence[Bars]) -> tuple[list[Bar], float]:
    """The bars, and the value at the top of the plot."""
    slots = max((len(each.values) for each in series), default=0)
    totals = [sum(each.values[slot] for each in series) for slot in range(slots)]
    most = top(totals)
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


def line(values: Sequence[float | None], most: float = 0.0) -> tuple[str, float]:
    """Return the path of a line through the middles of the slots, with gaps where there is no value, and the value at
    the top of the plot: ``most``, or without it a round number above all.  A lone value is as wide as its slot."""
    most = most or top([value for value in values if value is not None])
    step = WIDTH / max(len(values), 1)
    path, before = [], None
    for place, (value, after) in enumerate(zip(values, [*values[1:], None], strict=True)):
        if value is not None:
            lone = before is None and after is None
            x = (place if lone else place + 0.5) * step
            path.append(f"{'M' if before is None else 'L'}{x:.1f} {_y(value, most):.1f}")
            if lone:
                path.append(f"h{step:.1f}")
        before = value
    return " ".join(path), most


def _y(value: float, most: float) -> float:
    return HEIGHT - value / most * HEIGHT
