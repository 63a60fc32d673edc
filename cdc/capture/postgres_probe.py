"""Looks at the journal in a PostgreSQL database, or at the server's log, from outside."""

from __future__ import annotations

from operator import ge
from typing import Any

from cdc.capture.logical.position import LogicalPosition
from cdc.capture.moving import log_part
from cdc.capture.postgres_connection import PostgresConnection
from cdc.capture.probe import Backlog, Ends
from cdc.database.postgres_capture import lsn_number
from cdc.database.sqlfile import load
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import CdcError

#: Seconds that the server gets for an answer.
SECONDS = 5.0


class ProbeConnection:
    """A connection that is made when it is first needed, and again after it failed.  ``server``: as of `Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._link: PostgresConnection | None = None
        self.server = ""

    async def query(self, sql: str, parameters: list[Any] | None = None) -> list[Any]:
        try:
            if self._link is None:
                self._link = PostgresConnection(self._info)
                await self._link.connect()
                ((version,),) = await self._link.query("SHOW server_version", seconds=SECONDS)
                self.server = f"PostgreSQL {version.partition(' ')[0]}"
            return await self._link.query(sql, parameters, seconds=SECONDS)
        except CdcError:
            await self.close()
            raise

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()


class _PostgresProbe:
    """A `cdc.capture.probe.Probe`, without its question."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._link = ProbeConnection(info)

    @property
    def server(self) -> str:
        return self._link.server

    async def close(self) -> None:
        await self._link.close()


class PostgresJournalProbe(_PostgresProbe):
    async def ask(self, _position: Position | None, /) -> Backlog:
        ((transactions, seconds),) = await self._link.query(load("postgres/journal/waiting.sql"))
        return Backlog(max(seconds, 0.0), transactions)


class LogicalProbe(_PostgresProbe):
    def __init__(self, info: ConnectionInfo) -> None:
        super().__init__(info)
        self._ends: Ends[int] = Ends(ge)

    async def ask(self, position: Position | None) -> Backlog | None:
        ((end,),) = await self._link.query("SELECT pg_current_wal_flush_lsn()::text")
        stored = log_part(position)
        return None if stored is None else self._ends.ahead(lsn_number(end), LogicalPosition.load(stored).lsn)
