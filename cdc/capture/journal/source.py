"""The trigger source: whole transactions out of a journal, whatever the engine.

Invariants:

* a batch is yielded only after the one before it was acknowledged, and acknowledging deletes its rows: what is in the
  journal is what has not been stored, plus what the position names;
* of a backlog, the rows of the next batch are read while the one before is mapped and stored, and those are deleted
  while the next one is.  All are whole transactions that were visible already, so none can change; a position names
  those, too, whose deletion is under way, and the journal is not read until that has ended;
* transactions come in the order of their greatest ordinal: row locks are held until commit, so this agrees with the
  commit order wherever two transactions touched the same row, and a transaction that commits late is simply seen late;
* a page of a table (`cdc.capture.pages`) is read in one snapshot with the journal, and emitted after what waited there;
* memory is bounded by ``JournalLimits``: a backlog is listed by its transactions' heads, a huge one is read twice.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import structlog

from cdc.capture.base import HugePart, JournalLimits
from cdc.capture.journal.database import (
    MOVED,
    JournalDatabase,
    JournalPosition,
    JournalRow,
    Marker,
    ReadAhead,
    RowDeletion,
    TransactionHead,
    by_transaction,
    changes_of,
    gaps_of,
    parts,
)
from cdc.capture.pages import EmittedPage, PageRequest, TablePage
from cdc.capture.source import CaptureSource, Check, Patterns, Repair
from cdc.capture.spool import RecordIndex, record_names
from cdc.model.change import Batch, Operation, Position, ReaderStore, Row, Transaction, Value
from cdc.model.clock import Clock
from cdc.model.errors import CdcError, JournalMissing, OutboxOutdated, SourceError
from cdc.model.image import key_of

log = structlog.get_logger()


class JournalSource(CaptureSource[JournalPosition]):
    """A `cdc.capture.base.Source` on top of an engine's `JournalDatabase`."""

    _database: JournalDatabase
    _limits: JournalLimits

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
        readers: ReaderStore | None = None,
    ) -> None:
        """``restore``: creates a journal that is missing while triggers write to it."""
        limits = limits or JournalLimits()
        super().__init__(name, database, limits, clock, patterns=patterns, repair=repair, check=check, readers=readers)
        self._restore = restore
        self._reread_lost = reread_lost
        self._took_over = False
        self._position = JournalPosition()
        self._ahead = ReadAhead(database.transaction_rows)
        self._forgetting = RowDeletion(database.delete)
        self._backlog = self._seen = True  # perhaps: nobody has looked yet
        self._unseen: set[str] = set()  # what the last page shows and was not emitted

    async def open(self, position: Position | None) -> None:
        self._position = JournalPosition.load(position)
        self._backlog = self._seen = True
        await self._connect()
        self._took_over = await self._become_consumer()
        await self._find_new_tables()
        self._tables = await self.tables()

    async def _resume(self) -> Batch | None:
        """Check that the outbox holds all that was deleted from the journal, and delete the rest of what it holds.
        Return what is to be stored first.  Raises `OutboxOutdated` when the outbox does not hold it, unless the tables
        are to be read again then."""
        stored = self._position.marker
        found = await self._database.marker()
        first = None
        if found is not None:
            self._note()
            if self._position.restored(found):
                self._database.noted = 0
                reason = "the database was restored from a copy that is older than what was read of it"
                begin = JournalPosition(marker=stored, rereads=self._position.rereads)
                return self._lost(begin, f"restored/{found.batch}/{stored.batch}", reason)
            first = self._compare(found)
            if found.outbox == self._position.marker.outbox:
                self._database.noted = found.batch
                self._note()
        if self._position.done:
            await self._database.delete(self._position.done, stored)
        return first

    def _compare(self, found: Marker) -> Batch | None:
        """A standby that took over may have an outbox of its own: what the other consumer read is in that one's."""
        position = self._position
        of_another = position.marker.outbox != found.outbox
        if found.outbox and of_another and (self._took_over or position.marker == MOVED):
            self._position = replace(position, marker=found)
            return Batch((), self._position.dump())
        if position.outdated(found):
            error = outdated(self._name)
            if not self._reread_lost:
                raise error
            begin = JournalPosition(marker=found, rereads=position.rereads)
            return self._lost(begin, f"outbox/{found.batch}", error.message)
        if not position.marker.outbox or position.marker == MOVED:
            self._position = replace(position, marker=Marker(secrets.token_hex(8)))
        return None

    async def _connect(self) -> None:
        """Connect; create a lost journal again while triggers are left that write to it: until then each write of the
        ERP to their tables fails (MariaDB, MySQL) or is not recorded."""
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

    async def _stop_reading(self) -> None:
        await self._ahead.drop()
        await self._forgetting.close()

    async def acknowledge(self, position: Position) -> None:
        self._position = JournalPosition.load(position)
        self._note()
        await self._forgetting.begin(self._position.done, self._position.marker)
        if not self._ahead.under_way:
            await self._forgetting.settle()

    def _note(self) -> None:
        self._position = replace(self._position, noted=max(self._position.noted, self._database.noted))

    # -- reading ----------------------------------------------------------------------------------------------------

    async def _changes(self, seconds: float) -> AsyncIterator[Batch]:
        if self._position.huge is not None:
            async for batch in self._huge(self._position.huge.token, self._position.huge.records):
                yield batch
        if not self._seen and not self._pages.under_way:
            await self._database.wait(seconds)
        await self._look_after_triggers()
        self._seen = False
        async for batch in self._visible():
            self._seen = True
            yield batch

    async def _look_after_triggers(self) -> None:
        if self._trigger_check.glances():
            began = self._clock.monotonic()
            definitions = await self._database.definitions()
            self._trigger_check.saw(definitions, self._clock.monotonic() - began)
        await self._find_new_tables()
        if self._trigger_check.repaired() or self._new_tables.extended():
            self._tables = await self.tables()

    async def _visible(self) -> AsyncIterator[Batch]:
        """Yield the visible transactions, once through."""
        await self._ahead.drop()
        await self._forgetting.settle()
        if not self._backlog:
            rows = await self._database.peek(self._limits.batch)
            if not rows:
                return
            if len(rows) < self._limits.batch:
                yield await self._batch_of(rows)
                return
        heads = await self._database.heads(self._limits.heads)
        self._backlog = len(heads) == self._limits.heads  # then there may be more: list again without a peek
        self._ahead.begin(parts(heads, self._limits))
        while (part := await self._ahead.next()) is not None:
            if isinstance(part, TransactionHead):
                async for batch in self._huge(part.token, 0):
                    yield batch
            else:
                yield await self._batch_of(part)

    async def _batch_of(self, rows: list[JournalRow]) -> Batch:
        rows = await self._really_gone(await self._named(rows))
        grouped = by_transaction(rows)
        done = (*self._forgetting.unfinished, *grouped)
        position = await self._after_gaps(_gaps(rows), self._position.next(done))
        transactions = tuple(
            Transaction(token, changes) for token, group in grouped.items() if (changes := changes_of(group))
        )
        return Batch(transactions, position.dump(), gaps_of(rows))

    async def _named(self, rows: list[JournalRow]) -> list[JournalRow]:
        """The rows, those as gaps whose primary key is not the table's any more (its column was renamed or dropped
        behind them): no record can be named for them, but the table can be read again."""
        if all(map(self._is_named, rows)):
            return rows
        self._tables = await self.tables()
        named = []
        for row in rows:
            change, table = row.change, self._tables.get(row.change.table)
            key = None if table is None or change.image is None else key_of(change.image, table.key)
            if self._is_named(row):
                named.append(row)
            elif key is None:
                named.append(row._replace(change=change._replace(key={}, before=None, after=None), gap=True))
            else:
                named.append(row._replace(change=change._replace(key=key)))
        return named

    async def _really_gone(self, rows: list[JournalRow]) -> list[JournalRow]:
        """The rows; of the keys in gaps those that name a record that is gone, each once.

        A record that exists was deleted and inserted again, by a REPLACE perhaps: the re-read sends it.  One that
        foreign keys reach by several paths is noted by each."""
        keys: dict[str, list[Row]] = {}
        for row in rows:
            if row.gap and row.change.before is not None:
                keys.setdefault(row.change.table, []).append(row.change.key)
        if not keys:
            return rows
        settled: set[tuple[Value, ...]] = set()
        for table, gone in keys.items():
            columns = tuple(gone[0])
            living = await self._database.rows(table, columns[0], [key[columns[0]] for key in gone])
            settled |= {(table, *(each[column] for column in columns)) for each in living}
        found = []
        for row in rows:
            if row.gap and row.change.before is not None:
                record = (row.change.table, *row.change.key.values())
                nameless = row._replace(change=row.change._replace(key={}, before=None, after=None))
                found.append(nameless if record in settled else row)
                settled.add(record)
            else:
                found.append(row)
        return found

    def _is_named(self, row: JournalRow) -> bool:
        change = row.change
        table = self._tables.get(change.table)
        if table is not None and change.key and table.key in (tuple(change.key), ()):
            return True  # of a table without a key: by the one that it had when its triggers were made
        return change.before is None and change.after is None

    # -- huge transactions ------------------------------------------------------------------------------------------

    async def _huge(self, token: str, stored_records: int) -> AsyncIterator[Batch]:
        """One transaction in parts of whole records; its rows are deleted after the last part only, so the parts are
        the same when the reading is repeated after a crash."""
        await self._forgetting.settle()
        with RecordIndex() as index:
            gaps = await self._index(token, index)
            for last, ordinals, final in index.parts(stored_records, self._limits.batch):
                rows = await self._really_gone(await self._named(await self._database.rows_at(token, ordinals)))
                if final:
                    position = await self._after_gaps(_gaps(gaps), self._position.next((token,)))
                else:
                    position = self._position.next(huge=HugePart(token, last))
                changes = changes_of(rows)
                part = Transaction(token, changes, more=not final)
                yield Batch((part,), position.dump(), gaps_of(gaps) if final else ())

    async def _index(self, token: str, index: RecordIndex) -> list[JournalRow]:
        """Fill the index; the gap rows met on the way (they belong to no record; one a table is enough)."""
        gaps: dict[str, JournalRow] = {}
        ordinal = -1
        while rows := await self._database.rows_after(token, ordinal, self._limits.batch):
            ordinal = rows[-1].change.ordinal
            for row in await self._named(rows):
                if row.gap:
                    gaps.setdefault(row.change.table, row)
                change, former = row.change, None
                if change.before is not None and change.after is not None:
                    former = key_of(change.before, tuple(change.key))
                former_key = None if former is None else list(former.values())
                names = record_names(change.table, list(change.key.values()), former_key)
                index.add(change.ordinal, *names, deleted=change.operation is Operation.DELETE)
        return list(gaps.values())

    # -- pages of tables --------------------------------------------------------------------------------------------

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        """Read a page.  Each change that it shows was either consumed before, or waits in the journal and is emitted
        first."""
        await self._forgetting.settle()
        read = await self._database.page(wanted, self._limits.heads)
        self._unseen = set() if read is None else set(read.waiting)
        return None if read is None else read.page

    def _follow(self, batch: Batch) -> None:
        super()._follow(batch)
        if self._unseen:
            self._unseen.difference_update(JournalPosition.load(batch.position).done)

    def _emitted(self) -> bool:
        return not self._unseen

    def _page_batch(self, page: EmittedPage) -> Batch:
        self._seen = True  # do not wait before the next page
        position = replace(self._position, rereads=page.rereads).next(self._forgetting.unfinished)
        return Batch(page.transactions, position.dump(), page.gaps, step=page.step)


def outdated(source: str) -> OutboxOutdated:
    """Return the error about an outbox that lacks changes which the journal of ``source`` does not hold any more."""
    return OutboxOutdated(
        f"Source {source!r}: this outbox is not the one that read the journal last, or an older state of it: it lacks "
        "changes that the journal does not hold any more.",
        f"Restore the right outbox, or accept this one with cdc source adopt {source}, which reads the captured tables "
        'again; on_purged = "reread" does so by itself.',
    )


def _gaps(rows: Sequence[JournalRow]) -> dict[str, str]:
    return {row.change.table: row.token for row in rows if row.gap}
