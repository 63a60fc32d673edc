"""Pages of tables beside PostgreSQL's log: where a page's snapshot is in the log, and when it is told.

A page is told once the log was read up to its end at the snapshot: every commit that the snapshot shows is before it.
It is read only when it shows everything that was told before.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from cdc.capture.base import Backfills
from cdc.capture.logical.transaction import SlotTransaction
from cdc.capture.logical.visible import Snapshot, Unseen
from cdc.capture.pages import PageReader, PageRequest, TablePage, Told
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.capture.reread import Reread
from cdc.database.postgres_lsn import lsn_number
from cdc.model.change import BackfillStep, Transaction
from cdc.model.clock import Clock
from cdc.model.column import Table
from cdc.sqlfile import load

#: Seconds to wait for changes that come before a page of a table.
_SOON = 0.002
#: Seconds that a page waits for others to have the log written to the disk.
_PATIENCE = 0.01
#: Bytes of a page of the log, and of the header of most of them.
_LOG_PAGE, _LOG_HEADER = 8192, 24


class LogPages:
    def __init__(self, reader: PageReader, lookup: PostgresLookup, clock: Clock) -> None:
        self._reader = reader
        self._lookup = lookup
        self._clock = clock
        self._unseen = Unseen()
        self._mark = self._reached = 0
        self._hurry_at = math.inf

    def use(self, backfills: Backfills, reached: int) -> None:
        """The log was read up to ``reached``."""
        self._reader.use(backfills)
        self._mark, self._reached = 0, reached

    def soon(self, tables: Sequence[str]) -> None:
        self._reader.soon(tables)

    def rest(self, wanted: PageRequest | None, idle: float) -> float:
        """Seconds to wait for changes at most: a moment, where a page is to be read or told behind them; until the log
        is to be written out, where one waits."""
        if wanted is not None or self.ready:
            return _SOON
        if self._reader.under_way:
            return min(idle, max(_SOON, self._hurry_at - self._clock.monotonic()))
        return self._reader.rest(idle)

    async def wanted(self, rereads: Sequence[Reread], tables: Mapping[str, Table]) -> PageRequest | None:
        """The page to read next, unless one is under way."""
        return None if self._reader.under_way else await self._reader.wanted(rereads, tables)

    def tells(self, committed: Sequence[SlotTransaction]) -> None:
        """The log tells of these: before any batch of them."""
        self._unseen.told(int(each.token.partition(".")[0]) for each in committed)

    def follow(self, transactions: Sequence[Transaction]) -> None:
        self._reader.follow(transactions)

    def shown(self, snapshot: str) -> None:
        """By now the database shows this."""
        self._unseen.all_in(Snapshot.parse(snapshot))

    async def read(self, wanted: PageRequest) -> None:
        await self._reader.read(wanted, partial(self._page, wanted))

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        """None while it does not show all that was told."""
        page, ((snapshot, end),) = await self._lookup.page(wanted, "slot/page_marks.sql", {})
        if not self._unseen.all_in(Snapshot.parse(snapshot)):
            return None
        self._mark = _end_of_record(lsn_number(end))
        self._hurry_at = self._clock.monotonic() + _PATIENCE
        return page

    async def hurry(self) -> None:
        """We are told of nothing that is not on the server's disk.  Whoever commits has the log written there, else it
        takes its time: then it is asked to, once for a page that waits."""
        if self._reader.under_way and not self.ready and self._clock.monotonic() >= self._hurry_at:
            self._hurry_at = math.inf
            await self._lookup.link.query(load("postgres/slot/flush.sql"))

    def ahead(self, step: BackfillStep | None, read: Callable[[], Awaitable[None]]) -> None:
        self._reader.ahead(step, read)

    async def settled(self) -> None:
        await self._reader.settled()

    async def drop(self) -> None:
        await self._reader.drop()

    def reach(self, reached: int) -> None:
        """The log was read up to ``reached``."""
        self._reached = max(self._reached, reached)

    @property
    def ready(self) -> bool:
        """Whether a page is to be told now."""
        return self._reader.under_way and self._reached >= self._mark

    def told(self, rereads: Sequence[Reread]) -> Told:
        return self._reader.told(rereads)


def _end_of_record(insert: int) -> int:
    """Where the next record begins may lie behind the header of a page that is not written yet: nothing ends there."""
    return insert - _LOG_HEADER if insert % _LOG_PAGE == _LOG_HEADER else insert
