"""Pages of tables beside the binlog: the place of a page's snapshot in the log, and when its rows are emitted.

The log's end after the snapshot includes everything that the snapshot shows; a `VisibilityCheck` says whether the
snapshot shows everything that was emitted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pymysql.connections import Connection

from cdc.capture.base import Backfills
from cdc.capture.binlog.connection import log_end
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.visibility import VisibilityCheck, last_witness
from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.pages import PageReader, PageRequest, TablePage, Told
from cdc.capture.reread import Reread
from cdc.database.mysql_connection import rows
from cdc.model.change import BackfillStep, Transaction
from cdc.model.column import Table
from cdc.model.errors import SourceError

#: Seconds to wait for changes that come before a page of a table.
_SOON = 0.002
#: As `LogPosition.place`.
Place = tuple[int, int]


class BinlogPages:
    def __init__(self, reader: PageReader, session: MySQLSession, lookup: MySQLLookup) -> None:
        self._reader = reader
        self._session = session
        self._lookup = lookup
        self._visibility: VisibilityCheck | None = None
        self._mark: Place = (0, 0)
        self._reached: Place = (0, 0)

    def use(self, backfills: Backfills, reached: LogPosition) -> None:
        """The log was read up to ``reached``."""
        self._reader.use(backfills)
        self._reached = reached.place()

    def soon(self, tables: Sequence[str]) -> None:
        self._reader.soon(tables)

    def rest(self, wanted: PageRequest | None, idle: float) -> float:
        """Seconds to wait for changes at most: a moment, where a page is to be read or told behind them."""
        return _SOON if wanted is not None or self.ready else self._reader.rest(idle)

    async def wanted(self, rereads: Sequence[Reread], tables: Mapping[str, Table]) -> PageRequest | None:
        """The page to read next, unless one is under way."""
        return None if self._reader.under_way else await self._reader.wanted(rereads, tables)

    def follow(self, transactions: Sequence[Transaction], reached: LogPosition) -> None:
        """The log tells of these, up to ``reached``."""
        self._reader.follow(transactions)
        self._reached = reached.place()
        self._visibility = last_witness(transactions) or self._visibility

    async def read(self, wanted: PageRequest) -> None:
        await self._reader.read(wanted, partial(self._page, wanted))

    async def _page(self, wanted: PageRequest) -> TablePage | None:
        """None while it does not show all that was told."""

        def read(connection: Connection[Any]) -> tuple[TablePage, tuple[Place, bool]]:
            return self._lookup.page(connection, wanted, lambda: self._marks(connection, wanted))

        page, (self._mark, shown) = await self._session.run(read)
        return page if shown else None

    def _marks(self, connection: Connection[Any], wanted: PageRequest) -> tuple[Place, bool]:
        """The place where the page can be told, and whether the snapshot shows all that was told."""
        ordered = dict(rows(connection, "SHOW GLOBAL VARIABLES LIKE 'binlog_order_commits'"))
        if wanted.backfill is not None and "OFF" in ordered.values():
            raise SourceError(
                "The server may show commits in another order than its log has them.",
                "SET GLOBAL binlog_order_commits = ON, then begin the backfill again.",
            )
        return log_end(connection).place(), self._shown(connection)

    def _shown(self, connection: Connection[Any]) -> bool:
        visibility = self._visibility
        if visibility is None:
            return True
        if not visibility.shown(self._lookup.row(connection, visibility.table, visibility.key)):
            return False
        self._visibility = None  # what is shown once is shown for ever
        return True

    def ahead(self, step: BackfillStep | None, read: Callable[[], Awaitable[None]]) -> None:
        self._reader.ahead(step, read)

    async def settled(self) -> None:
        await self._reader.settled()

    async def drop(self) -> None:
        await self._reader.drop()

    @property
    def ready(self) -> bool:
        """Whether a page is to be told now."""
        return self._reader.under_way and self._reached >= self._mark

    def told(self, rereads: Sequence[Reread]) -> Told:
        return self._reader.told(rereads)
