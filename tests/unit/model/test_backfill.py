"""The days of rules by time: when each begins, and how far a rule is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.model.backfill import (
    CATCH_UP,
    Asked,
    Backfill,
    DueLedger,
    Progress,
    Schedule,
    condition,
    days_since,
    ledger_of,
    progress,
    seconds_left,
    state_after,
)
from cdc.model.change import BackfillStep, DueDay

MADRID = ZoneInfo("Europe/Madrid")
TODAY = date(2026, 11, 29)
DUE = DueDay("receipt.due", "vencimiento", (-7, 0), TODAY)


def _state(day: date, after: int | None = None, *, finished: bool = True) -> dict[str, str]:
    key = None if after is None else {"idrecibo": after}
    return state_after(BackfillStep("due/…", 1, key, finished, DUE._replace(day=day)), {})


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
        (_state(date(2027, 11, 29)), Progress(TODAY, None, early=date(2027, 11, 29))),
        (_state(date(2026, 11, 30), 5, finished=False), Progress(TODAY, None, early=date(2026, 11, 30))),
        ({"due:receipt.due": '{"day":"2026-11-27","done":true,"after":null}'}, Progress(date(2026, 11, 28), None)),
        ({"due:receipt.due": '{"day":"2026-11-27","done":false,"after":5}'}, Progress(date(2026, 11, 27), 5)),
    ],
)
def test_a_rule_catches_up_for_a_week(states: dict[str, str], expected: Progress) -> None:
    assert CATCH_UP == 7
    assert progress(states, "receipt.due", TODAY)._replace(done=None) == expected


#: How many days the clock moves, and how many pages are stored before the process dies.
CLOCKS = st.lists(st.tuples(st.integers(-12, 25), st.none() | st.integers(0, 9)), max_size=20)


@given(CLOCKS, st.booleans())
def test_each_day_is_read_once_it_has_begun_whatever_the_clock_shows(
    clocks: list[tuple[int, int | None]], forward: bool
) -> None:
    states: dict[str, str] = {}
    valid: set[date] = set()  # read since they have begun, as the clock says
    today, read = TODAY, list[date]()
    for move, dies in [(0, None), *clocks]:
        today += timedelta(days=abs(move) if forward else move)
        valid = {day for day in valid if day <= today}
        for page in range(50):
            found = progress(states, "receipt.due", today)
            if found.early is None and found.day > today:
                break
            early = found.early is not None
            due = DUE._replace(days=() if early else DUE.days, day=today if early else found.day)
            finished = page != dies
            assert not ledger_of(states, "receipt.due").until(today).holds(due.day) or early
            states |= state_after(BackfillStep("due/…", 1, {"idrecibo": 1}, finished, due), states)
            if not finished:
                break
            if not early:
                read.append(due.day)
                valid = {day for day in valid if day < due.day} | {due.day}
        else:
            pytest.fail("There is no end of days.")
        ledger = ledger_of(states, "receipt.due")
        if found.early is None and found.day > today:
            assert ledger.first is not None
            assert ledger.last is not None
            assert ledger.last <= today
            week = {today - timedelta(days=each) for each in range(CATCH_UP)}
            assert {day for day in week if day >= ledger.first} <= valid
    assert not forward or len(read) == len(set(read))


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


def test_ledger_extends_its_last_range_and_stores_the_newest() -> None:
    ledger = DueLedger(())
    days = [TODAY + timedelta(days=number) for number in (0, 1, 5, 6, 9, 10)]
    for day in days:
        ledger = ledger.with_day(day)
    assert ledger.finished == ((days[0], days[1]), (days[2], days[3]), (days[4], days[5]))
    assert (ledger.first, ledger.last) == (days[0], days[5])
    for number in range(20, 40, 2):
        ledger = ledger.with_day(TODAY + timedelta(days=number))
    assert ledger.finished == tuple((TODAY + timedelta(days=number),) * 2 for number in range(24, 40, 2))


@pytest.mark.parametrize(
    ("estimate", "rows", "speed", "seconds"),
    [(100, 40, 2.0, 30.0), (100, 200, 2.0, 0.0), (None, 40, 2.0, None), (100, 40, None, None), (100, 40, 0.0, None)],
)
def test_seconds_left_follow_from_estimate_and_speed(
    estimate: int | None, rows: int, speed: float | None, seconds: float | None
) -> None:
    made = Backfill("b", "main", "t", "ana", datetime(2026, 11, 29, tzinfo=UTC), estimate=estimate, rows=rows)
    assert seconds_left(made, speed) == seconds
    assert (made.rate, Asked(()).rate) == (0.0, 0.0), "without a limit"
