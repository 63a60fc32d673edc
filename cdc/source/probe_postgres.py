"""Looks at the journal in a PostgreSQL database from outside."""

from __future__ import annotations

from typing import Any

from cdc.connection import ConnectionInfo
from cdc.errors import CdcError
from cdc.position import Position
from cdc.source.postgres_link import Link
from cdc.source.probe import Ahead
from cdc.sqlfile import load

#: Seconds that the server gets for an answer.
SECONDS = 5.0


class ProbeLink:
    """A connection that is made when it is first needed, and again after it failed.  ``server``: as of `Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._link: Link | None = None
        self.server = ""

    async def query(self, sql: str, parameters: list[Any] | None = None) -> list[Any]:
        try:
            if self._link is None:
                self._link = Link(self._info)
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


class PostgresJournalProbe:
    """A `cdc.source.probe.Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._link = ProbeLink(info)

    @property
    def server(self) -> str:
        return self._link.server

    async def ask(self, position: Position | None) -> Ahead:  # noqa: ARG002 - the protocol's; what is stored is not there
        ((transactions, seconds),) = await self._link.query(load("postgres/journal/waiting.sql"))
        return Ahead(max(seconds, 0.0), transactions)

    async def close(self) -> None:
        await self._link.close()
