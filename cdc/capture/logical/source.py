"""The source that reads PostgreSQL's log: whole transactions out of a replication slot.

Invariants:

* the slot is confirmed only up to a position that the outbox holds: a slot that is further on was moved, or made, by
  somebody else, and what lies between is lost, which is said;
* a position lies behind whole transactions; of a huge one, the records that are stored are counted, and it is read
  again from its beginning;
* what the log does not hold whole is a gap: the table's replica identity is mended and the table is read again;
* a page of a table is told once the log was read up to the log's end at its snapshot, which showed all told before;
* one consumer a database: the lock lives on the connection that looks rows up, and the slot has one reader.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from cdc.capture.base import NO_BACKFILLS, Backfills
from cdc.capture.consumer_turn import ConsumerTurn
from cdc.capture.logical.base import LogStream
from cdc.capture.logical.connect import connected
from cdc.capture.logical.limits import SlotLimits
from cdc.capture.logical.pages import LogPages
from cdc.capture.logical.position import HugePart, LogicalPosition
from cdc.capture.logical.reader import SlotChunk, SlotReader
from cdc.capture.logical.slot import SlotState, blind_tables, read_state
from cdc.capture.logical.slot_care import ANOTHER_HISTORY, Renew, SlotCare, lost_behind
from cdc.capture.logical.tables import SlotTables
from cdc.capture.logical.transaction import SlotTransaction
from cdc.capture.new_tables import NewTables, Patterns
from cdc.capture.pages import PageReader
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_slot import PUBLICATION, slot_name
from cdc.model.change import Batch, Gap, Operation, Row, Transaction, Value
from cdc.model.clock import Clock, SystemClock
from cdc.model.column import Capture, Table
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError, LogPurged, SourceUnavailable
from cdc.model.position import Position

#: Brings these tables to the wanted state again (published, replica identity FULL); raises a `CdcError` when it may not
#: or cannot.
Repair = Callable[[Sequence[str]], Awaitable[object]]

#: Seconds that the connection with the lock may take to answer.
_ALIVE_SECONDS = 20.0

log = structlog.get_logger()


class LogicalSource:
    """A `cdc.capture.base.Source`.  ``captures``: whose changes are read; ``lookups``: what else mapping looks up.

    ``reread_lost``: when part of the log is lost, read all captured tables and go on from where the slot is; else that
    is an error."""

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
    ) -> None:
        self._name = name
        self._turn = ConsumerTurn(name)
        self._info = info
        self._captures = {capture.table: capture for capture in captures}
        self._repair = repair
        self._reread_lost = reread_lost
        self._limits = limits or SlotLimits()
        self._clock = clock or SystemClock()
        self._lookup = PostgresLookup(info, captures, lookups)
        self._slot = slot_name(info.database)
        self._care = SlotCare(name, info, self._lookup.link, renew, self._limits.retained, again=reread_lost)
        pages = PageReader(name, self._limits.batch, self._limits.reread_pause, self._clock)
        self._pages = LogPages(pages, self._lookup, self._clock)
        self._stream: LogStream | None = None
        self._reader: SlotReader | None = None
        self._watch: asyncio.Task[None] | None = None
        self._position = LogicalPosition(0, "")
        self._gaps: tuple[Gap, ...] = ()
        self._new_tables = NewTables(name, patterns, self._clock)
        self._unseen: list[str] = []
        self._fresh = False
        self._schema = ""
        self._tables: dict[str, Table] = {}
        self._stored_at = 0.0
        self._check_at = -math.inf
        self._alive_at = 0.0

    @property
    def name(self) -> str:
        return self._name

    @property
    def standby(self) -> bool:
        return self._turn.awaited

    @property
    def problems(self) -> Sequence[str]:
        return self._new_tables.problems

    # -- its life ---------------------------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        given = None if position is None else LogicalPosition.load(position)
        await self._lookup.connect()
        await self._turn.take(self._lookup.try_lock, self._limits.standby)
        state = await self._care.usable()
        assert state.memory is not None, "usable"
        self._schema = state.memory.schema
        await self._lookup.use_schema(self._schema)
        self._unseen = await self._meet()
        self._tables = await self._lookup.tables()
        lost = "" if given is None else lost_behind(given, state)
        self._position, self._gaps = self._begin(given, lost, state)
        if not await self._read_log(state):
            self._position, self._gaps = self._begin(given, ANOTHER_HISTORY, state)
            await self._end_log()
            await self._read_log(state)
        self._position = replace(self._position, stored=self._position.last, started=state.started)
        self._fresh = self._position != given
        self._watch = asyncio.create_task(self._care.watch(self._limits.check_pause))

    async def _read_log(self, state: SlotState) -> bool:
        """Begin to read at the position.  Return False when the log is not the one that was read."""
        last, to_verify = self._position.last, self._position.to_verify(state.confirmed, state.started)
        self._stream = await connected(self._name, self._info, self._slot, PUBLICATION)
        await self._stream.open(state.confirmed if to_verify else last.lsn + 1)
        tables = SlotTables(self._lookup, self._captures, self._schema)
        self._reader = SlotReader(self._stream, tables, self._limits.batch, self._limits.huge, last.lsn + 1)
        return not to_verify or await self._reader.holds(last, self._limits.idle)

    async def _end_log(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _begin(
        self, given: LogicalPosition | None, lost: str, state: SlotState
    ) -> tuple[LogicalPosition, tuple[Gap, ...]]:
        """Where reading begins, and what is lost before it."""
        begin = LogicalPosition(state.confirmed, state.system)
        if given is None:
            return begin, ()
        if not lost:
            return given, ()
        if not self._reread_lost:
            raise LogPurged(
                f"The replication slot {self._slot} of {self._info.describe()} {lost}.",
                'With on_purged = "reread" all captured tables are read as they are now, and the log from there on.',
            )
        log.error(
            "lost",
            source=self._name,
            reason=f"the replication slot {self._slot} {lost}",
            action="reading all captured tables again; deleted records are not told of",
        )
        tables = sorted(self._tables)
        token = f"slot/{state.system}/{state.confirmed}"
        return replace(begin, blind=given.blind).with_gaps(dict.fromkeys(tables, token)), self._gaps_of(tables)

    def _gaps_of(self, tables: Sequence[str]) -> tuple[Gap, ...]:
        time = self._clock.now()
        return tuple(Gap(table, Operation.READ, time) for table in tables)

    async def close(self) -> None:
        await self._pages.drop()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)  # how it ended matters to nobody
        await self._new_tables.close()
        await self._end_log()
        await self._lookup.disconnect()

    async def acknowledge(self, position: Position) -> None:
        if self._stream is None:
            raise SourceUnavailable(f"The source {self._name} is not open.")
        await self._stream.confirm(LogicalPosition.load(position).lsn)

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._lookup.rows(table, column, values) if values else []

    async def all_rows(self, table: str) -> list[Row]:
        return await self._lookup.all_rows(table)

    async def tables(self) -> dict[str, Table]:
        return await self._lookup.tables()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def begin(self) -> Batch | None:
        fresh, self._fresh = self._fresh, False
        return self._batch((), self._position, self._gaps) if fresh else None

    async def batches(self, backfills: Backfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        self._pages.use(backfills, self._position.lsn)
        if (first := await self.begin()) is not None:
            yield first
        while True:
            async for batch in self._look_at_tables():
                yield batch
            wanted = await self._pages.wanted(self._position.rereads, self._tables)
            chunk = await self._next(self._pages.rest(wanted, self._limits.idle))
            async for batch in self._stored(chunk):
                self._pages.follow(batch.transactions)
                yield batch
            if wanted is not None and chunk.caught_up:
                await self._pages.read(wanted)
            self._pages.reach(max(self._position.lsn, chunk.progress))
            await self._pages.hurry()
            if self._pages.ready:
                told = self._told()
                self._pages.ahead(told.step, self._read_next)
                yield told
                await self._pages.settled()

    async def _read_next(self) -> None:
        wanted = await self._pages.wanted(self._position.rereads, self._tables)
        if wanted is not None:
            await self._pages.read(wanted)

    async def _next(self, seconds: float) -> SlotChunk:
        assert self._reader is not None, "opened"
        await self._still_consumer()
        return await self._reader.next(seconds)

    async def _still_consumer(self) -> None:
        """The lock lives as long as its connection, which is looked after now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._alive_at >= self._limits.idle:
            ((text,),) = await self._lookup.link.query("SELECT pg_current_snapshot()::text", seconds=_ALIVE_SECONDS)
            self._pages.shown(text)
            self._alive_at = now

    async def _stored(self, chunk: SlotChunk) -> AsyncIterator[Batch]:
        """What is to be stored of it: the small transactions together, a huge one in parts, else how far we are."""
        self._pages.tells(chunk.transactions)
        if chunk.transactions:
            gaps = {gap.table: gap for each in chunk.transactions for gap in each.gaps.values()}
            position = _after(self._position, chunk.transactions[-1])
            yield self._batch(
                tuple(Transaction(each.token, tuple(each.changes)) for each in chunk.transactions if each.changes),
                await self._after(chunk.transactions, position),
                tuple(gaps.values()),
            )
        if chunk.huge is not None:
            async for batch in self._huge(chunk.huge):
                yield batch
        elif not chunk.transactions and chunk.progress > self._position.lsn and self._due_progress():
            yield self._batch((), replace(self._position, lsn=chunk.progress, huge=None))

    async def _huge(self, committed: SlotTransaction) -> AsyncIterator[Batch]:
        assert committed.spool is not None, "huge"
        self._pages.tells([committed])
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
                    yield self._batch(transactions, await self._after([committed], position), gaps)
                else:
                    huge = HugePart(committed.token, part.records, tables)
                    yield self._batch(transactions, replace(self._position, huge=huge))
                await asyncio.sleep(0)

    def _batch(
        self, transactions: tuple[Transaction, ...], position: LogicalPosition, gaps: tuple[Gap, ...] = ()
    ) -> Batch:
        self._position = position
        self._stored_at = asyncio.get_running_loop().time()
        return Batch(transactions, position.dump(), gaps)

    def _due_progress(self) -> bool:
        return asyncio.get_running_loop().time() - self._stored_at >= self._limits.progress

    def _told(self) -> Batch:
        told = self._pages.told(self._position.rereads)
        batch = self._batch(told.transactions, replace(self._position, rereads=told.rereads), told.gaps)
        return replace(batch, step=told.step)

    # -- gaps -------------------------------------------------------------------------------------------------------

    async def _after(self, transactions: Sequence[SlotTransaction], position: LogicalPosition) -> LogicalPosition:
        """The position behind these transactions: gaps among them are mended now (if they can be), and read again."""
        gaps = {table: each.token for each in transactions for table in each.gaps}
        if not gaps:
            return position
        await self._mend(list(gaps))
        for table in gaps.keys() - self._tables.keys():
            log.error("lost", source=self._name, table=table, reason="the table is gone; it cannot be read again")
        return position.with_gaps({table: token for table, token in gaps.items() if table in self._tables})

    async def _mend(self, tables: Sequence[str]) -> None:
        log.warning(
            "gap", source=self._name, tables=list(tables), action="mending the slot's tables, then reading again"
        )
        try:
            await self._repair(tables)
        except CdcError as error:
            log.error("gap not repaired", source=self._name, tables=list(tables), error=str(error))
            return
        self._pages.soon(tables)
        if self._schema:
            self._tables = await self._lookup.tables()

    async def _look_at_tables(self) -> AsyncIterator[Batch]:
        """Now and then: installed tables of which the log has lost sight are noted, mended, and then read again.

        The note is stored first: what was missed is read again even if somebody else mends the table while we are down.
        """
        unseen, self._unseen = self._unseen, []
        if new := [*unseen, *await self._meet()]:
            yield self._batch((), self._position.blind_to(new), self._gaps_of(new))
        now = self._clock.monotonic()
        if now < self._check_at and not self._new_tables.extended():
            return
        self._check_at = now + self._limits.check_pause.total_seconds()
        blind, installed = await self._blind()
        if new := sorted(blind.difference(self._position.blind)):
            yield self._batch((), self._position.blind_to(new), self._gaps_of(new))
        if mendable := sorted(blind & installed):
            await self._mend(mendable)
            blind, _ = await self._blind()
        if seen := sorted({*self._position.blind} - blind):
            self._pages.soon(seen)
            tokens = dict.fromkeys(seen, f"blind/{self._position.lsn}")
            left = tuple(name for name in self._position.blind if name in blind)
            yield self._batch((), replace(self._position, blind=left).with_gaps(tokens))

    async def _meet(self) -> list[str]:
        """Return tables that are to be captured and whose changes the log did not show until now."""
        if not self._new_tables.due():
            return []
        names = await self._lookup.table_names()
        memory = (await read_state(self._lookup.link, self._slot)).memory
        new, uncaptured = self._new_tables.look(names, memory.identities if memory is not None else ())
        if new:
            self._lookup.capture(new)
            self._captures |= {capture.table: capture for capture in new}
            self._tables = await self._lookup.tables()
        return [each.table for each in uncaptured if each.table in self._tables and self._tables[each.table].key]

    async def _blind(self) -> tuple[set[str], set[str]]:
        """Tables of which the log has lost sight, or never had any; and those that are installed."""
        state = await read_state(self._lookup.link, self._slot)
        if state.problem or state.memory is None:
            raise LogPurged(
                f"{self._info.describe()} cannot be read any more: {state.problem}.", "Run cdc install-slot."
            )
        installed = state.memory.identities.keys() & self._captures.keys()
        asked = sorted({*installed, *self._position.blind} & self._captures.keys())
        return set(await blind_tables(self._lookup.link, self._schema, asked)), installed


def _after(position: LogicalPosition, last: SlotTransaction) -> LogicalPosition:
    return replace(position, lsn=last.end, huge=None, stored=last.name)
