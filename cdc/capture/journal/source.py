"""The trigger source: whole transactions out of a journal, whatever the engine.

Invariants:

* a batch is yielded only after the one before it was acknowledged, and acknowledging deletes its rows: what is in the
  journal is what has not been stored, plus what the position names;
* of a backlog, the rows of the next batch are read while the one before is mapped and stored, and those are deleted
  while the next one is.  All are whole transactions that were visible already, so none can change; a position names
  those, too, whose deletion is under way, and nobody looks what there is in the journal meanwhile;
* transactions come in the order of their greatest ordinal: row locks are held until commit, so this agrees with the
  commit order wherever two transactions touched the same row, and a transaction that commits late is simply seen late;
* a page of a table (`cdc.capture.pages`) is read in one snapshot with the journal, and told when what waited there was;
* memory is bounded by ``JournalLimits``: a backlog is listed by its transactions' heads, a huge one is read twice.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from cdc.capture.base import NO_BACKFILLS, Backfills
from cdc.capture.consumer_turn import ConsumerTurn
from cdc.capture.journal.ahead import ReadAhead
from cdc.capture.journal.batches import JournalLimits, by_transaction, changes_of, gaps_of, marked, parts
from cdc.capture.journal.database import JournalDatabase, JournalRow, TransactionHead
from cdc.capture.journal.deletion import RowDeletion
from cdc.capture.journal.position import MOVED, JournalPosition, JournalTransactionPart, Marker
from cdc.capture.journal.trigger_check import Check, TriggerCheck
from cdc.capture.new_tables import NewTables, Patterns
from cdc.capture.pages import PageReader, PageRequest, TablePage
from cdc.capture.record_index import RecordIndex, record_names
from cdc.model.change import Batch, Gap, Operation, Row, RowChange, Transaction, Value
from cdc.model.clock import Clock, SystemClock
from cdc.model.column import Table
from cdc.model.errors import CdcError, JournalMissing, OutboxOutdated, SourceError
from cdc.model.finding import Repaired
from cdc.model.image import key_of
from cdc.model.position import Position

#: Brings the triggers of these tables to the wanted state again; raises a `CdcError` when it may not or cannot.
Repair = Callable[[Sequence[str]], Awaitable[Repaired]]

log = structlog.get_logger()

REREADING: Final = "reading all captured tables again; deleted records are not reported"


class JournalSource:
    """A `cdc.capture.base.Source` on top of an engine's `JournalDatabase`."""

    def __init__(
        self,
        name: str,
        database: JournalDatabase,
        repair: Repair,
        limits: JournalLimits | None = None,
        clock: Clock | None = None,
        *,
        check: Check | None = None,
        restore: Check | None = None,
        patterns: Patterns | None = None,
        reread_lost: bool = False,
    ) -> None:
        """``restore``: creates a journal that is missing while triggers write to it."""
        self._name = name
        self._turn = ConsumerTurn(name)
        self._database = database
        self._repair = repair
        self._restore = restore
        self._limits = limits or JournalLimits()
        self._clock = clock or SystemClock()
        self._pages = PageReader(name, self._limits.batch, self._limits.reread_pause, self._clock)
        self._untold: set[str] = set()
        self._reread_lost = reread_lost
        self._begun = False
        self._took_over = False
        self._position = JournalPosition()
        self._tables: dict[str, Table] = {}
        self._trigger_check = TriggerCheck(name, check, self._limits.check_pause, self._clock)
        self._new_tables = NewTables(name, patterns, self._clock)
        self._ahead = ReadAhead(database.transaction_rows)
        self._forgetting = RowDeletion(database.delete)
        self._backlog = True

    @property
    def name(self) -> str:
        return self._name

    @property
    def standby(self) -> bool:
        return self._turn.awaited

    @property
    def problems(self) -> Sequence[str]:
        return self._new_tables.problems

    async def open(self, position: Position | None) -> None:
        self._position = JournalPosition.load(position)
        self._begun = False
        await self._connect()
        self._took_over = await self._turn.take(self._database.try_lock, self._limits.standby)
        await self._meet()
        self._tables = await self._database.tables()

    async def _recognised(self) -> Batch | None:
        """Check that the outbox holds all that was deleted from the journal, and delete the rest of what it holds.
        Return what is to be stored first.  Raises `OutboxOutdated` when the outbox does not hold it, unless the tables
        are to be read again then."""
        stored = self._position.marker
        first = await self._compare_markers()
        if self._position.done:
            await self._database.delete(self._position.done, stored)
        return first

    async def _compare_markers(self) -> Batch | None:
        """A standby that took over may have an outbox of its own: what the other consumer read is in that one's."""
        found = await self._database.marker()
        position = self._position
        if found is None:
            return None
        of_another = position.marker.outbox != found.outbox
        if found.outbox and of_another and (self._took_over or position.marker == MOVED):
            self._position = replace(position, marker=found)
            return Batch((), self._position.dump())
        if position.outdated(found):
            if not self._reread_lost:
                raise outdated(self._name)
            log.error("lost", source=self._name, reason=outdated(self._name).message, action=REREADING)
            self._position = position.adopting(found, self._tables)
            time = self._clock.now()
            gaps = tuple(Gap(table, Operation.READ, time) for table in sorted(self._tables))
            return Batch((), self._position.dump(), gaps)
        if not position.marker.outbox or position.marker == MOVED:
            self._position = replace(position, marker=Marker(secrets.token_hex(8)))
        return None

    async def _connect(self) -> None:
        """With a journal that was lost, while triggers are left that write to it, created again: every write of the
        ERP to their tables fails until then (MariaDB, MySQL) or is not recorded."""
        try:
            await self._database.connect()
        except JournalMissing as missing:
            await self._database.disconnect()
            if self._restore is None:
                raise
            try:
                outcome = await self._restore()
            except CdcError as error:
                raise SourceError(
                    f"{missing.message} It could not be created again: {error.message}", error.hint
                ) from error
            if outcome.done:
                log.warning("journal created again", source=self._name, steps=list(outcome.done))
            await self._database.connect()

    async def close(self) -> None:
        await self._pages.drop()
        await self._trigger_check.close()
        await self._new_tables.close()
        await self._ahead.drop()
        await self._forgetting.close()
        await self._database.disconnect()

    async def acknowledge(self, position: Position) -> None:
        self._position = JournalPosition.load(position)
        await self._forgetting.begin(self._position.done, self._position.marker)
        if not self._ahead.under_way:
            await self._forgetting.settle()

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._database.rows(table, column, values) if values else []

    async def all_rows(self, table: str) -> list[Row]:
        return await self._database.all_rows(table)

    async def tables(self) -> dict[str, Table]:
        return await self._database.tables()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def begin(self) -> Batch | None:
        if self._begun:
            return None
        self._begun = True
        return await self._recognised()

    async def batches(self, backfills: Backfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        await self._ahead.drop()
        self._backlog = True  # perhaps: nobody has looked yet
        self._pages.use(backfills)
        self._untold = set()
        if (first := await self.begin()) is not None:
            yield first
        if self._position.huge is not None:
            async for batch in self._huge(self._position.huge.token, self._position.huge.records):
                yield batch
        while True:
            if self._trigger_check.glances():
                self._trigger_check.saw(await self._database.definitions())
            if self._trigger_check.mended() or await self._meet():
                self._tables = await self._database.tables()
            seen = False
            async for batch in self._visible():
                seen = True
                self._follow(batch)
                yield batch
            if await self._page_ready():
                told = self._told()
                self._pages.ahead(told.step, self._read_next)
                yield told
                await self._pages.settled()
            elif not seen and not self._pages.under_way:
                await self._database.wait(self._pages.rest(self._limits.idle))

    async def _meet(self) -> bool:
        """Return whether there are tables that were not captured before."""
        if self._new_tables.due():
            names = await self._database.table_names()
            new = self._new_tables.look(names, await self._database.installed()).tables
            if new:
                self._database.capture(new)
                return True
        return self._new_tables.extended()

    async def _visible(self) -> AsyncIterator[Batch]:
        """What can be seen now, once through."""
        await self._forgetting.settle()
        if not self._backlog:
            rows = await self._database.peek(self._limits.batch)
            if not rows:
                return
            if len(rows) < self._limits.batch:
                yield await self._batch(rows)
                return
        heads = await self._database.heads(self._limits.heads)
        self._backlog = len(heads) == self._limits.heads  # then there may be more: list again without a peek
        self._ahead.begin(parts(heads, self._limits))
        while (part := await self._ahead.next()) is not None:
            if isinstance(part, TransactionHead):
                async for batch in self._huge(part.token, 0):
                    yield batch
            else:
                yield await self._batch(part)

    async def _batch(self, rows: list[JournalRow]) -> Batch:
        rows = await self._named(rows)
        grouped = by_transaction(rows)
        done = (*self._forgetting.unfinished, *grouped)
        position = await self._after(rows, self._position.next(done))
        transactions = tuple(
            Transaction(token, changes) for token, group in grouped.items() if (changes := changes_of(group))
        )
        return Batch(transactions, position.dump(), gaps_of(rows))

    async def _named(self, rows: list[JournalRow]) -> list[JournalRow]:
        """The rows, those as gaps whose primary key is not the table's any more (its column was renamed or dropped
        behind them): no record can be named for them, but the table can be read again."""
        if all(map(self._is_named, rows)):
            return rows
        self._tables = await self._database.tables()
        return [row if self._is_named(row) else self._renamed(row) for row in rows]

    def _is_named(self, row: JournalRow) -> bool:
        change = row.change
        table = self._tables.get(change.table)
        if table is not None and tuple(change.key) == table.key:
            return True
        return change.before is None and change.after is None

    def _renamed(self, row: JournalRow) -> JournalRow:
        change, table = row.change, self._tables.get(row.change.table)
        key = None if table is None or change.image is None else key_of(change.image, table.key)
        if key is None:
            return row._replace(change=change._replace(key={}, before=None, after=None), gap=True)
        return row._replace(change=change._replace(key=key))

    # -- huge transactions ------------------------------------------------------------------------------------------

    async def _huge(self, token: str, stored_records: int) -> AsyncIterator[Batch]:
        """One transaction in parts of whole records; its rows are deleted after the last part only, so the parts are
        the same when the reading is repeated after a crash."""
        await self._forgetting.settle()
        with RecordIndex() as index:
            gaps = await self._index(token, index)
            for last, ordinals, final in marked(index.parts(stored_records, self._limits.batch)):
                rows = await self._named(await self._database.rows_at(token, ordinals))
                if final:
                    position = await self._after(gaps, self._position.next((token,)))
                else:
                    position = self._position.next(huge=JournalTransactionPart(token, last))
                changes = changes_of(rows)
                part = Transaction(token, changes, more=not final)
                yield Batch((part,), position.dump(), gaps_of(gaps) if final else ())

    async def _index(self, token: str, index: RecordIndex) -> list[JournalRow]:
        """Fill the index; the gap rows met on the way (they belong to no record; one a table is enough)."""
        gaps: dict[str, JournalRow] = {}
        ordinal = -1
        while rows := await self._database.rows_behind(token, ordinal, self._limits.batch):
            ordinal = rows[-1].change.ordinal
            for row in await self._named(rows):
                if row.gap:
                    gaps.setdefault(row.change.table, row)
                index.add(row.change.ordinal, *_names(row.change))
        return list(gaps.values())

    # -- gaps -------------------------------------------------------------------------------------------------------

    async def _after(self, rows: Iterable[JournalRow], position: JournalPosition) -> JournalPosition:
        """The position behind these rows: gaps among them are mended now (if they can be) and read again later."""
        gaps = {row.change.table: row.token for row in rows if row.gap}
        if not gaps:
            return position
        await self._mend(list(gaps))
        for table in gaps.keys() - self._tables.keys():
            log.error("lost", source=self._name, table=table, reason="the table is gone; it cannot be read again")
        return position.with_gaps({table: token for table, token in gaps.items() if table in self._tables})

    async def _mend(self, tables: list[str]) -> None:
        log.warning("gap", source=self._name, tables=tables, action="repairing the triggers, then reading again")
        try:
            failed = (await self._repair(tables)).failed
        except CdcError as error:
            log.error("gap not repaired", source=self._name, tables=tables, error=str(error))
            return
        for table, each in failed.items():
            log.error("gap not repaired", source=self._name, tables=[table], error=str(each))
        self._pages.soon([table for table in tables if table not in failed])
        self._tables = await self._database.tables()

    # -- pages of tables --------------------------------------------------------------------------------------------

    async def _page_ready(self) -> bool:
        """Whether a page is to be told now: what can be seen in it was either consumed before it was read, or waited
        in the journal, and is told first."""
        if not self._pages.under_way:
            await self._read_next()
        return self._pages.under_way and not self._untold

    async def _read_next(self) -> None:
        wanted = await self._pages.wanted(self._position.rereads, self._tables)
        if wanted is not None:
            await self._pages.read(wanted, partial(self._read_page, wanted))

    async def _read_page(self, wanted: PageRequest) -> TablePage | None:
        await self._forgetting.settle()
        read = await self._database.page(wanted, self._limits.heads)
        self._untold = set() if read is None else set(read.waiting)
        return None if read is None else read.page

    def _follow(self, batch: Batch) -> None:
        self._pages.follow(batch.transactions)
        if self._pages.under_way:
            self._untold.difference_update(JournalPosition.load(batch.position).done)

    def _told(self) -> Batch:
        told = self._pages.told(self._position.rereads)
        position = self._position.next(self._forgetting.unfinished, rereads=told.rereads)
        return Batch(told.transactions, position.dump(), told.gaps, step=told.step)


def outdated(source: str) -> OutboxOutdated:
    """Return the error about an outbox that lacks changes which the journal of ``source`` does not hold any more."""
    return OutboxOutdated(
        f"Source {source!r}: this outbox is not the one that read the journal last, or an older state of it: it lacks "
        "changes that the journal does not hold any more.",
        f"Restore the right outbox, or accept this one with cdc source adopt {source}, which reads the captured tables "
        'again; on_purged = "reread" does so by itself.',
    )


def _names(change: RowChange) -> tuple[str, str | None]:
    """What the index calls the change's record now, and before this very change."""
    former = None
    if change.before is not None and change.after is not None:
        former = key_of(change.before, tuple(change.key))
    return record_names(change.table, list(change.key.values()), None if former is None else list(former.values()))
