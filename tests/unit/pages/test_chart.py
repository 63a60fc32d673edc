"""Plots: nothing is drawn outside, heights are in proportion, gaps are gaps; axes have round values and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.admin.deliveries import Period, slot_edges
from cdc.pages.language import language
from cdc.pages.views.statistics import HEIGHT, WIDTH, Bars, plot_line, stacked_bars, ticks, time_ticks

counts = st.integers(0, 10**9)


@given(st.lists(st.one_of(counts, st.floats(1e-6, 1e9)), max_size=30), st.booleans())
def test_an_axis_has_few_round_steps_and_ends_above_all(values: list[float], whole: bool) -> None:
    axis = ticks(values, whole=whole)
    most, step = max(values, default=0.0), axis[1]
    assert axis[0] == 0
    assert most <= axis[-1] * (1 + 1e-9)
    assert len(axis) <= 7
    assert most > axis[-2] or most == 0
    assert re.fullmatch(r"[125]", f"{step:e}"[0])
    assert not whole or step >= 1


@pytest.mark.parametrize(
    ("longest", "step", "top"), [(119, 50, 150), (130, 60, 180), (7_300, 1_800, 9_000), (4e6, 864_000, 4_320_000)]
)
def test_an_axis_of_long_spans_has_whole_minutes_hours_and_days(longest: float, step: float, top: float) -> None:
    axis = ticks([longest], spans=True)
    assert (axis[1], axis[-1]) == (step, top)


@pytest.mark.parametrize(
    ("period", "labels"),
    [
        ("hour", ["20:00", "20:15", "20:30", "20:45"]),
        ("day", ["0:00", "6:00", "12:00", "18:00"]),
        ("week", [f"{day} nov" for day in range(19, 26)]),
        ("month", ["2 nov", "9 nov", "16 nov", "23 nov"]),
    ],
)
def test_an_axis_of_time_has_round_times_at_their_place(period: str, labels: list[str]) -> None:
    now, zone = datetime(2026, 11, 25, 19, 50, 30, tzinfo=UTC), ZoneInfo("Europe/Madrid")
    starts = slot_edges(Period(period), now, zone)[:-1]
    shown = time_ticks(language("es", zone), Period(period), starts)
    assert [each.label for each in shown] == labels
    assert all(0 <= each.place < 100 for each in shown)
    assert [each.place for each in shown] == sorted(each.place for each in shown)


@given(st.lists(st.tuples(counts, counts), min_size=1, max_size=60))
def test_bars_stand_on_each_other_within_the_plot(slots: list[tuple[int, int]]) -> None:
    bars = stacked_bars(
        [Bars("a", [a for a, _ in slots]), Bars("b", [b for _, b in slots])], ticks([a + b for a, b in slots])[-1]
    )
    for bar in bars:
        assert 0 <= bar.x < WIDTH
        assert bar.x + bar.width <= WIDTH + 0.01
        assert bar.height >= 3
        assert bar.y + bar.height <= HEIGHT + 0.01
        assert bar.y >= -3 - 0.01  # a bar that would not be seen is higher than in proportion
    assert len(bars) == sum((a > 0) + (b > 0) for a, b in slots)


def test_a_line_breaks_where_there_is_no_value() -> None:
    assert plot_line([1.0, 2.0, None, 4.0], 5.0) == "M75.0 96.0 L225.0 72.0 M450.0 24.0 h150.0"


def test_nothing_is_a_plot_as_well() -> None:
    assert stacked_bars([Bars("a", [0, 0])], ticks([])[-1]) == []
    assert plot_line([None, None], 1.0) == ""
