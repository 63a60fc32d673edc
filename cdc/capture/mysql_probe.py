"""Looks at the journal in a MariaDB or MySQL database, or at the server's log, from outside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_head
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.position import BinlogPosition
from cdc.capture.moving import log_part
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.probe import Backlog, Ends
from cdc.database import sqlfile
from cdc.database.mysql_connection import Flavour, rows, server_of
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError

T = TypeVar("T")
#: Seconds that the server gets for an answer.
SECONDS = 5.0
TITLES: Final = {Flavour.MARIADB: "MariaDB", Flavour.MYSQL: "MySQL"}


class ProbeSession:
    """A connection that is made when it is first needed, and again after it failed.  ``server``: as of `Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._session = MySQLSession(info, read_timeout=SECONDS)
        self._connected = False
        self.server = ""

    async def run(self, work: Callable[[Connection[Any]], T]) -> T:
        try:
            if not self._connected:
                await self._session.connect(self._look)
                self._connected = True
            return await self._session.run(work)
        except CdcError:
            await self.close()
            raise

    def _look(self, connection: Connection[Any]) -> None:
        found = server_of(connection)
        self.server = f"{TITLES[found.flavour]} {found.version.partition('-')[0]}"

    async def close(self) -> None:
        self._connected = False
        await self._session.disconnect()


class _MySQLProbe:
    """A `cdc.capture.probe.Probe`, without its question."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._session = ProbeSession(info)

    @property
    def server(self) -> str:
        return self._session.server

    async def close(self) -> None:
        await self._session.close()


class MySQLJournalProbe(_MySQLProbe):
    async def ask(self, _position: Position | None, /) -> Backlog:
        sql = sqlfile.load("mysql/journal_waiting.sql")
        ((transactions, seconds),) = await self._session.run(partial(rows, sql=sql))
        return Backlog(max(float(seconds), 0.0), transactions)


class BinlogProbe(_MySQLProbe):
    def __init__(self, info: ConnectionInfo) -> None:
        super().__init__(info)
        self._ends: Ends[LogPosition] = Ends(holds)

    async def ask(self, position: Position | None) -> Backlog | None:
        end = await self._session.run(log_head)
        stored = log_part(position)
        return None if stored is None else self._ends.ahead(end, BinlogPosition.load(stored).log)


def holds(stored: LogPosition, end: LogPosition) -> bool:
    """Return whether everything before ``end`` is stored.  A new file of the log moves its end, and holds nothing."""
    if stored.gtids and _members(stored) == _members(end):
        return True
    return stored.place() >= end.place()


def _members(position: LogPosition) -> frozenset[str]:
    return frozenset(member.strip() for member in position.gtids.lower().split(","))
