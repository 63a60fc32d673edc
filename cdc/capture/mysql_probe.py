"""Looks at the journal in a MariaDB or MySQL database, or at the server's log, from outside."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_head
from cdc.capture.binlog.inspector import log_findings, read_settings
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.moving import log_part
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.probe import Backlog, Ends
from cdc.database import sqlfile
from cdc.database.mysql_connection import Flavour, rows, server_of
from cdc.database.mysql_inspect import read_replication, replica_of_triggers
from cdc.database.mysql_journal import Tokens
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError
from cdc.model.finding import Finding, Severity

T = TypeVar("T")
#: Seconds that the server gets for an answer.
SECONDS = 5.0
#: Seconds between two checks of the server's settings.
_CHECK_SECONDS: Final = 30.0
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


class _MySQLProbe(ABC):
    """A `cdc.capture.probe.Probe`, without its question."""

    def __init__(self, info: ConnectionInfo, *, replica: bool = False) -> None:
        """``replica``: the server may be one of which changes are not seen."""
        self._info, self._replica = info, replica
        self._session = ProbeSession(info)
        self._problems: tuple[str, ...] = ()
        self._checked_at = -math.inf

    @property
    def server(self) -> str:
        return self._session.server

    async def close(self) -> None:
        await self._session.close()

    async def _with_problems(self, backlog: Backlog) -> Backlog:
        """Add what was found when the server's settings were checked last."""
        if time.monotonic() - self._checked_at >= _CHECK_SECONDS:
            found = await self._session.run(lambda connection: list(self._findings(connection)))
            self._problems = tuple(f"{each.detail} {each.fix}." for each in found if each.severity is Severity.WRONG)
            self._checked_at = time.monotonic()
        return replace(backlog, problems=self._problems)

    @abstractmethod
    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        """Check the server's settings."""


class MySQLJournalProbe(_MySQLProbe):
    async def ask(self, _position: Position | None, /) -> Backlog:
        sql = sqlfile.load("mysql/journal_waiting.sql")
        ((transactions, seconds),) = await self._session.run(partial(rows, sql=sql))
        return await self._with_problems(Backlog(max(float(seconds), 0.0), transactions))

    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        for (tokens,) in rows(
            connection, "SELECT `tokens` FROM `cdc_installation` FORCE INDEX (PRIMARY) WHERE `id` = 1"
        ):
            found = replica_of_triggers(read_replication(connection), Tokens(tokens), accepted=self._replica)
            yield from [found] if found else []


class BinlogProbe(_MySQLProbe):
    def __init__(self, info: ConnectionInfo, *, replica: bool = False) -> None:
        super().__init__(info, replica=replica)
        self._ends: Ends[LogPosition] = Ends(holds)

    async def ask(self, position: Position | None) -> Backlog | None:
        end = await self._session.run(log_head)
        stored = log_part(position)
        if stored is None:
            return None
        return await self._with_problems(self._ends.ahead(end, BinlogPosition.load(stored).log))

    def _findings(self, connection: Connection[Any]) -> Iterable[Finding]:
        return log_findings(connection, self._info.database, read_settings(connection), replica=self._replica)


def holds(stored: LogPosition, end: LogPosition) -> bool:
    """Return whether everything before ``end`` is stored.  A new file of the log moves its end, and holds nothing."""
    if stored.gtids and _members(stored) == _members(end):
        return True
    return stored.place() >= end.place()


def _members(position: LogPosition) -> frozenset[str]:
    return frozenset(member.strip() for member in position.gtids.lower().split(","))
