"""The behaviour that all sources of row changes share: the order of changes and pages of tables, repairs of gaps, the
one consumer, and the maintenance of the installation while a source is read: new tables that the rules need are
captured where that is allowed, and triggers are repaired.

The stream is read and stored; whenever nothing more waits in it, a page of a table that is to be read again, or of a
backfill, is read (`cdc.capture.pages`), and emitted once the stream has emitted everything that the page shows."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from cdc.capture.base import (
    NO_BACKFILLS,
    CaptureLimits,
    Reread,
    SingleReader,
    SourceBackfills,
    SourceDatabase,
    SourcePosition,
)
from cdc.capture.pages import SOON, EmittedPage, PageReader, PageRequest, TablePage
from cdc.model.change import Batch, Gap, Operation, ReaderStore, Row, Transaction, Value
from cdc.model.clock import Backoff, Clock, SystemClock
from cdc.model.column import Capture, Table
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
    """The tables that the rules need, and how those that appear are captured.  ``required``: tables that the rules
    name in full: one that exists and is not captured is a problem, whereas a pattern may well match a table that cannot
    be captured.  ``extend``: None where the DBA installs, by ``command``.  ``pause``: between two looks at the
    tables' names."""

    matching: Matching
    extend: Extend | None
    required: Collection[str] = ()
    command: str = "cdc install-triggers"
    pause: timedelta = timedelta(seconds=5)


class Appeared(NamedTuple):
    """Tables that appeared or vanished since the last look.  ``tables``: not seen before.  ``uncaptured``: those of
    them of which changes may have been missed.  ``absent``: tables that did not exist at this look or the last one, so
    that their rows have no earlier state; at the first look those of the required ones that do not exist."""

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
        # without those that somebody else has installed: an account that may not install cannot do it again
        for table in [table for table, left in self._left.items() if table in captured and not left.recorded]:
            self._done(table)
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


#: Captures these tables wholly again (triggers, replica identity); raises a `CdcError` when it may not or cannot.
Repair = Callable[[Sequence[str]], Awaitable[Repaired]]

P = TypeVar("P", bound=SourcePosition)


class CaptureSource(SingleReader, ABC, Generic[P]):
    """A `cdc.capture.base.Source`, but for `open` and `acknowledge`: an engine's source opens, says how changes are
    read (`_changes`), and how a page of a table is read and finds its place among them.

    ``_position``: everything that was emitted, or stored.  ``_caught_up``: nothing more waits in the stream for now.
    """

    _position: P

    def __init__(
        self,
        name: str,
        database: SourceDatabase,
        limits: CaptureLimits,
        clock: Clock | None,
        *,
        patterns: Patterns | None,
        repair: Repair | None = None,
        check: Check | None = None,
        readers: ReaderStore | None = None,
    ) -> None:
        super().__init__(name, readers)
        self._database = database
        self._limits = limits
        self._clock = clock or SystemClock()
        self._repair = repair
        self._pages = PageReader(name, limits.batch, limits.reread_pause, self._clock)
        self._trigger_check = TriggerCheck(name, check, limits.check_pause, self._clock)
        self._new_tables = NewTables(name, patterns, self._clock)
        self._tables: dict[str, Table] = {}
        self._begun = False
        self._caught_up = True
        self._refused = False  # a page could not be read just now
        self._stored_at = 0.0

    @property
    def problems(self) -> Sequence[str]:
        return self._new_tables.problems

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._database.rows(table, column, values) if values else []

    async def all_rows(self, table: str) -> list[Row]:
        return await self._database.all_rows(table)

    async def tables(self) -> dict[str, Table]:
        return await self._database.tables()

    async def site_url(self) -> str:
        return await self._database.site_url()

    # -- its life ---------------------------------------------------------------------------------------------------

    async def _become_consumer(self) -> bool:
        """Return whether there was another one to wait for."""
        self._begun = False
        try_lock = partial(self._database.try_lock, silent=self._limits.silent)
        return await self._lock.acquire(try_lock, self._limits.standby, self._database.lock_holder)

    async def begin(self) -> Batch | None:
        if self._begun:
            return None
        self._begun = True
        return await self._resume()

    @abstractmethod
    async def _resume(self) -> Batch | None:
        """Begin to read at the position that was given to `open`.  Return what is to be stored first."""

    async def close(self) -> None:
        await self._pages.drop()
        await self._stop_reading()
        await self._trigger_check.close()
        await self._new_tables.close()
        await self._database.disconnect()

    @abstractmethod
    async def _stop_reading(self) -> None:
        """Give up what is being read; in any state."""

    # -- reading ----------------------------------------------------------------------------------------------------

    async def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        self._pages.use(backfills)
        if (first := await self.begin()) is not None:
            yield first
        while True:
            async for batch in self._changes(self._longest_wait(self._limits.idle)):
                self._follow(batch)
                yield batch
            await self._read_page()
            if self._page_ready():
                batch = self._page_batch(self._pages.emit(self._position.rereads))
                self._pages.ahead(batch.step, self._read_page)
                yield batch
                await self._pages.settled()

    @abstractmethod
    def _changes(self, seconds: float) -> AsyncIterator[Batch]:
        """Yield the content of the stream, once through; with nothing there, wait for ``seconds`` at most.  Look after
        tables, triggers and the consumer lock on the way."""

    def _longest_wait(self, idle: float) -> float:
        """Seconds to wait for changes at most: a moment, where a page is to be read or emitted behind them."""
        if self._refused or self._page_ready():
            return SOON
        return self._pages.rest(idle) if self._caught_up else idle

    def _batch(self, transactions: tuple[Transaction, ...], position: P, gaps: tuple[Gap, ...] = ()) -> Batch:
        self._position = position
        self._stored_at = asyncio.get_running_loop().time()
        return Batch(transactions, position.dump(), gaps)

    def _due_progress(self) -> bool:
        """Return whether a position should be stored though nothing of ours was committed."""
        return asyncio.get_running_loop().time() - self._stored_at >= self._limits.progress

    # -- pages of tables --------------------------------------------------------------------------------------------

    def _follow(self, batch: Batch) -> None:
        """The stream emits this."""
        self._pages.follow(batch.transactions)

    def _rereads(self) -> Sequence[Reread]:
        """Return the tables that may be continued now."""
        return self._position.rereads

    async def _read_page(self) -> None:
        """The next one, unless one is under way or changes wait."""
        self._refused = False
        if self._pages.under_way or not self._caught_up:
            return
        wanted = await self._pages.next_request(self._rereads(), self._tables)
        if wanted is not None:
            self._refused = not await self._pages.read(wanted, partial(self._page, wanted))

    @abstractmethod
    async def _page(self, wanted: PageRequest) -> TablePage | None:
        """The page, and note its place in the stream.  None while it does not show everything that was emitted."""

    @abstractmethod
    def _emitted(self) -> bool:
        """Return whether the stream has emitted everything that the last page shows."""

    def _page_ready(self) -> bool:
        return self._pages.under_way and self._emitted()

    def _page_batch(self, page: EmittedPage) -> Batch:
        batch = self._batch(page.transactions, replace(self._position, rereads=page.rereads), page.gaps)
        return replace(batch, step=page.step)

    # -- gaps -------------------------------------------------------------------------------------------------------

    async def _after_gaps(self, gaps: Mapping[str, str], position: P) -> P:
        """The position behind these gaps (table → token): they are repaired now, if they can be, and read again."""
        if not gaps:
            return position
        await self._repair_gaps(list(gaps))
        for table in gaps.keys() - self._tables.keys():
            log.error("lost", source=self._name, table=table, reason="the table is gone; it cannot be read again")
        return position.with_gaps({table: token for table, token in gaps.items() if table in self._tables})

    async def _repair_gaps(self, tables: Sequence[str]) -> None:
        assert self._repair is not None, "what this source reads can have gaps"
        log.warning("gap", source=self._name, tables=list(tables), action="repairing, then reading the tables again")
        try:
            failed = (await self._repair(tables)).failed
        except CdcError as error:
            log.error("gap not repaired", source=self._name, tables=list(tables), error=str(error))
            return
        for table, each in failed.items():
            log.error("gap not repaired", source=self._name, tables=[table], error=str(each))
        self._pages.soon([table for table in tables if table not in failed])
        self._tables = await self.tables()

    def _gaps_of(self, tables: Sequence[str]) -> tuple[Gap, ...]:
        time = self._clock.now()
        return tuple(Gap(table, Operation.READ, time) for table in tables)

    def _lost(self, position: P, token: str, reason: str, **places: str | None) -> Batch:
        """Read all captured tables again: changes committed before ``position`` are lost."""
        action = "reading all captured tables again; deleted records are not reported"
        log.error("lost", source=self._name, **places, reason=reason, action=action)
        tables = sorted(self._tables)
        return self._batch((), position.with_gaps(dict.fromkeys(tables, token)), self._gaps_of(tables))

    # -- new tables -------------------------------------------------------------------------------------------------

    async def _find_new_tables(self) -> Appeared:
        """Tables that the rules need and that were not there before: they are captured from now on."""
        if not self._new_tables.due():
            return NOTHING_NEW
        names = await self._database.table_names()
        appeared = self._new_tables.look(names, await self._database.installed())
        self._pages.absent(appeared.absent)
        if appeared.tables:
            self._database.capture(appeared.tables)
            self._tables = await self.tables()
        return appeared
