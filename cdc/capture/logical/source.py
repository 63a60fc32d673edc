"""The source that reads PostgreSQL's log: whole transactions out of a replication slot.

Invariants:

* the slot is confirmed only up to a position that the outbox holds: a slot that is further on was moved, or made, by
  somebody else, and what lies between is lost, which is said;
* a position lies behind whole transactions; of a huge one, the records that are stored are counted, and it is read
  again from its beginning;
* what the log does not hold whole is a gap: the table's replica identity is repaired and the table is read again;
* a page of a table is emitted once the log was read up to its end at the snapshot, which shows all that was emitted;
* one consumer a database: the lock lives on the connection that looks rows up, and the slot has one reader.

A page is emitted once the log was read up to its end at the snapshot: every commit that the snapshot shows is before
it.  It is read only when it shows everything that was emitted before: the server writes a commit to its log first and
shows it a moment later, with a synchronous standby much later.  A page that was read in between would show a row as it
was before a change that was emitted already.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import ge
from typing import Final

import structlog

from cdc.capture.base import HugePart, SlotLimits
from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.replication import LogStream, SlotChunk, SlotReader, connected
from cdc.capture.logical.slot import (
    ANOTHER_HISTORY,
    Publishing,
    Renew,
    SlotCare,
    SlotDatabase,
    SlotState,
    lost_after,
    publishing,
    read_state,
)
from cdc.capture.logical.transaction import SlotTables, SlotTransaction
from cdc.capture.moving import Watermark, log_part
from cdc.capture.pages import SOON, PageRequest, TablePage
from cdc.capture.postgres_connection import PostgresConnection, PostgresProbe
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.capture.probe import Backlog, Ends
from cdc.capture.source import CaptureSource, Patterns, Repair
from cdc.database.postgres_capture import PUBLICATION, lsn_number, slot_name
from cdc.database.sqlfile import load
from cdc.model.change import Batch, Position, ReaderStore, Transaction
from cdc.model.clock import Clock, SystemClock
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing, LogPurged
from cdc.model.finding import named

#: Seconds that a page waits for others to have the log written to the disk.
_FLUSH_SECONDS = 0.01
#: Bytes of a page of the log, and of the header of most of them.
_LOG_PAGE, _LOG_HEADER = 8192, 24
#: Of transaction ids, of which the log has the lower 32 bits.
_LOWER: Final = (1 << 32) - 1
_HALF: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot; only the lower 32 bits of a transaction id count, as in the log.  ``next``: those from here on had
    not begun.  ``open``: those before it that had not ended."""

    next: int
    open: frozenset[int]

    @staticmethod
    def parse(text: str) -> Snapshot:
        """Return the snapshot that ``pg_current_snapshot()`` writes as ``xmin:xmax:xip,…``."""
        _, end, under_way = text.split(":")
        return Snapshot(int(end) & _LOWER, frozenset(int(xid) & _LOWER for xid in under_way.split(",") if xid))

    def shows(self, xid: int) -> bool:
        return xid not in self.open and (xid - self.next) & _LOWER >= _HALF


class Unseen:
    """The transactions that were read from the log and that no snapshot has shown yet."""

    def __init__(self) -> None:
        self._xids: set[int] = set()

    def add(self, xids: Iterable[int]) -> None:
        self._xids.update(xids)

    def all_in(self, snapshot: Snapshot) -> bool:
        """Return whether the snapshot shows all of them; what it shows is forgotten."""
        self._xids = {xid for xid in self._xids if not snapshot.shows(xid)}
        return not self._xids


class SlotPages:
    """Reads pages with their places, and knows how far the log was read."""

    def __init__(self, lookup: PostgresLookup, clock: Clock) -> None:
        self._lookup = lookup
        self._clock = clock
        self._unseen = Unseen()
        self._mark = self._reached = 0
        self._hurry_at = math.inf

    def begin(self, reached: int) -> None:
        """The log is read from there on."""
        self._mark, self._reached = 0, reached

    def longest_wait(self, idle: float) -> float:
        """Return the seconds to wait for changes at most while a page waits: until the log is to be written out."""
        return min(idle, max(SOON, self._hurry_at - self._clock.monotonic()))

    def add(self, committed: Sequence[SlotTransaction]) -> None:
        """Note transactions of the log, before any batch of them."""
        self._unseen.add(int(each.token.partition(".")[0]) for each in committed)

    def shown(self, snapshot: str) -> None:
        """Note that the database shows this by now."""
        self._unseen.all_in(Snapshot.parse(snapshot))

    async def read(self, wanted: PageRequest) -> TablePage | None:
        """Return the page; None while it does not show everything that was emitted."""
        page, ((snapshot, end),) = await self._lookup.read_page(wanted, "slot/page_marks.sql", {})
        if not self._unseen.all_in(Snapshot.parse(snapshot)):
            return None
        insert = lsn_number(end)  # the next record may begin after the header of a page that is not written yet
        self._mark = insert - _LOG_HEADER if insert % _LOG_PAGE == _LOG_HEADER else insert
        self._hurry_at = self._clock.monotonic() + _FLUSH_SECONDS
        return page

    async def hurry(self) -> None:
        """A slot is sent only what is on the server's disk.  A commit has the log written there; without one it takes
        its time: then the server is asked for it, once for a page that waits."""
        if not self.emitted() and self._clock.monotonic() >= self._hurry_at:
            self._hurry_at = math.inf
            await self._lookup.link.query(load("postgres/slot/flush.sql"))

    def reach(self, reached: int) -> None:
        """The log was read up to ``reached``."""
        self._reached = max(self._reached, reached)

    def emitted(self) -> bool:
        """Return whether everything that the last page shows was emitted."""
        return self._reached >= self._mark


log = structlog.get_logger()

#: Seconds that the connection with the lock may take to answer.
_ALIVE_SECONDS = 20.0


class LogicalSource(CaptureSource[LogicalPosition]):
    """A `cdc.capture.base.Source`.  ``captures``: whose changes are read; ``lookups``: what else mapping looks up.

    ``reread_lost``: when part of the log is lost, read all captured tables and continue from the slot's position; else
    that is an error."""

    _database: SlotDatabase
    _limits: SlotLimits

    def __init__(
        self,
        name: str,
        info: ConnectionInfo,
        captures: Sequence[Capture],
        lookups: Sequence[Capture] = (),
        *,
        repair: Repair,
        renew: Renew,
        reread_lost: bool = False,
        patterns: Patterns | None = None,
        limits: SlotLimits | None = None,
        clock: Clock | None = None,
        readers: ReaderStore | None = None,
    ) -> None:
        database, limits = SlotDatabase(info, captures, lookups), limits or SlotLimits()
        super().__init__(name, database, limits, clock, patterns=patterns, repair=repair, readers=readers)
        self._info = info
        self._captures = {capture.table: capture for capture in captures}
        self._reread_lost = reread_lost
        self._slot = slot_name(info.database)
        self._care = SlotCare(name, info, database.link, renew, limits.retained, again=reread_lost)
        self._snapshots = SlotPages(database, self._clock)
        self._stream: LogStream | None = None
        self._reader: SlotReader | None = None
        self._watch: asyncio.Task[None] | None = None
        self._opened_at: LogicalPosition | None = None
        self._state: SlotState | None = None
        self._unseen: Sequence[Capture] = ()
        self._publication = ""  # changes whenever it is altered
        self._entries: dict[str, str] = {}  # of tables in it, as last seen or repaired
        self._flaws: dict[str, tuple[str, ...]] = {}
        self._check_at = -math.inf
        self._alive_at = 0.0

    @property
    def problems(self) -> Sequence[str]:
        """The flaws that were not repaired, each with its tables."""
        tables: dict[str, list[str]] = {}
        for table, flaws in self._flaws.items():
            tables.setdefault("; ".join(flaws), []).append(table)
        found = [f"changes of {named(names)} are lost: {flaw}. Run cdc install-slot." for flaw, names in tables.items()]
        return (*super().problems, *found)

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        self._opened_at = None if position is None else LogicalPosition.load(position)
        await self._database.connect()
        await self._become_consumer()
        self._state = state = await self._care.usable()
        if state.active_pid is not None:  # of a consumer that lost the lock, and perhaps does not know it yet
            await self._database.link.query(load("postgres/slot/disconnect_reader.sql"), [self._slot])
        self._watch = asyncio.create_task(self._care.watch(self._limits.check_pause))
        await self._database.use_schema(self._schema)
        self._unseen = await self._new_captures()
        self._tables = await self.tables()
        self._position = self._opened_at or LogicalPosition(state.confirmed, state.system)

    async def _resume(self) -> Batch | None:
        """The position is compared here, not in `open`: what a standby is given there may be behind the slot, which the
        consumer before it has moved."""
        given, state = self._opened_at, self._state
        assert state is not None, "opened"
        lost = "" if given is None else lost_after(given, state)
        if not lost and not await self._read_log(state):
            await self._end_log()
            lost = ANOTHER_HISTORY
        if lost:
            if not self._reread_lost:
                raise LogPurged(
                    f"The replication slot {self._slot} of {self._info.describe()} {lost}.",
                    'With on_purged = "reread" all captured tables are read as they are now, and the log from there '
                    "on.",
                )
            begin = LogicalPosition(state.confirmed, state.system, self._position.blind, started=state.started)
            token = f"slot/{state.system}/{state.confirmed}"
            first = self._lost(replace(begin, stored=begin.last), token, f"the replication slot {self._slot} {lost}")
            await self._read_log(state)
            return first
        self._position = replace(self._position, stored=self._position.last, started=state.started)
        return None if self._position == given else self._batch((), self._position)

    @property
    def _schema(self) -> str:
        memory = None if self._state is None else self._state.memory
        assert memory is not None, "opened, and usable"
        return memory.schema

    async def _read_log(self, state: SlotState) -> bool:
        """Begin to read at the position.  Return False when the log is not the one that was read."""
        last, to_verify = self._position.last, self._position.to_verify(state.confirmed, state.started)
        self._stream = await connected(self._name, self._info, self._slot, PUBLICATION)
        await self._stream.open(state.confirmed if to_verify else last.lsn + 1)
        tables = SlotTables(self._database, self._captures, self._schema)
        self._reader = SlotReader(self._stream, tables, self._limits.batch, self._limits.huge, last.lsn + 1)
        self._caught_up = False
        self._snapshots.begin(self._position.lsn)
        return not to_verify or await self._reader.holds(last, self._limits.idle)

    async def _end_log(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _stop_reading(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)  # how it ended matters to nobody
        await self._end_log()

    async def acknowledge(self, position: Position) -> None:
        if self._stream is not None:  # else nothing was read since it was opened: the next position is confirmed
            await self._stream.confirm(LogicalPosition.load(position).lsn)

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _changes(self, seconds: float) -> AsyncIterator[Batch]:
        async for batch in self._look_at_tables():
            yield batch
        assert self._reader is not None, "reading"
        # the lock lives as long as its connection, which is checked now and then
        now = asyncio.get_running_loop().time()
        if now - self._alive_at >= self._limits.idle:
            sql, asked = load("postgres/slot/alive.sql"), {"publication": PUBLICATION}
            ((text, publication),) = await self._database.link.query(sql, asked, seconds=_ALIVE_SECONDS)
            self._snapshots.shown(text)
            self._alive_at = now
            if self._publication not in ("", publication):
                self._check_at = -math.inf
            self._publication = publication
        chunk = await self._reader.next(seconds)
        self._caught_up = chunk.caught_up
        async for batch in self._stored(chunk):
            yield batch
        self._snapshots.reach(max(self._position.lsn, chunk.progress))
        await self._snapshots.hurry()

    def _longest_wait(self, idle: float) -> float:
        waits = self._pages.under_way and not self._emitted()
        return self._snapshots.longest_wait(idle) if waits else super()._longest_wait(idle)

    async def _stored(self, chunk: SlotChunk) -> AsyncIterator[Batch]:
        """Yield the parts to store: the small transactions together, a huge one in parts, else how far we are."""
        self._snapshots.add(chunk.transactions)
        if chunk.transactions:
            gaps = {gap.table: gap for each in chunk.transactions for gap in each.gaps.values()}
            position = _after(self._position, chunk.transactions[-1])
            yield self._batch(
                tuple(Transaction(each.token, tuple(each.changes)) for each in chunk.transactions if each.changes),
                await self._after_gaps(_gaps(chunk.transactions), position),
                tuple(gaps.values()),
            )
        if chunk.huge is not None:
            async for batch in self._huge(chunk.huge):
                yield batch
        elif not chunk.transactions and chunk.progress > self._position.lsn and self._due_progress():
            yield self._batch((), replace(self._position, lsn=chunk.progress, huge=None))

    async def _huge(self, committed: SlotTransaction) -> AsyncIterator[Batch]:
        assert committed.spool is not None, "huge"
        self._snapshots.add([committed])
        tables = tuple(sorted(self._captures))
        begun = self._position.huge
        behind = begun.records if begun and (begun.token, begun.tables) == (committed.token, tables) else 0
        with committed.spool as spool:
            for part in spool.parts(self._limits.batch, behind):
                transaction = Transaction(committed.token, part.changes, more=not part.final)
                transactions = (transaction,) if part.changes else ()
                if part.final:
                    position = _after(self._position, committed)
                    gaps = tuple(committed.gaps.values())
                    yield self._batch(transactions, await self._after_gaps(_gaps([committed]), position), gaps)
                else:
                    huge = HugePart(committed.token, part.records, tables)
                    yield self._batch(transactions, replace(self._position, huge=huge))
                await asyncio.sleep(0)

    # -- pages of tables --------------------------------------------------------------------------------------------

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        return await self._snapshots.read(wanted)

    def _emitted(self) -> bool:
        return self._snapshots.emitted()

    # -- tables -----------------------------------------------------------------------------------------------------

    async def _look_at_tables(self) -> AsyncIterator[Batch]:
        """Yield gaps for installed tables whose changes the log does not hold, repair the tables, and have them read
        again.  Does so every ``check_pause``.

        The gap is stored first: what was missed is read again even if an administrator repairs the table while this
        process is stopped.
        """
        unseen, self._unseen = self._unseen, ()
        if new := [
            each.table
            for each in [*unseen, *await self._new_captures()]
            if each.table in self._tables and self._tables[each.table].key
        ]:
            yield self._batch((), self._position.blind_to(new), self._gaps_of(new))
        now = self._clock.monotonic()
        if now < self._check_at and not self._new_tables.extended():
            return
        self._check_at = now + self._limits.check_pause.total_seconds()
        found, installed = await self._published()
        known = self._position.published
        altered = {
            table
            for table, each in found.items()
            if self._entries.get(table, each.entry) != each.entry or known not in ("", each.options)
        }
        blind = altered | {table for table, each in found.items() if each.flaws}
        if new := sorted(blind.difference(self._position.blind)):
            why = sorted({flaw for table in new for flaw in found[table].flaws})
            log.warning("publication altered", source=self._name, tables=new, now=why)
            yield self._batch((), self._position.blind_to(new), self._gaps_of(new))
        if repairable := sorted(blind & installed):
            await self._repair_gaps(repairable)
            found, _ = await self._published()
        self._entries = {table: each.entry for table, each in found.items()}
        self._position = replace(self._position, published=next((each.options for each in found.values()), known))
        self._flaws = {table: each.flaws for table, each in found.items() if each.flaws}
        if seen := sorted({*self._position.blind} - self._flaws.keys()):
            self._pages.soon(seen)
            tokens = dict.fromkeys(seen, f"blind/{self._position.lsn}")
            left = tuple(name for name in self._position.blind if name in self._flaws)
            yield self._batch((), replace(self._position, blind=left).with_gaps(tokens))

    async def _new_captures(self) -> Sequence[Capture]:
        """Return tables that are to be captured and whose changes the log did not show until now."""
        appeared = await self._find_new_tables()
        self._captures |= {capture.table: capture for capture in appeared.tables}
        return appeared.uncaptured

    async def _published(self) -> tuple[dict[str, Publishing], set[str]]:
        """Return how the tables are published that are installed, or of which the log has lost sight; and which are
        installed."""
        state = await read_state(self._database.link, self._slot)
        if state.problem or state.memory is None:
            raise LogPurged(
                f"{self._info.describe()} cannot be read any more: {state.problem}.", "Run cdc install-slot."
            )
        installed = state.memory.identities.keys() & self._captures.keys()
        asked = sorted({*installed, *self._position.blind} & self._captures.keys())
        return await publishing(self._database.link, self._schema, asked), installed


def _after(position: LogicalPosition, last: SlotTransaction) -> LogicalPosition:
    return replace(position, lsn=last.end, huge=None, stored=last.name)


def _gaps(transactions: Sequence[SlotTransaction]) -> dict[str, str]:
    return {table: each.token for each in transactions for table in each.gaps}


#: Seconds between two checks whether a commit that was read from the log is visible: it soon is, as a rule.
_SOON = 0.002


class LogicalBridge:
    """A `cdc.capture.moving.Bridge`.  ``check``: raises when the triggers are not all in place."""

    def __init__(self, info: ConnectionInfo, check: Callable[[], Awaitable[None]]) -> None:
        self._info = info
        self._check = check
        self._link: PostgresConnection | None = None

    async def _connected(self) -> PostgresConnection:
        if self._link is None:
            link = PostgresConnection(self._info)
            await link.connect()
            self._link = link
        return self._link

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def check_journal(self) -> None:
        await self._check()

    async def mark(self) -> Watermark:
        link = await self._connected()
        end, system, open_ones = (await link.query(load("postgres/move/mark.sql")))[0]

        return Watermark(LogicalPosition(lsn_number(end), system).dump(), lambda: _ended(link, open_ones))

    def passed(self, position: Position, mark: Position) -> bool:
        stand = LogicalPosition.load(position)
        return stand.huge is None and stand.lsn >= LogicalPosition.load(mark).lsn

    async def waiting(self, most: int) -> list[str]:
        found = await (await self._connected()).query(load("postgres/move/waiting.sql"), {"limit": most})
        return [_name(xid) for (xid,) in found]

    def journal_names(self, position: Position) -> tuple[str, ...]:
        return tuple(_name(token) for token in JournalPosition.load(position).done)

    def log_names(self, transaction: Transaction) -> tuple[str, ...]:
        number, _, _ = transaction.token.partition(".")
        return (number,) if number.isdigit() else ()

    async def forget(self, transactions: Sequence[Transaction]) -> None:
        """Delete the transactions from the journal once their commits are visible: the log has a commit a moment
        before."""
        numbers = [int(name) for transaction in transactions for name in self.log_names(transaction)]
        if not numbers:
            return
        link = await self._connected()
        there, newest = (await link.query(load("postgres/move/journal_there.sql")))[0]
        if not there:
            return
        # all 64 bits of numbers that are near the newest that has ended, and may be greater: a commit is in the log a
        # moment before it has ended
        last = int(newest)
        xids = [str(last + ((number - last + _HALF) & _LOWER) - _HALF) for number in numbers]
        while not await _ended(link, xids):  # polled: there is no event to wait for
            await SystemClock().wait(asyncio.Event(), _SOON)
        try:
            await link.query(load("postgres/move/forget.sql"), {"xids": xids})
        except JournalMissing:  # uninstalled this very moment: then there is nothing to forget
            return

    def begin_log(self, mark: Position, journal: Position) -> Position:
        begin = LogicalPosition.load(mark)
        rereads = JournalPosition.load(journal).rereads
        return LogicalPosition(begin.lsn, begin.system, rereads=rereads).dump()

    def begin_journal(self, log: Position) -> Position:
        stand = LogicalPosition.load(log)
        unseen = dict.fromkeys(stand.blind, f"blind/{stand.lsn}")
        return JournalPosition(rereads=stand.with_gaps(unseen).rereads, marker=MOVED).dump()


async def _ended(link: PostgresConnection, xids: Sequence[str]) -> bool:
    return bool((await link.query(load("postgres/move/ended.sql"), {"xids": list(xids)}))[0][0])


def _name(journal_token: str) -> str:
    xid, _, _ = journal_token.partition(".")
    return str(int(xid) & _LOWER)


class LogicalProbe(PostgresProbe):
    """A `cdc.capture.probe.Probe` of a server whose log is read."""

    def __init__(self, info: ConnectionInfo) -> None:
        super().__init__(info)
        self._ends: Ends[int] = Ends(ge)

    async def ask(self, position: Position | None) -> Backlog | None:
        ((end,),) = await self.query("SELECT pg_current_wal_flush_lsn()::text")
        stored = log_part(position)
        return None if stored is None else self._ends.ahead(lsn_number(end), LogicalPosition.load(stored).lsn)
