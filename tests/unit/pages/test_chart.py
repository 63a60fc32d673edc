"""Plots: nothing is drawn outside, heights are in proportion, gaps are gaps."""

from __future__ import annotations

import re
import sys

from hypothesis import given
from hypothesis import strategies as st

from cdc.pages.views.statistics import HEIGHT, WIDTH, Bars, plot_line, plot_top, stacked_bars

counts = st.integers(0, 10**9)


@given(st.lists(st.one_of(counts, st.floats(0, 1e9)), max_size=30))
def test_the_top_is_a_round_number_above_all(values: list[float]) -> None:
    most = plot_top(values)
    assert most >= max(values, default=0.0)
    assert most > 0
    assert re.fullmatch(r"[125]", f"{most:e}"[0])
    assert most <= 10 * max(values, default=0.0) or max(values, default=0.0) < sys.float_info.min


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=60))
def test_bars_stand_on_each_other_within_the_plot(slots: list[tuple[int, int]]) -> None:
    bars, most = stacked_bars([Bars("a", [a for a, _ in slots]), Bars("b", [b for _, b in slots])])
    for bar in bars:
        assert 0 <= bar.x < WIDTH
        assert bar.x + bar.width <= WIDTH + 0.01
        assert bar.height >= 3
        assert bar.y + bar.height <= HEIGHT + 0.01
        assert bar.y >= -3 - 0.01  # a bar that would not be seen is higher than in proportion
    assert len(bars) == sum((a > 0) + (b > 0) for a, b in slots)
    assert most == plot_top([a + b for a, b in slots])


def test_a_line_breaks_where_there_is_no_value() -> None:
    path, most = plot_line([1.0, 2.0, None, 4.0])
    assert most == 5.0
    assert path == "M75.0 96.0 L225.0 72.0 M450.0 24.0 h150.0"


def test_a_line_may_be_told_its_top() -> None:
    assert plot_line([0.5, 1.0], most=1.0) == ("M150.0 60.0 L450.0 0.0", 1.0)


def test_nothing_is_a_plot_as_well() -> None:
    assert stacked_bars([Bars("a", [0, 0])]) == ([], 1.0)
    assert plot_line([None, None]) == ("", 1.0)
