"""Maintenance of the installation while a source is read: new tables that the rules need are captured where that is
allowed, and triggers are repaired."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from cdc.model.clock import Backoff, Clock
from cdc.model.column import Capture
from cdc.model.errors import CdcError
from cdc.model.finding import Repaired

#: Return those of these tables that the rules need, by name or by pattern.
Matching = Callable[[Collection[str]], Sequence[Capture]]
#: Capture these tables beside those that are installed, and note that their rows are to be read, since some may be
#: older; the steps that this took, in words.  Raises a `CdcError` when it may not or cannot.
Extend = Callable[[Sequence[Capture]], Awaitable[Sequence[str]]]

log = structlog.get_logger()

#: Triggers are created once the tables have not changed for this long.  FacturaScripts creates and alters tables one
#: after the other; while a trigger of a table is created, MariaDB refuses to show its columns to a session that holds
#: other locks (error 1684), and FacturaScripts then takes it for a table without columns.
SETTLE: Final = timedelta(seconds=2)
#: Tables that change for longer than this get their triggers in spite of that.
_LONGEST: Final = timedelta(seconds=30)


class _Settling:
    """Decides when changed tables count as settled: no change was seen for `SETTLE`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: float | None = None  # change since the tables were settled
        self._last = -math.inf

    def changed(self) -> None:
        """Note a change that was seen now."""
        self._last = self._clock.monotonic()
        if self._first is None:
            self._first = self._last

    def settled(self) -> bool:
        now = self._clock.monotonic()
        if now - self._last < SETTLE.total_seconds() and (self._first or now) > now - _LONGEST.total_seconds():
            return False
        self._first = None
        return True


@dataclass(frozen=True, slots=True)
class Patterns:
    """``required``: tables that the rules name in full: one that exists and is not captured is a problem, whereas a
    pattern may well match a table that cannot be captured.  ``extend``: None where the DBA installs, by ``command``.
    ``pause``: between two looks at the tables' names."""

    matching: Matching
    extend: Extend | None
    required: Collection[str] = ()
    command: str = "cdc install-triggers"
    pause: timedelta = timedelta(seconds=5)


class Appeared(NamedTuple):
    """``tables``: not seen before.  ``uncaptured``: those of them of which changes may have been missed.  ``absent``:
    tables that did not exist at this look or the last one, so that their rows have no earlier state; at the first look
    those of the required ones that do not exist."""

    tables: Sequence[Capture]
    uncaptured: Sequence[Capture]
    absent: Sequence[str]


NOTHING_NEW: Final = Appeared((), (), ())


class _Left(NamedTuple):
    """``recorded``: the installation has its name, perhaps from an earlier table of that name."""

    capture: Capture
    recorded: bool


class NewTables:
    """Used by the holder of the consumer lock.  Reading continues while a table is being captured.  What could not be
    captured is tried again after five seconds, then ever later, up to a minute."""

    def __init__(self, source: str, patterns: Patterns | None, clock: Clock) -> None:
        self._source = source
        self._patterns = patterns
        self._clock = clock
        self._retry = Backoff(first=5.0, most=60.0)
        self._look_at = -math.inf
        self._retry_at = self._look_at
        self._seen: dict[str, Capture] | None = None
        self._left: dict[str, _Left] = {}  # tables that are not captured yet
        self._problems: dict[str, str] = {}
        self._under_way: asyncio.Task[bool] | None = None
        self._again = False  # some of the tables that are left were not tried yet
        self._settling = _Settling(clock)
        self._extended = False

    def due(self) -> bool:
        """Return whether it is time to read the tables' names."""
        return self._patterns is not None and self._clock.monotonic() >= self._look_at

    def look(self, names: Collection[str], captured: Collection[str]) -> Appeared:
        """Compare the names of all tables, and of those that are installed, with the last ones, and begin to capture
        those that are missing, unless there were new ones just now (`SETTLE`).

        The first time, what is installed is believed; later, a table that appears is new even if its name is not."""
        assert self._patterns is not None, "due"
        self._look_at = self._clock.monotonic() + self._patterns.pause.total_seconds()
        there = {capture.table: capture for capture in self._patterns.matching(names)}
        seen, self._seen = self._seen, there
        new = [capture for table, capture in there.items() if seen is None or table not in seen]
        uncaptured = [capture for capture in new if seen is not None or capture.table not in captured]
        if gone := sorted((seen or {}).keys() - there.keys()):
            log.info("tables gone", source=self._source, tables=gone)
        if uncaptured:
            log.info("new tables", source=self._source, tables=[capture.table for capture in uncaptured])
        self._left = {table: left for table, left in self._left.items() if table in there}
        self._forget_installed(captured)
        self._left |= {capture.table: _Left(capture, capture.table in captured) for capture in uncaptured}
        self._again |= bool(uncaptured)
        if new and seen is not None:
            self._settling.changed()
        if self._patterns.extend is None:
            for table in self._left:
                self._report(table, f"Nothing is repaired here. Run {self._patterns.command}.")
        elif self._settling.settled():
            self._begin(self._patterns.extend)
        else:
            self._look_at = min(self._look_at, self._clock.monotonic() + SETTLE.total_seconds())
        if seen is None:
            return Appeared(new, uncaptured, sorted(set(self._patterns.required) - there.keys()))
        return Appeared(new, uncaptured, [*gone, *(capture.table for capture in new)])

    def _forget_installed(self, captured: Collection[str]) -> None:
        """Drop the tables that somebody else has installed: an account that may not install cannot do it again."""
        for table in [table for table, left in self._left.items() if table in captured and not left.recorded]:
            self._done(table)

    def extended(self) -> bool:
        """Return whether any table was captured since the last call."""
        self._collect()
        extended, self._extended = self._extended, False
        return extended

    @property
    def problems(self) -> Sequence[str]:
        """Tables that are not captured though a rule names them, a sentence each."""
        required = () if self._patterns is None else self._patterns.required
        return [
            f"Table {table} is not captured. {self._problems[table]}"
            for table, left in self._left.items()
            if table in required and table in self._problems and not left.recorded
        ]

    async def close(self) -> None:
        """Give up what is under way."""
        task, self._under_way = self._under_way, None
        await _give_up(task)

    def _collect(self) -> None:
        if self._under_way is not None and self._under_way.done():
            self._extended |= self._under_way.result()
            self._under_way = None

    def _begin(self, extend: Extend) -> None:
        self._collect()
        now = self._clock.monotonic()
        if self._left and self._under_way is None and (self._again or now >= self._retry_at):
            if self._again:
                self._retry.reset()
            self._again = False
            self._retry_at = now + self._retry.next()
            self._under_way = asyncio.create_task(self._capture_all(extend))

    async def _capture_all(self, extend: Extend) -> bool:
        """Capture all remaining tables at once, since each installation reads the whole schema; one by one where one of
        them is refused.  Return whether any was captured."""
        every = [left.capture for left in self._left.values()]
        if len(every) > 1 and await self._capture(extend, every) is None:
            return True
        done = [await self._capture(extend, [capture]) is None for capture in every if capture.table in self._left]
        return any(done)

    async def _capture(self, extend: Extend, captures: Sequence[Capture]) -> CdcError | None:
        try:
            steps = await extend(captures)
        except CdcError as error:
            if len(captures) == 1:
                self._report(captures[0].table, str(error))
            return error
        tables = [capture.table for capture in captures]
        for table in tables:
            self._done(table)
        if steps:
            log.info("tables captured", source=self._source, tables=tables, steps=list(steps))
        return None

    def _done(self, table: str) -> None:
        self._left.pop(table, None)
        self._problems.pop(table, None)

    def _report(self, table: str, why: str) -> None:
        """A reason is logged once."""
        if self._problems.get(table) != why:
            log.warning("table not captured", source=self._source, table=table, reason=why)
            self._problems[table] = why


#: Brings every trigger that needs it to the wanted state again; raises a `CdcError` when it may not or cannot.
Check = Callable[[], Awaitable[Repaired]]


class TriggerCheck:
    """Repairs triggers while reading continues.  Only the holder of the consumer lock uses it, so that no other repair
    of this database is under way.

    ``pause``: between two checks of everything.  ``glance``: between two looks at the tables' definitions, which cost
    next to nothing and show what would otherwise be found at the next check: a table that was altered, or swapped for
    another one by RENAME.  The check follows when they have not changed at the next glance (`SETTLE`).  It is also the
    time after which a check that failed is repeated the first time: a lock is soon gone.  Each further failure doubles
    it, up to ``pause``.
    """

    def __init__(
        self, source: str, check: Check | None, pause: timedelta, clock: Clock, glance: timedelta = SETTLE
    ) -> None:
        self._source = source
        self._check = check
        self._pause = pause
        self._clock = clock
        self._not_before = -math.inf
        self._failures: dict[str, str] = {}
        self._under_way: asyncio.Task[bool] | None = None
        self._glance = glance
        self._retry = Backoff(first=glance.total_seconds(), most=pause.total_seconds())
        self._next_glance = -math.inf
        self._definitions: object = None
        self._settling = _Settling(clock)
        self._unchecked = False  # a change of the definitions

    def glances(self) -> bool:
        """Return whether it is time for another look at the definitions."""
        return self._check is not None and self._clock.monotonic() >= self._next_glance

    def saw(self, definitions: object, took: float = 0.0) -> None:
        """Check everything now if the definitions changed, and did not since the last glance.  ``took``: seconds to
        read them; of thousands of tables they are read less often, so that the server spends 2 % of its time on that.
        """
        pause = min(max(self._glance.total_seconds(), took * 50), self._pause.total_seconds())
        self._next_glance = self._clock.monotonic() + pause
        if self._definitions is None:
            self._definitions = definitions
        elif definitions != self._definitions:
            self._definitions, self._unchecked = definitions, True
            self._settling.changed()
        if self._unchecked and self._settling.settled():
            self._unchecked, self._not_before = False, -math.inf

    def repaired(self) -> bool:
        """Return whether a check has repaired anything since the last call, and start the next check when it is due."""
        done = False
        if self._under_way is not None and self._under_way.done():
            done, self._under_way = self._under_way.result(), None
        now = self._clock.monotonic()
        if self._check is not None and self._under_way is None and now >= self._not_before:
            self._not_before = now + self._pause.total_seconds()
            self._under_way = asyncio.create_task(self._look(self._check))
        return done

    async def close(self) -> None:
        """Give up a look that is under way."""
        task, self._under_way = self._under_way, None
        await _give_up(task)

    async def _look(self, check: Check) -> bool:
        """A failure is logged once."""
        outcome, failures = Repaired(), dict[str, str]()
        try:
            outcome = await check()
        except CdcError as error:
            failures[""] = str(error)
        failures |= {table: str(error) for table, error in outcome.failed.items()}
        for table, failure in failures.items():
            if failure != self._failures.get(table):
                about = {"table": table} if table else {}
                log.warning("triggers not checked", source=self._source, **about, error=failure)
        if outcome.done:
            log.warning("triggers repaired", source=self._source, steps=list(outcome.done))
        self._failures = failures
        if failures:
            self._not_before = min(self._not_before, self._clock.monotonic() + self._retry.next())
        else:
            self._retry.reset()
        return bool(outcome.done)


async def _give_up(task: asyncio.Task[bool] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)  # how it ended matters to nobody
