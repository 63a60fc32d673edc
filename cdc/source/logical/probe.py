"""Looks at PostgreSQL's log from outside: where it ends."""

from __future__ import annotations

from operator import ge

from cdc.connection import ConnectionInfo
from cdc.database.postgres_lsn import lsn_number
from cdc.position import Position
from cdc.source.logical.position import LogicalPosition
from cdc.source.move.position import log_part
from cdc.source.probe import Ahead, Ends
from cdc.source.probe_postgres import ProbeLink


class LogicalProbe:
    """A `cdc.source.probe.Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._link = ProbeLink(info)
        self._ends: Ends[int] = Ends(ge)

    @property
    def server(self) -> str:
        return self._link.server

    async def ask(self, position: Position | None) -> Ahead | None:
        ((end,),) = await self._link.query("SELECT pg_current_wal_flush_lsn()::text")
        stands = log_part(position)
        return None if stands is None else self._ends.ahead(lsn_number(end), LogicalPosition.load(stands).lsn)

    async def close(self) -> None:
        await self._link.close()
