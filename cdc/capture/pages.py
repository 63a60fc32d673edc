"""Tables that are read page by page beside the stream of changes: to repair a gap, or for a backfill.

One page at a time is under way; while one of a backfill is stored, the next is read already.  The source reads it
together with a mark: the place where the stream has emitted everything that is visible in the page.  Until then the
page follows the stream (`Window`).  `PagePace` decides how large pages are and how long a backfill rests between
them, which an ERP that writes notices.

A page is a snapshot; the stream is somewhere before or behind it.  So the page is held until the stream has emitted
everything that the snapshot shows, and follows the changes that are emitted until then: a changed row takes the newest
image, a deleted one is removed.  The row that is emitted in the end is its state at this very place of the stream:
never older than an image emitted before, and no later change is part of it already.

The reader of the page guarantees two conditions: what the stream emitted *before* the page was read is visible in it;
and the page is emitted only after everything that is visible in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from cdc.capture.base import NO_BACKFILLS, Reread, SourceBackfills
from cdc.model.backfill import Backfill, backfill_token, condition
from cdc.model.change import BackfillStep, Existing, Gap, Operation, Row, RowChange, Transaction, Value
from cdc.model.clock import Clock
from cdc.model.column import Table
from cdc.model.errors import SourceError, SourceUnavailable
from cdc.model.image import key_of, opened

Key = tuple[Value, ...]


class Window:
    """A page that follows the changes of its rows until it is emitted.  ``rows``: the page.  ``key``: the primary
    key's columns."""

    def __init__(self, table: str, key: Sequence[str], rows: Iterable[Row]) -> None:
        self._table = table
        self._columns = tuple(key)
        self._rows: dict[Key, Row] = {self._key(row): row for row in rows}
        #: Keys that are the page's: those it began with, and those that its rows were given.
        self._ours = set(self._rows)

    def _key(self, row: Row) -> Key:
        return tuple([row.get(column) for column in self._columns])

    def follow(self, transactions: Iterable[Transaction]) -> None:
        """Apply transactions that the stream emits."""
        for change in (change for transaction in transactions for change in transaction.changes):
            if change.table != self._table or change.operation is Operation.READ:
                continue
            if change.operation is Operation.TRUNCATE:
                self._rows.clear()
                continue
            former = None if change.before is None else self._key(change.before)
            key = None if change.after is None else self._key(change.after)
            if former not in self._ours and key not in self._ours:
                continue
            if former is not None and former != key:
                self._rows.pop(former, None)
            if key is not None and change.after is not None:
                self._rows[key] = opened(change.after)
                self._ours.add(key)

    def rows(self) -> list[Row]:
        """Return the rows as they are at this place of the stream."""
        return list(self._rows.values())


#: While the ERP writes, and for so many seconds after, backfills are gentle: a page has so many rows at most, and is
#: followed by a rest of so many times as long as it took to read and store.
GENTLE_SECONDS: Final = 5.0
GENTLE_ROWS: Final = 50
GENTLE_REST: Final = 19.0
#: After a page that was searched.  A write meets a page that begins while it lasts, too: of pages in a hundredth of the
#: time, more than a hundredth of the writes would meet one.
SEARCHED_REST: Final = 199.0
#: Rows of a page that is searched for the few that are due.  A smaller page would cost the server as much: each
#: takes at least a millisecond.
SEARCHED_LEAST: Final = 1000
SEARCHED_MOST: Final = 10_000


@dataclass
class _Size:
    """``rows`` of a page, ``fewest`` at least and ``most`` at most, so that it is read in ``seconds``."""

    rows: int
    seconds: float
    fewest: int
    most: int

    def adapt(self, asked: int, looked: int, seconds: float) -> None:
        """Adapt to the duration of a page of ``asked`` rows.  By halves or doubles at most: one page says little about
        the next.  Pages smaller than asked for say nothing."""
        if asked < self.rows and seconds < self.seconds:
            return
        fitting = looked * self.seconds / seconds if seconds else self.most
        self.rows = int(min(max(fitting, self.rows / 2, self.fewest), self.rows * 2, self.most))


class PagePace:
    """Decides how large pages are, and how long a backfill rests between them.  ``rows``: of the first page, while the
    ERP writes nothing."""

    def __init__(self, rows: int, clock: Clock) -> None:
        self._clock = clock
        self._sizes = {
            (False, False): _Size(rows, seconds=0.1, fewest=100, most=2000),
            (True, False): _Size(GENTLE_ROWS, seconds=0.005, fewest=10, most=GENTLE_ROWS),
            (False, True): _Size(rows, seconds=0.1, fewest=SEARCHED_LEAST, most=SEARCHED_MOST),
            (True, True): _Size(SEARCHED_LEAST, seconds=0.005, fewest=SEARCHED_LEAST, most=SEARCHED_MOST),
        }
        self._changed_at = -GENTLE_SECONDS
        self._begun_at: float | None = None
        self._read_at = self._waited = self._resume_at = 0.0
        self._times = GENTLE_REST

    def changed(self) -> None:
        """The ERP has written."""
        self._changed_at = self._clock.monotonic()

    @property
    def gentle(self) -> bool:
        return self._clock.monotonic() - self._changed_at < GENTLE_SECONDS

    def rows(self, *, searched: bool = False) -> int:
        """Return the number of rows of the next page.  ``searched``: nearly none of them will meet the condition."""
        return self._sizes[self.gentle, searched].rows

    def rests(self) -> bool:
        """Return whether the ERP is left alone for a moment, after a page that has been stored by now."""
        now = self._clock.monotonic()
        if self._begun_at is not None:
            spent = now - self._begun_at - self._waited
            self._begun_at, self._waited = None, 0.0
            self._resume_at = now + self._times * spent
        return self.gentle and now < self._resume_at

    @property
    def rest(self) -> float:
        """Seconds of it that remain."""
        return self._resume_at - self._clock.monotonic() if self.gentle else 0.0

    def begin(self) -> float:
        """A page begins to be read: the time, for `read`."""
        self._begun_at = self._clock.monotonic()
        return self._begun_at

    def read(self, began: float, asked: int, looked: int, *, searched: bool = False) -> None:
        """The page has been read: it had ``looked`` rows of the ``asked``."""
        self._read_at = self._clock.monotonic()
        self._times = SEARCHED_REST if searched else GENTLE_REST
        self._sizes[self.gentle, searched].adapt(asked, looked, self._read_at - began)

    def emitted(self) -> None:
        """Note that the page is emitted and stored, and how long it waited for its place in the stream."""
        self._waited = self._clock.monotonic() - self._read_at


log = structlog.get_logger()


#: Rows a second that are read again after gaps, at most: what they flood is the endpoints' deliveries.
REREAD_RATE: Final = 1000
#: Seconds to wait for changes that come before a page of a table.
SOON: Final = 0.002
#: Why a row is not read.
TOO_LONG = "a column is longer than the server can send (max_allowed_packet)"


class TablePage(NamedTuple):
    """A page of a table.  ``rows``: those that meet the condition.  ``last``: the last one that was read, or its
    key.  ``looked``: how many were; at most, where the table ended.  ``unread``: keys of those that meet the
    condition and could not be read."""

    rows: Sequence[Row]
    last: Row | None
    looked: int
    unread: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The next ``most`` rows of ``table`` behind the key ``after`` that meet ``where`` (empty: all), in primary key
    order.  For a gap (``reread``) or a backfill."""

    table: Table
    after: Row | None
    most: int
    where: str = ""
    reread: Reread | None = None
    backfill: Backfill | None = None

    def condition(self, quote: Callable[[str], str]) -> str:
        """Return ``where``, or the condition of the records that are due.  ``quote``: quotes a name for the server."""
        due = None if self.backfill is None else self.backfill.due
        return self.where if due is None else condition(due, quote)


class EmittedPage(NamedTuple):
    """A page that is emitted now.  ``rereads``: those that remain after it.  ``gaps``: rows that could not be read."""

    transactions: tuple[Transaction, ...]
    rereads: tuple[Reread, ...]
    step: BackfillStep | None
    gaps: tuple[Gap, ...] = ()


#: Rows of a new table that are remembered because they have been emitted; of one with more, none.
REMEMBERED: Final = 20_000


class PageReader:
    """Says what to read next, and makes changes of what was read.

    ``rows``: of a page that repairs a gap, and of the first one of a backfill.  ``pause``: between the end of a re-read
    and the next one of the same table, unless `soon` says that the cause of the gap is fixed.
    """

    def __init__(self, source: str, rows: int, pause: timedelta, clock: Clock) -> None:
        self._source = source
        self._rows = rows
        self._pace = PagePace(rows, clock)
        self._pause = pause
        self._clock = clock
        self._not_before: dict[str, float] = {}  # monotonic seconds
        self._reread_at = 0.0  # monotonic seconds: when the next page may be read again
        self._backfills: SourceBackfills = NO_BACKFILLS
        self._wanted: PageRequest | None = None
        self._page = TablePage((), None, 0)
        self._window = Window("", (), ())
        self._step: BackfillStep | None = None
        self._ahead: asyncio.Task[None] | None = None
        self._emitted: dict[str, set[tuple[Value, ...]] | None] = {}  # of tables that are new: keys of their rows

    def absent(self, tables: Sequence[str]) -> None:
        """Note tables that do not exist, or did not a moment ago: each of their rows that is read before the stream
        shows it is ``CREATE``, once.  Another process, and this one when there are very many, takes them for rows of
        any table."""
        for table in tables:
            self._emitted.setdefault(table, set())

    def use(self, backfills: SourceBackfills | None = None) -> None:
        """Use these from now on (None: the same), and forget unfinished pages."""
        self._backfills = backfills or self._backfills
        self._wanted = self._step = None

    def soon(self, tables: Sequence[str]) -> None:
        for table in tables:
            self._not_before.pop(table, None)

    def rest(self, idle: float) -> float:
        """Seconds to wait for changes at most.  ``idle``: while nothing is to be read."""
        if self.under_way:
            return idle
        rests = self._reread_at - self._clock.monotonic()
        return min(idle, max(self._backfills.rest(), self._pace.rest), rests if rests > 0 else idle)

    @property
    def under_way(self) -> bool:
        return self._wanted is not None

    async def next_request(self, rereads: Sequence[Reread], tables: Mapping[str, Table]) -> PageRequest | None:
        """Return the table to read now.  ``rereads``: those that may be gone on with.  ``tables``: those that can be
        read."""
        reread = self._due(rereads)
        if reread is not None:
            table = tables.get(reread.table) or Table(reread.table, (), ())
            return PageRequest(table, _usable(reread.after, table), self._rows, reread=reread)
        found = None if self._pace.rests() else await self._backfills.next()
        if found is None:
            return None
        backfill, most = found
        step, self._step = self._step, None
        if step is not None and step.job == backfill.id:
            backfill = replace(backfill, after=step.after)  # it is being stored
        table = tables.get(backfill.table) or Table(backfill.table, (), ())
        if not table.key:
            await self._backfills.fail(backfill.id, f"The table {table.name} is not captured, or has no primary key.")
            return None
        after, rows = _usable(backfill.after, table), min(most, self._pace.rows(searched=backfill.due is not None))
        return PageRequest(table, after, rows, backfill.where, backfill=backfill)

    def _due(self, rereads: Sequence[Reread]) -> Reread | None:
        """Return the re-read to continue; one that was begun is finished first."""
        now = self._clock.monotonic()
        if now < self._reread_at:
            return None
        return next(
            (each for each in rereads if each.after is not None or self._not_before.get(each.table, now) <= now), None
        )

    def due(self, rereads: Sequence[Reread]) -> bool:
        return self._due(rereads) is not None

    async def read(self, wanted: PageRequest, read: Callable[[], Awaitable[TablePage | None]]) -> bool:
        """Return whether a page is under way now.  ``read``: the page with its mark, which the caller keeps; None when
        it cannot be read just now.  A table without a key is gone: there is nothing to read."""
        if not wanted.table.key:
            reason = "the table is gone; it cannot be read again"
            log.error("lost", source=self._source, table=wanted.table.name, reason=reason)
            self._begin(wanted, TablePage((), None, 0))
            return True
        began = self._pace.begin() if wanted.backfill is not None else 0.0
        try:
            page = await read()
        except SourceUnavailable:
            raise
        except SourceError as error:
            if wanted.backfill is None:
                raise
            await self._backfills.fail(wanted.backfill.id, str(error))
            return False
        if page is None:
            return False
        if wanted.backfill is not None:
            self._pace.read(began, wanted.most, page.looked, searched=wanted.backfill.due is not None)
        self._begin(wanted, page)
        return True

    def _begin(self, wanted: PageRequest, page: TablePage) -> None:
        self._wanted, self._page = wanted, page
        self._window = Window(wanted.table.name, wanted.table.key, page.rows)

    def ahead(self, step: BackfillStep | None, read: Callable[[], Awaitable[None]]) -> None:
        """Read the next page while ``step``, which is about to be yielded, is stored.  ``read`` asks `next_request`
        for it.  Nothing else is emitted before `settled`."""
        if step is not None and not step.finished and not self._pace.gentle:
            self._step = step
            self._ahead = asyncio.ensure_future(read())

    async def settled(self) -> None:
        """Wait until the page that was begun ahead has ended."""
        task, self._ahead = self._ahead, None
        if task is not None:
            await task
        self._step = None

    async def drop(self) -> None:
        """Give up what was begun ahead."""
        task, self._ahead = self._ahead, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # how it ended matters to nobody

    def follow(self, transactions: Sequence[Transaction]) -> None:
        """Apply transactions that the stream emits."""
        if transactions:
            self._pace.changed()
        if self._emitted:
            self._note(change for transaction in transactions for change in transaction.changes)
        if self._wanted is not None:
            self._window.follow(transactions)

    def _note(self, changes: Iterable[RowChange]) -> None:
        """Note rows of new tables as emitted."""
        for change in changes:
            keys = self._emitted.get(change.table)
            if keys is not None:
                former = None if change.before is None else key_of(change.before, tuple(change.key))
                keys |= {tuple(key.values()) for key in (change.key, former) if key}
                if len(keys) > REMEMBERED:
                    self._emitted[change.table] = None

    def emit(self, rereads: Sequence[Reread]) -> EmittedPage:
        """Return the page under way, and end it.  ``rereads``: those that exist by now."""
        wanted, self._wanted = self._wanted, None
        assert wanted is not None, "a page is under way"
        ended = self._page.looked < wanted.most
        row = self._page.last
        last = wanted.after if row is None else {column: row[column] for column in wanted.table.key}
        if wanted.reread is not None:
            changes = tuple(
                change._replace(operation=Operation.CREATE)
                if (keys := self._emitted.get(change.table)) is not None and tuple(change.key.values()) not in keys
                else change
                for change in self._changes(wanted.table, wanted.reread.count)
            )
            self._note(changes)
            transaction = Transaction(f"reread/{wanted.reread.token}", changes)
            left = self._remaining(wanted.reread, rereads, None if ended else last)
            return EmittedPage((transaction,) if changes else (), left, None, self._unread(wanted.table))
        assert wanted.backfill is not None, "of a backfill, then"
        self._pace.emitted()
        existing = Existing(wanted.backfill.id, wanted.backfill.endpoint, wanted.backfill.due)
        changes = self._changes(wanted.table, 0)
        transaction = Transaction(backfill_token(existing), changes, existing=existing)
        step = BackfillStep(existing.job, len(changes), last, ended, existing.due)
        return EmittedPage((transaction,) if changes else (), tuple(rereads), step, self._unread(wanted.table))

    def _unread(self, table: Table) -> tuple[Gap, ...]:
        gaps, now = [], self._clock.now()
        for key in self._page.unread:
            log.error("row not read", source=self._source, table=table.name, key=dict(key), reason=TOO_LONG)
            row = ", ".join(f"{column} = {value}" for column, value in key.items())
            reason = f"The row {row} of the table {table.name} of source {self._source} is left out: {TOO_LONG}."
            gaps.append(Gap(table.name, Operation.READ, now, reason, key))
        return tuple(gaps)

    def _remaining(self, reread: Reread, rereads: Sequence[Reread], last: Row | None) -> tuple[Reread, ...]:
        """Return the remaining re-reads.  ``last``: the key after which this one continues; None: it has ended."""
        if reread not in rereads:  # another gap of the table was found in between: it begins again
            return tuple(rereads)
        others = tuple(each for each in rereads if each != reread)
        read = reread.count + self._page.looked
        self._reread_at = self._clock.monotonic() + self._page.looked / REREAD_RATE
        if last is not None:
            return (replace(reread, after=last, count=read), *others)
        self._not_before[reread.table] = self._clock.monotonic() + self._pause.total_seconds()
        log.info("read again", source=self._source, table=reread.table, rows=read)
        return others

    def _changes(self, table: Table, first: int) -> tuple[RowChange, ...]:
        """``first``: the number of the first one."""
        now, key, name = self._clock.now(), table.key, table.name
        return tuple(
            [
                RowChange(Operation.READ, name, {column: row[column] for column in key}, None, row, now, number)
                for number, row in enumerate(self._window.rows(), first)
            ]
        )


def _usable(after: Row | None, table: Table) -> Row | None:
    """Return the row to continue after; None (from the start) when the key has other columns by now."""
    return after if after is not None and after.keys() == set(table.key) else None
