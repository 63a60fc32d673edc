"""How far a search looks: by its patience, and what it says of that."""

from __future__ import annotations

import itertools

import pytest

from cdc.outbox.slices import GROWTH, MOST, LogScan, LogSlice, SearchPage, TimeBudget
from support.manual_clock import ManualClock


def walk_of(clock: ManualClock, limit: int = 2, **kinds: bool) -> LogScan[int]:
    """Over the events 1 to 10,000, at first 10 of them, for a second."""
    return LogScan(LogSlice(0, 10_000), limit, TimeBudget(clock.monotonic, 1.0, 10), **kinds)


def looked_at(walk: LogScan[int], clock: ManualClock, *seconds: float) -> list[LogSlice]:
    """``seconds``: what each stretch takes."""
    stretches = []
    for stretch, took in zip(walk, seconds, strict=False):
        stretches.append(stretch)
        clock.advance(took)
    return stretches


def page_of(walk: LogScan[int]) -> SearchPage[str]:
    return walk.page(str, lambda row: f"row {row}", lambda sequence: f"edge {sequence}")


def test_what_is_looked_at_quickly_is_looked_at_in_few_steps() -> None:
    clock = ManualClock()
    walk = walk_of(clock)
    stretches = looked_at(walk, clock, *[0.0001] * 20)
    sizes = [each.upto - each.above for each in stretches]
    assert sizes[:3] == [10, 10 * GROWTH, 10 * GROWTH**2]
    assert (stretches[0].upto, stretches[-1].above) == (10_000, 0)
    assert all(above.above == below.upto for above, below in itertools.pairwise(stretches))
    assert page_of(walk) == SearchPage([], None)


def test_a_stretch_has_no_more_events_than_a_narrow_index_is_used_for() -> None:
    clock = ManualClock()
    stretches = looked_at(LogScan(LogSlice(0, 10**6), 2, TimeBudget(clock.monotonic, 1.0, 10_000)), clock, *[0] * 20)
    assert [each.upto - each.above for each in stretches] == [10_000, 80_000, *[MOST] * 9, 10_000]


def test_the_next_stretch_is_as_long_as_the_time_left_allows() -> None:
    clock = ManualClock()
    walk = walk_of(clock)
    stretches = looked_at(walk, clock, 0.2, 0.5, 0.4, 0)
    assert [(each.above, each.upto) for each in stretches] == [(9990, 10_000), (9970, 9990), (9964, 9970)]
    assert page_of(walk) == SearchPage([], "edge 9965", 9965)


@pytest.mark.parametrize(("oldest_first", "edge"), [(False, 9991), (True, 10)])
def test_the_first_stretch_is_looked_at_whatever_it_takes(oldest_first: bool, edge: int) -> None:
    clock = ManualClock()
    walk = walk_of(clock, oldest_first=oldest_first)
    (stretch,) = looked_at(walk, clock, 99.0, 99.0)
    walk.rows += [7]
    assert stretch == (LogSlice(0, 10) if oldest_first else LogSlice(9990, 10_000))
    assert page_of(walk) == SearchPage(["7"], f"edge {edge}", edge)


def test_a_full_page_ends_it() -> None:
    clock = ManualClock()
    walk = walk_of(clock)
    steps = iter(walk)
    next(steps)
    assert walk.missing == 3  # a page, and whether there is another one
    walk.rows += [9999, 9998, 9997]
    assert next(steps, None) is None
    assert page_of(walk) == SearchPage(["9999", "9998"], "row 9998")


def test_what_is_little_is_looked_at_at_once() -> None:
    clock = ManualClock()
    walk = walk_of(clock, at_once=True)
    assert looked_at(walk, clock, 99.0, 0.0) == [LogSlice(0, 10_000)]
    assert page_of(walk) == SearchPage([], None)


def test_an_empty_log_is_not_looked_at() -> None:
    walk: LogScan[int] = LogScan(LogSlice(0, 0), 2, TimeBudget(ManualClock().monotonic))
    assert list(walk) == []
    assert page_of(walk) == SearchPage([], None)


def test_what_is_left_behind_a_sequence() -> None:
    whole = LogSlice(3, 9)
    assert [whole.part_after(n, oldest_first=False) for n in (6, 99)] == [LogSlice(3, 5), LogSlice(3, 9)]
    assert [whole.part_after(n, oldest_first=True) for n in (6, 0)] == [LogSlice(6, 9), LogSlice(3, 9)]
    assert [whole.below(6, number) for number in (0, 1)] == [LogSlice(3, 5), LogSlice(3, 6)]
    assert [whole.shared(*each) for each in ((1, 6), (5, 99))] == [LogSlice(3, 6), LogSlice(4, 9)]
    assert whole.shared(None, None).empty
    assert whole.part_after(4, oldest_first=False).empty
    assert whole.part_after(9, oldest_first=True).empty
