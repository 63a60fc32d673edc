"""The behaviour that all sources of row changes share: the order of changes and pages of tables, repairs of gaps, new
tables, the one consumer.

The stream is read and stored; whenever nothing more waits in it, a page of a table that is to be read again, or of a
backfill, is read (`cdc.capture.pages`), and emitted once the stream has emitted everything that the page shows.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import structlog

from cdc.capture.base import NO_BACKFILLS, CaptureLimits, SingleReader, SourceBackfills, SourceDatabase
from cdc.capture.new_tables import NOTHING_NEW, Appeared, Check, NewTables, Patterns, TriggerCheck
from cdc.capture.pages import SOON, EmittedPage, PageReader, PageRequest, TablePage
from cdc.capture.position import Reread, SourcePosition
from cdc.model.change import Batch, Gap, Operation, ReaderStore, Row, Transaction, Value
from cdc.model.clock import Clock, SystemClock
from cdc.model.column import Table
from cdc.model.errors import CdcError
from cdc.model.finding import Repaired

#: Captures these tables wholly again (triggers, replica identity); raises a `CdcError` when it may not or cannot.
Repair = Callable[[Sequence[str]], Awaitable[Repaired]]

P = TypeVar("P", bound=SourcePosition)
log = structlog.get_logger()


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
        return await self._lock.take(try_lock, self._limits.standby, self._database.lock_holder)

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
            async for batch in self._changes(self._patience(self._limits.idle)):
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

    def _patience(self, idle: float) -> float:
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
        wanted = await self._pages.wanted(self._rereads(), self._tables)
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

    async def _meet(self) -> Appeared:
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
