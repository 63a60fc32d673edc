"""Support for moving between triggers and PostgreSQL's log: see `cdc.capture.moving.Bridge`.

A transaction has one number on both sides: the journal stores all 64 bits of it, the log has the lower 32.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.moving import Watermark
from cdc.capture.postgres_connection import PostgresConnection
from cdc.database.postgres_capture import lsn_number
from cdc.database.sqlfile import load
from cdc.model.change import Position, Transaction
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import JournalMissing

_LOWER, _HALF = (1 << 32) - 1, 1 << 31
#: Seconds between two checks whether a commit that was read from the log is visible: it soon is, as a rule.
_SOON = 0.002


class LogicalBridge:
    """``check``: raises when the triggers are not all in place."""

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
        xids = [str(_whole(number, int(newest))) for number in numbers]
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


def _whole(number: int, newest: int) -> int:
    """Return all 64 bits of a transaction's ``number``.  It is near the ``newest`` that has ended, and may be
    greater: a commit is in the log a moment before it has ended."""
    return newest + ((number - newest + _HALF) & _LOWER) - _HALF
