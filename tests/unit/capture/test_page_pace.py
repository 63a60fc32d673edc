"""How large pages are, and how long a backfill rests between them."""

from __future__ import annotations

import pytest

from cdc.capture.pages import GENTLE_REST, GENTLE_SECONDS, SEARCHED_REST, PagePace
from support.manual_clock import ManualClock


class Reading:
    """Pages that the server takes so many seconds a row to read."""

    def __init__(self, rows: int = 1000) -> None:
        self.clock = ManualClock()
        self.pace = PagePace(rows, self.clock)

    def page(self, seconds_a_row: float, most: int = 1_000_000) -> int:
        """The rows of the next one."""
        rows = min(self.pace.rows(), most)
        began = self.pace.begin()
        self.clock.advance(rows * seconds_a_row)
        self.pace.read(began, rows, rows)
        return rows


def test_a_page_takes_the_server_a_tenth_of_a_second() -> None:
    reading = Reading()
    assert [reading.page(0.0004) for _ in range(4)] == pytest.approx([1000, 500, 250, 250], rel=0.01)
    assert [reading.page(0.00001) for _ in range(5)] == pytest.approx([250, 500, 1000, 2000, 2000], rel=0.01)
    assert [reading.page(1.0) for _ in range(6)][-1] == 100


def test_a_page_that_was_made_small_says_nothing_unless_it_took_long() -> None:
    reading = Reading()
    assert reading.page(0.00001, most=10) == 10
    assert reading.pace.rows() == 1000
    assert reading.page(0.1, most=10) == 10
    assert reading.pace.rows() == 500


def test_while_the_erp_writes_pages_are_small_and_rests_long() -> None:
    reading = Reading()
    reading.pace.changed()
    assert [reading.page(0.0001) for _ in range(2)] == [50, 50]
    assert [reading.page(0.001) for _ in range(4)] == [50, 25, 12, 10]
    began = reading.pace.begin()
    reading.clock.advance(0.1)
    reading.pace.read(began, 10, 10)
    assert reading.pace.rests()
    assert reading.pace.rest == pytest.approx(0.1 * GENTLE_REST)
    reading.clock.advance(0.1 * GENTLE_REST)
    assert not reading.pace.rests()


def test_a_searched_page_is_followed_by_a_longer_rest() -> None:
    reading = Reading()
    reading.pace.changed()
    began = reading.pace.begin()
    reading.clock.advance(0.002)
    reading.pace.read(began, 1000, 1000, searched=True)
    assert reading.pace.rests()
    assert reading.pace.rest == pytest.approx(0.002 * SEARCHED_REST)


def test_a_while_after_the_last_write_it_does_not_rest() -> None:
    reading = Reading()
    reading.pace.changed()
    reading.clock.advance(GENTLE_SECONDS)
    assert not reading.pace.gentle
    assert reading.page(0.0001) == 1000
    assert not reading.pace.rests()


def test_waiting_for_its_place_in_the_stream_is_no_work() -> None:
    reading = Reading()
    reading.pace.changed()
    assert reading.page(0.0001) == 50
    reading.clock.advance(3)
    reading.pace.emitted()
    reading.clock.advance(0.002)
    assert reading.pace.rests()
    assert reading.pace.rest == pytest.approx((50 * 0.0001 + 0.002) * GENTLE_REST)


def test_a_rest_ends_when_the_erp_has_been_quiet_for_a_while() -> None:
    reading = Reading()
    reading.pace.changed()
    reading.page(0.02)  # a second in all
    assert reading.pace.rests()
    reading.clock.advance(GENTLE_SECONDS - 1)
    assert not reading.pace.rests()
    assert reading.pace.rest == 0
