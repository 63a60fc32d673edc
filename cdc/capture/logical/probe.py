"""Looks at PostgreSQL's log from outside: where it ends."""

from __future__ import annotations

from operator import ge

from cdc.capture.journal.probe_postgres import ProbeConnection
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.move.position import log_part
from cdc.capture.probe import Backlog, Ends
from cdc.database.postgres_lsn import lsn_number
from cdc.model.connection import ConnectionInfo
from cdc.model.position import Position


class LogicalProbe:
    """A `cdc.capture.probe.Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._link = ProbeConnection(info)
        self._ends: Ends[int] = Ends(ge)

    @property
    def server(self) -> str:
        return self._link.server

    async def ask(self, position: Position | None) -> Backlog | None:
        ((end,),) = await self._link.query("SELECT pg_current_wal_flush_lsn()::text")
        stands = log_part(position)
        return None if stands is None else self._ends.ahead(lsn_number(end), LogicalPosition.load(stands).lsn)

    async def close(self) -> None:
        await self._link.close()
