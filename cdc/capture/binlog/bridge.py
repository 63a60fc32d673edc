"""Support for moving between triggers and the binlog: see `cdc.capture.moving.Bridge`.

A transaction's rows in the journal are in the binlog too, so that the log itself holds its name in the journal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pymysql
from pymysql.connections import Connection

from cdc.capture.binlog.connection import LogHistory
from cdc.capture.binlog.schema_history import BinlogPosition, Version, read_schema
from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.capture.moving import Watermark
from cdc.capture.mysql_session import MySQLSession
from cdc.database import sqlfile
from cdc.database.mysql_connection import LOCK_CONFLICTS, MISSING_TABLE, code_of, rows, server_of
from cdc.model.change import Position, Transaction
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo

#: Seconds to wait for a transaction that is open; then others get a turn.
_PATIENCE = 1
#: Waits for transactions that wrote to the journal and have not ended: the server writes a commit to its log first, and
#: unlocks its rows a moment later.  Nobody waits for this: it locks rows that only the consumer touches, and only
#: shared.
_FENCE = "SELECT COUNT(*) FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) LOCK IN SHARE MODE"


class BinlogBridge:
    """``check``: raises when the triggers are not all in place."""

    def __init__(self, info: ConnectionInfo, captures: Sequence[Capture], check: Callable[[], Awaitable[None]]) -> None:
        self._tables = frozenset(capture.table for capture in captures)
        self._check = check
        self._session = MySQLSession(info)
        self._history = LogHistory(info)
        self._connected = False

    async def _session_open(self) -> MySQLSession:
        if not self._connected:
            await self._session.connect(_patient)
            self._connected = True
        return self._session

    async def close(self) -> None:
        self._connected = False
        await self._session.disconnect()

    async def check_journal(self) -> None:
        await self._check()

    async def mark(self) -> Watermark:
        session = await self._session_open()
        position = await session.run(self._end)
        return Watermark(position, lambda: session.run(_settled))

    def _end(self, connection: Connection[Any]) -> Position:
        flavour = server_of(connection).flavour
        now = read_schema(connection, flavour, self._tables, self._history.head, self._session.closing.is_set)
        rows(connection, f"SET SESSION lock_wait_timeout = {_PATIENCE}, innodb_lock_wait_timeout = {_PATIENCE}")
        version = Version({name: (table,) for name, table in now.tables.items()})
        return BinlogPosition(now.head, "", version.dump(), tuple(sorted(self._tables))).dump()

    def passed(self, position: Position, mark: Position) -> bool:
        stand = BinlogPosition.load(position)
        return stand.huge is None and stand.log.place() >= BinlogPosition.load(mark).log.place()

    async def waiting(self, most: int) -> list[str]:
        session = await self._session_open()
        sql = "SELECT DISTINCT `txn` FROM `cdc_journal` IGNORE INDEX FOR GROUP BY (PRIMARY) LIMIT %s"
        return [str(txn) for (txn,) in await session.run(lambda connection: rows(connection, sql, (most,)))]

    def journal_names(self, position: Position) -> tuple[str, ...]:
        return JournalPosition.load(position).done

    def log_names(self, transaction: Transaction) -> tuple[str, ...]:
        return transaction.journalled

    async def forget(self, transactions: Sequence[Transaction]) -> None:
        """Delete the transactions' rows from the journal; wait for a commit that is in the log and not quite done."""
        names = [int(name) for transaction in transactions for name in transaction.journalled]
        if not names:
            return
        session = await self._session_open()
        for start in range(0, len(names), 1000):
            some = tuple(names[start : start + 1000])
            while not await session.run(partial(_forget, names=some)):
                pass  # it has waited for its turn

    def begin_log(self, mark: Position, journal: Position) -> Position:
        return replace(BinlogPosition.load(mark), rereads=JournalPosition.load(journal).rereads).dump()

    def begin_journal(self, log: Position) -> Position:
        return JournalPosition(rereads=BinlogPosition.load(log).rereads, marker=MOVED).dump()


def _patient(connection: Connection[Any]) -> None:
    rows(connection, f"SET SESSION innodb_lock_wait_timeout = {_PATIENCE}")


def _unless_locked(connection: Connection[Any], sql: str, parameters: Any = None) -> bool:
    """Return whether the statement could be run by now; a journal that is not there holds nothing."""
    try:
        rows(connection, sql, parameters)
    except pymysql.err.MySQLError as error:
        if code_of(error) == MISSING_TABLE:
            return True
        if code_of(error) not in LOCK_CONFLICTS:
            raise
        return False
    return True


def _settled(connection: Connection[Any]) -> bool:
    return _unless_locked(connection, _FENCE)


def _forget(connection: Connection[Any], names: tuple[int, ...]) -> bool:
    return _unless_locked(connection, sqlfile.load("mysql/journal_forget.sql"), (orjson.dumps(names).decode(),))
