"""The days of rules by time: when each begins, and how far a rule is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from cdc.model.change import BackfillStep, DueDay
from cdc.model.due import CATCH_UP, Progress, Schedule, condition, days_since, progress, state_after

MADRID = ZoneInfo("Europe/Madrid")
TODAY = date(2026, 11, 29)
DUE = DueDay("receipt.due", "vencimiento", (-7, 0), TODAY)


def _state(day: date, after: int | None = None, *, finished: bool = True) -> dict[str, str]:
    key = None if after is None else {"idrecibo": after}
    return state_after(BackfillStep("due/…", 1, key, finished, DUE._replace(day=day)))


@pytest.mark.parametrize("at", [time(0), time(2), time(2, 30), time(3), time(6), time(23, 59)])
@pytest.mark.parametrize("zone", ["Europe/Madrid", "America/Havana", "UTC", "Pacific/Chatham"])
def test_each_day_begins_once_in_a_year_with_its_changes_of_the_clocks(at: time, zone: str) -> None:
    schedule = Schedule((), at, ZoneInfo(zone))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    today = schedule.today(now)
    while now.year == 2026:
        following = schedule.next(now)
        assert timedelta(hours=22) < following - now <= timedelta(hours=26) or today == schedule.today(now)
        assert schedule.today(following - timedelta(microseconds=1)) == today
        assert schedule.today(following) == today + timedelta(days=1)
        now, today = following, today + timedelta(days=1)


@pytest.mark.parametrize(
    ("at", "day", "begins"),
    [
        (time(6), date(2026, 3, 28), datetime(2026, 3, 28, 5, tzinfo=UTC)),
        (time(6), date(2026, 3, 29), datetime(2026, 3, 29, 4, tzinfo=UTC)),
        (time(2, 30), date(2026, 3, 29), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # an hour that there is not
        (time(2, 30), date(2026, 10, 25), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the first of two
        (time(6), date(2026, 10, 25), datetime(2026, 10, 25, 5, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_the_hour_of_the_zone(at: time, day: date, begins: datetime) -> None:
    schedule = Schedule((), at, MADRID)
    assert schedule.today(begins) == day
    assert schedule.next(begins - timedelta(seconds=1)) == begins


def test_the_date_of_the_zone_counts_and_not_that_of_utc() -> None:
    schedule = Schedule((), time(0, 30), MADRID)
    assert schedule.today(datetime(2026, 11, 28, 23, 45, tzinfo=UTC)) == TODAY


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, Progress(TODAY, None)),
        (_state(TODAY), Progress(TODAY + timedelta(days=1), None)),
        (_state(TODAY, 5, finished=False), Progress(TODAY, {"idrecibo": 5})),
        (_state(date(2026, 11, 27)), Progress(date(2026, 11, 28), None)),
        (_state(date(2026, 11, 27), 5, finished=False), Progress(date(2026, 11, 27), {"idrecibo": 5})),
        (_state(date(2026, 11, 22)), Progress(date(2026, 11, 23), None)),
        (_state(date(2026, 11, 20)), Progress(date(2026, 11, 23), None, 2)),
        (_state(date(2026, 11, 20), 5, finished=False), Progress(date(2026, 11, 23), None, 3)),
        (_state(date(2027, 11, 29)), Progress(TODAY, None)),  # the clock was a year ahead
    ],
)
def test_a_rule_catches_up_for_a_week(states: dict[str, str], expected: Progress) -> None:
    assert CATCH_UP == 7
    assert progress(states, "receipt.due", TODAY)._replace(done=None) == expected


def test_rows_are_those_of_the_dates_that_the_days_name() -> None:
    assert condition(DUE, lambda name: f"<{name}>") == (
        "(t.<vencimiento> >= '2026-12-06' AND t.<vencimiento> < '2026-12-07') OR "
        "(t.<vencimiento> >= '2026-11-29' AND t.<vencimiento> < '2026-11-30')"
    )
    found = {value: days_since(DUE, {"vencimiento": value}) for value in ("2026-12-06", "2026-11-29T23:59:59")}
    assert found == {"2026-12-06": -7, "2026-11-29T23:59:59": 0}
    for other in ("2026-12-05", None, "", "mañana", 7):
        assert days_since(DUE, {"vencimiento": other}) is None
    assert days_since(DUE, {}) is None
