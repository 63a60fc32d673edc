"""Pages of tables beside the binlog: the place of a page's snapshot in the log, and when its rows are emitted.

The log's end after the snapshot includes everything that the snapshot shows; a `VisibilityCheck` says whether the
snapshot shows everything that was emitted.  The server writes a commit to its log first and shows it a moment later, in
the same order; it has no statement that says which commit it showed last.  The rows do: a change that was emitted is
shown if its row is not as it was before.  (While it is not, no other transaction can have changed that row; a later
change is shown later.)  And where the last change is shown, all before it are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_end
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.pages import PageRequest, TablePage
from cdc.database.mysql_connection import rows
from cdc.model.change import Operation, Row, RowChange, Transaction
from cdc.model.errors import SourceError

#: As `LogPosition.place`.
Place = tuple[int, int]


class VisibilityCheck(NamedTuple):
    """The row of ``table`` with this key was ``before`` (None: not there) until a change that was read from the log."""

    table: str
    key: Row
    before: Row | None

    def shown(self, row: Row | None) -> bool:
        """``row``: what the snapshot has under the key."""
        return row != self.before


def last_witness(transactions: Sequence[Transaction]) -> VisibilityCheck | None:
    """Return the visibility check of the last change that made a difference; what made none cannot be seen, nor need it
    be."""
    for transaction in reversed(transactions):
        seen: set[tuple[object, ...]] = set()
        for change in reversed(transaction.changes):
            name = (change.table, *change.key.values())
            if change.operation not in (Operation.READ, Operation.TRUNCATE) and name not in seen:
                seen.add(name)
                visibility = _visibility(change, transaction.changes)
                if visibility is not None:
                    return visibility
    return None


def _visibility(last: RowChange, changes: Sequence[RowChange]) -> VisibilityCheck | None:
    """Return the visibility check of a transaction's effect on the key of its change ``last``; None when that is as
    before."""
    key = last.key
    for change in changes:
        if change.table != last.table:
            continue
        if change.before is not None and _under(change.before, key):
            return None if change.before == last.after else VisibilityCheck(last.table, key, change.before)
        if change.after is not None and _under(change.after, key):
            return None if last.after is None else VisibilityCheck(last.table, key, None)
    return None


def _under(row: Row, key: Row) -> bool:
    return all(row.get(column) == value for column, value in key.items())


class BinlogPages:
    """Reads pages with their places, and knows how far the log was read."""

    def __init__(self, session: MySQLSession, lookup: MySQLLookup) -> None:
        self._session = session
        self._lookup = lookup
        self._visibility: VisibilityCheck | None = None
        self._mark: Place = (0, 0)
        self._reached: Place = (0, 0)

    def begin(self, reached: LogPosition) -> None:
        """The log is read from there on."""
        self._reached = reached.place()

    def follow(self, transactions: Sequence[Transaction], reached: LogPosition) -> None:
        """The log has these, up to ``reached``."""
        self._reached = reached.place()
        self._visibility = last_witness(transactions) or self._visibility

    async def read(self, wanted: PageRequest) -> TablePage | None:
        """Return the page; None while it does not show everything that was emitted."""

        def read(connection: Connection[Any]) -> tuple[TablePage, tuple[Place, bool]]:
            return self._lookup.page(connection, wanted, lambda: self._marks(connection, wanted))

        page, (self._mark, shown) = await self._session.run(read)
        return page if shown else None

    def _marks(self, connection: Connection[Any], wanted: PageRequest) -> tuple[Place, bool]:
        """Return the place where the page can be emitted, and whether the snapshot shows all that was emitted."""
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

    def emitted(self) -> bool:
        """Return whether everything that the last page shows was emitted."""
        return self._reached >= self._mark
