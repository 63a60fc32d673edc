"""Events by time: records whose date is so many days ahead or ago.  Pure.

A rule is worked through once a day, at an hour of FacturaScripts' time zone.  How far it is, is one of the small states
that the outbox stores with the events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

import orjson

from cdc.model.change import BackfillStep, DueDay, Row

_DAY: Final = timedelta(days=1)
#: Days that are worked through after a time without a consumer, today included.
CATCH_UP: Final = 7
#: Why they are off for a source.
NOT_BY_API: Final = "Events by time are read from the database, which capture through the API does not."


class DailyRule(NamedTuple):
    """``days``: numbers of days since the date in ``column``; negative: before it."""

    event: str
    table: str
    column: str
    days: tuple[int, ...]

    def on(self, day: date) -> DueDay:
        return DueDay(self.event, self.column, self.days, day)


def condition(due: DueDay, quote: Callable[[str], str]) -> str:
    """Return the SQL condition of the rows, whether the column has days or moments."""
    column = f"t.{quote(due.column)}"
    dates = [due.day - timedelta(days=each) for each in due.days]
    return " OR ".join(f"({column} >= '{each}' AND {column} < '{each + _DAY}')" for each in dates)


def days_since(due: DueDay, row: Row) -> int | None:
    """Return how many days ago the date of the row is; None where the rule does not name that number."""
    value = row.get(due.column)
    try:
        days = (due.day - date.fromisoformat(str(value)[:10])).days
    except ValueError:  # null, or no date
        return None
    return days if days in due.days else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The days of ``rules`` begin at ``at`` in ``zone``."""

    rules: tuple[DailyRule, ...]
    at: time
    zone: tzinfo

    def today(self, now: datetime) -> date:
        """Return the day whose hour has come last."""
        day = now.astimezone(self.zone).date()
        return day if self._begin(day) <= now else day - _DAY

    def next(self, now: datetime) -> datetime:
        """Return when the next day begins."""
        return self._begin(self.today(now) + _DAY)

    def _begin(self, day: date) -> datetime:
        """In UTC.  An hour that a change of the clocks skips is the moment after it; of two, the first."""
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)


def state_name(event: str) -> str:
    return f"due:{event}"


class Progress(NamedTuple):
    """``day``: the one to work through, behind the key ``after``.  ``skipped``: days before it that are too long ago.
    ``done``: the last day that is complete; None: unknown."""

    day: date
    after: Row | None
    skipped: int = 0
    done: date | None = None


def progress(states: Mapping[str, str], event: str, today: date) -> Progress:
    """Return how far a rule is; a rule without a state begins today."""
    text = states.get(state_name(event))
    if text is None:
        return Progress(today, None)
    state = orjson.loads(text)
    day = date.fromisoformat(state["day"])
    if day > today + _DAY:  # the clock was ahead; the ids are the same
        return Progress(today, None)
    after, done = (None, day) if state["done"] else (state["after"], day - _DAY)
    oldest, first = today - (CATCH_UP - 1) * _DAY, done + _DAY
    if first < oldest:
        return Progress(oldest, None, (oldest - first).days, done)
    return Progress(first, after, 0, done)


def state_after(step: BackfillStep) -> dict[str, str]:
    """Return the state to store with a page; none where it is not of a rule by time."""
    if step.due is None:
        return {}
    state = {"day": step.due.day.isoformat(), "done": step.finished, "after": step.after}
    return {state_name(step.due.event): orjson.dumps(state).decode()}
