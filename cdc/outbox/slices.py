"""Time-bounded log search: it scans slice by slice until the page is full or the time budget is spent, and returns a
cursor.

No index serves every filter, so a search may have to read much before something fits.  The first slice is short; each
next one is as long as the time left allows, by the time of the one before.  So where an index leaves little to read,
the whole log is scanned in a few steps, and where it does not, the answer comes in time all the same, with the place to
continue from: pages followed to the end give what the listing gives at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

R = TypeVar("R")
T = TypeVar("T")

#: The time budget of page and API: so many events at first, so many seconds in all.
FIRST = 10_000
SECONDS = 0.04
#: A slice is at most so many times as long as the one before: its events may be of another kind.
GROWTH: Final = 8
#: Events of a slice at most.  For a longer one PostgreSQL's planner leaves the narrow index and reads all events.
MOST: Final = 100_000
#: So much of the time left is planned for: the next slice may take longer.
CAUTION: Final = 0.5
#: With so much of the time left it ends: another slice would be hardly worth its statement.
REST: Final = 0.125


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """``monotonic``: seconds by a clock that never jumps.  ``events``: of the first slice, which is scanned however
    long it takes, so that a search always advances."""

    monotonic: Callable[[], float]
    seconds: float = field(default_factory=lambda: SECONDS)
    events: int = field(default_factory=lambda: FIRST)

    def sizes(self) -> Iterator[int]:
        """Yield the number of events of the next slice, asked for when the one before was scanned."""
        size, begun = self.events, self.monotonic()
        before = begun
        while True:
            yield size
            now = self.monotonic()
            took, left = now - before, begun + self.seconds - now
            if left <= self.seconds * REST:
                return
            grown = size * (min(GROWTH, CAUTION * left / took) if took > 0 else GROWTH)
            size = max(1, min(MOST, int(grown)))
            before = now


@dataclass(frozen=True, slots=True)
class LogSlice:
    """The events whose sequence is greater than ``above`` and at most ``upto``."""

    above: int
    upto: int

    @property
    def empty(self) -> bool:
        return self.above >= self.upto

    def has(self, sequence: int) -> bool:
        return self.above < sequence <= self.upto

    def shared(self, first: int | None, last: int | None) -> LogSlice:
        """Return the part between these two sequences, both included; nothing when there are none."""
        if first is None or last is None:
            return LogSlice(self.above, self.above)
        return LogSlice(max(self.above, first - 1), min(self.upto, last))

    def below(self, sequence: int, delivery: int) -> LogSlice:
        """Return the part below a delivery of that event; 0: below all of them."""
        return LogSlice(self.above, min(self.upto, sequence if delivery else sequence - 1))

    def part_after(self, sequence: int, *, oldest_first: bool) -> LogSlice:
        """Return the part after that sequence: the greater ones, or the smaller ones."""
        if oldest_first:
            return LogSlice(max(self.above, sequence), self.upto)
        return LogSlice(self.above, min(self.upto, sequence - 1))


@dataclass(frozen=True, slots=True)
class SearchPage(Generic[R]):
    """One page of a search.  ``further``: where the next page begins, None when there is nothing behind.  ``looked``:
    None, or when the patience ended before the page was full, the sequence that was looked at last."""

    found: list[R]
    further: str | None
    looked: int | None = None


class LogScan(Generic[R]):
    """Iterated over it gives the stretches to look at, until the page is full, the log or the patience ends; what is
    found in each is to be added to ``rows``, in order, at most ``wanted``."""

    def __init__(
        self, whole: LogSlice, limit: int, budget: TimeBudget, *, oldest_first: bool = False, at_once: bool = False
    ) -> None:
        """``limit``: rows of a page.  ``at_once``: there is little to look at; it is one stretch."""
        self.rows: list[R] = []
        self._left = whole
        self._limit = limit
        self._budget = budget
        self._oldest_first = oldest_first
        self._at_once = at_once

    @property
    def missing(self) -> int:
        """Return the rows still wanted: one more than the page has room for, to know whether another page follows."""
        return self._limit + 1 - len(self.rows)

    def __iter__(self) -> Iterator[LogSlice]:
        for size in self._budget.sizes():
            if self.missing <= 0 or self._left.empty:
                return
            yield self._cut(size)

    def _cut(self, size: int) -> LogSlice:
        above, upto = self._left.above, self._left.upto
        if self._at_once:
            size = upto - above
        if self._oldest_first:
            edge = min(above + size, upto)
            cut, self._left = LogSlice(above, edge), LogSlice(edge, upto)
        else:
            edge = max(upto - size, above)
            cut, self._left = LogSlice(edge, upto), LogSlice(above, edge)
        return cut

    def page(self, show: Callable[[R], T], place: Callable[[R], str], edge: Callable[[int], str]) -> SearchPage[T]:
        """Return the page.  ``show``: a row as the page has it; ``place``: the cursor after a row; ``edge``: the cursor
        after a sequence up to which everything was scanned."""
        shown = self.rows[: self._limit]
        found = [show(row) for row in shown]
        if self.missing <= 0:
            return SearchPage(found, place(shown[-1]))
        if self._left.empty:
            return SearchPage(found, None)
        looked = self._left.above if self._oldest_first else self._left.upto + 1
        return SearchPage(found, edge(looked), looked)
