"""Looks at the log of a MariaDB or MySQL server from outside: where it ends."""

from __future__ import annotations

from cdc.capture.binlog.connection import log_head
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.position import BinlogPosition
from cdc.capture.journal.probe_mysql import ProbeSession
from cdc.capture.move.position import log_part
from cdc.capture.probe import Backlog, Ends
from cdc.model.connection import ConnectionInfo
from cdc.model.position import Position


class BinlogProbe:
    """A `cdc.capture.probe.Probe`."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._session = ProbeSession(info)
        self._ends: Ends[LogPosition] = Ends(holds)

    @property
    def server(self) -> str:
        return self._session.server

    async def ask(self, position: Position | None) -> Backlog | None:
        end = await self._session.run(log_head)
        stands = log_part(position)
        return None if stands is None else self._ends.ahead(end, BinlogPosition.load(stands).log)

    async def close(self) -> None:
        await self._session.close()


def holds(stored: LogPosition, end: LogPosition) -> bool:
    """Whether everything before ``end`` is stored.  A new file of the log moves its end, and holds nothing."""
    if stored.gtids and _members(stored) == _members(end):
        return True
    return stored.place() >= end.place()


def _members(position: LogPosition) -> frozenset[str]:
    return frozenset(member.strip() for member in position.gtids.lower().split(","))
