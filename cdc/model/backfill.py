"""Rows that are read beside a source's changes: backfills, emitted as ``<entity>.existing`` events, and events by time:
records whose date is so many days ahead or ago.  Pure.

A day of a rule begins at an hour of FacturaScripts' time zone.  The finished days are a ledger, one of the small states
that the outbox stores with the events.  Nothing else decides what to read: no timer, and not when a day was read.

Invariants, however the clock is set and the process restarted:

1. After a rule has nothing to read at a time of the day T, each of the days T - 6 … T since the rule's first one is in
   the ledger, and no later one: a day is read once it has begun, the oldest first, and none is passed over.
2. A finished day that is later than today was read under a clock that was ahead (or the clock is back now).  It is
   struck from the ledger when it is seen, and read again when it comes: for records that came since.
3. A day that is in the ledger is not read again.
4. An event's id comes from rule, day and record.  What was sent too early is not stored again when its day comes, for
   as long as the outbox remembers the id (`[retention] days`); after that it comes again with the same id.

A consumer that does not run between the correction of its clock and the day that it read too early cannot know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import orjson

from cdc.model.audit import Note
from cdc.model.change import BackfillStep, DueDay, Existing, Row

#: The last part of the names of these events.
EXISTING: Final = "existing"


def backfill_token(existing: Existing) -> str:
    """Return the transaction token of its events."""
    return f"backfill/{existing.job}" if existing.due is None else existing.job


class BackfillState(StrEnum):
    """``RUNNING`` and ``PAUSED`` until it is one of the others, also while no process captures its source."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in (BackfillState.RUNNING, BackfillState.PAUSED)


#: What is done to one → the state that it has then, and the entry in the audit log.
ACTIONS: Final[Mapping[str, tuple[BackfillState, str]]] = {
    "pause": (BackfillState.PAUSED, "backfill.pause"),
    "resume": (BackfillState.RUNNING, "backfill.resume"),
    "cancel": (BackfillState.CANCELLED, "backfill.cancel"),
}


class Asked(NamedTuple):
    """Backfills of one source, one for each table.  ``tables``: none means all that give events.  The others as of
    `Backfill`."""

    tables: Sequence[str]
    where: str = ""
    endpoint: str = ""
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill of one table of one source.  ``actor``: who started it, as in the audit log.  ``where``: a condition
    in the database's SQL; empty: all rows.  ``endpoint``: the id of the only one that gets them; empty: all that name
    such events.  ``rate``: rows a second, 0 for any.  ``estimate``: how many rows there were, about; None: not known.

    ``rows`` are stored as events so far, up to the primary key ``after``; it continues after that.  ``error``: why it
    failed.  ``due``: it is no backfill, but reads what this says, and is stored nowhere.
    """

    id: str
    source: str
    table: str
    actor: str
    created_at: datetime
    where: str = ""
    endpoint: str = ""
    rate: float = 0.0
    estimate: int | None = None
    state: BackfillState = BackfillState.RUNNING
    rows: int = 0
    after: Row | None = None
    finished_at: datetime | None = None
    error: str = ""
    due: DueDay | None = None


class Planned(NamedTuple):
    """One that is not kept yet, and the ids of the endpoints that would get its events."""

    backfill: Backfill
    receivers: Sequence[str]


def seconds_left(backfill: Backfill, speed: float | None) -> float | None:
    """Return the seconds left at ``speed`` rows a second; None when speed or estimate is not known."""
    if not speed or backfill.estimate is None:
        return None
    return max(backfill.estimate - backfill.rows, 0) / speed


class BackfillStore(Protocol):
    """The part of the outbox that stores backfills."""

    async def add_backfill(self, backfill: Backfill, note: Note = (), *, rereads: str = "") -> None:
        """Store a backfill, which continues while its source is captured.  ``rereads``: the id of the skipped change
        whose row it reads again, which is noted there."""
        ...

    async def backfills(self, limit: int, before: str | None = None) -> list[Backfill]:
        """Newest first.  ``before``: the last id of the page before; nothing when there is no such backfill."""
        ...

    async def find_backfill(self, backfill_id: str) -> Backfill | None: ...

    async def next_backfill(self, source: str) -> Backfill | None:
        """The oldest of a source that runs."""
        ...

    async def backfilled_sources(self) -> Collection[str]:
        """Return the sources of which a backfill runs."""
        ...

    async def set_backfill(
        self, backfill_id: str, state: BackfillState, error: str, now: datetime, note: Note = ()
    ) -> Backfill:
        """Pause, resume or end a backfill; return it.  One that has ended stays as it is.  Raises `NotFound`."""
        ...


_DAY: Final = timedelta(days=1)
#: Days that are worked through after a time without a consumer, today included.
CATCH_UP: Final = 7
#: Ranges of finished days that are stored: there is one more after each time without a consumer that was too long.
_RANGES: Final = 8
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

    def nothing_on(self, day: date) -> DueDay:
        """Return what reads no record: storing it strikes days later than ``day`` from the ledger."""
        return DueDay(self.event, self.column, (), day)


def condition(due: DueDay, quote: Callable[[str], str]) -> str:
    """Return the SQL condition of the rows, whether the column has days or moments."""
    if not due.days:
        return "1 = 0"
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


class DueLedger(NamedTuple):
    """``finished``: ranges of days, first and last, in order.  ``begun``: the day that is read as far as the key
    ``after``."""

    finished: tuple[tuple[date, date], ...]
    begun: date | None = None
    after: Row | None = None

    @property
    def first(self) -> date | None:
        return self.finished[0][0] if self.finished else self.begun

    @property
    def last(self) -> date | None:
        """The latest day that is finished or begun."""
        last = self.finished[-1][1] if self.finished else None
        return max((day for day in (last, self.begun) if day is not None), default=None)

    def until(self, day: date) -> DueLedger:
        """Return the ledger without later days."""
        finished = tuple((first, min(last, day)) for first, last in self.finished if first <= day)
        return DueLedger(finished, self.begun, self.after) if self.begun and self.begun <= day else DueLedger(finished)

    def holds(self, day: date) -> bool:
        return any(first <= day <= last for first, last in self.finished)

    def with_day(self, day: date) -> DueLedger:
        """Return the ledger with a finished day, which is later than all others."""
        if self.finished and self.finished[-1][1] == day - _DAY:
            return DueLedger((*self.finished[:-1], (self.finished[-1][0], day)))
        return DueLedger((*self.finished, (day, day))[-_RANGES:])


def ledger_of(states: Mapping[str, str], event: str) -> DueLedger:
    text = states.get(state_name(event))
    if text is None:
        return DueLedger(())
    state = orjson.loads(text)
    if "day" in state:  # of before there was a ledger: the last day, finished or not
        day = date.fromisoformat(state["day"])
        last = day if state["done"] else day - _DAY
        return DueLedger(((last, last),), None if state["done"] else day, state["after"])
    finished = tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in state["finished"])
    return DueLedger(finished, date.fromisoformat(state["begun"]) if state["begun"] else None, state["after"])


class Progress(NamedTuple):
    """``day``: the one to read, from the key ``after``; a day after today: all are finished.  ``skipped``: days before
    it that are too long ago.  ``done``: the last finished day.  ``early``: the latest day in the ledger where that is
    after today."""

    day: date
    after: Row | None
    skipped: int = 0
    done: date | None = None
    early: date | None = None


def progress(states: Mapping[str, str], event: str, today: date) -> Progress:
    """Return how far a rule is; a rule without a day in the ledger begins today."""
    ledger = ledger_of(states, event)
    early = ledger.last if ledger.last is not None and ledger.last > today else None
    ledger = ledger.until(today)
    done = ledger.finished[-1][1] if ledger.finished else None
    if ledger.first is None:
        return Progress(today, None, early=early)
    oldest = today - (CATCH_UP - 1) * _DAY
    day = max(oldest, ledger.first)
    while ledger.holds(day):
        day += _DAY
    before = max((last for _, last in ledger.finished if last < day), default=ledger.first - _DAY)
    skipped = max(0, (oldest - before).days - 1) if day == oldest else 0
    return Progress(day, ledger.after if day == ledger.begun else None, skipped, done, early)


def state_after(step: BackfillStep, states: Mapping[str, str]) -> dict[str, str]:
    """Return the state to store with a page; none where it is not of a rule by time.  ``states``: those before it.

    Days later than that of the page leave the ledger: the oldest unfinished one is always read first."""
    due = step.due
    if due is None:
        return {}
    if not due.days:  # only to strike what is later
        ledger = ledger_of(states, due.event).until(due.day)
    else:
        ledger = ledger_of(states, due.event).until(due.day - _DAY)._replace(begun=due.day, after=step.after)
        if step.finished:
            ledger = ledger.with_day(due.day)
    state = {"finished": ledger.finished, "begun": ledger.begun, "after": ledger.after}
    return {state_name(due.event): orjson.dumps(state).decode()}
