"""A binlog source on a database of one test, and what it reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cdc.capture.base import LogLimits
from cdc.capture.binlog.connection import LogConnection, log_head
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.binlog.source import BinlogSource
from cdc.database.mysql_connection import connect
from cdc.model.change import Batch, Gap, Position, RowChange
from cdc.model.column import Capture
from support.database import Database
from support.waiting import HANG_SECONDS

#: How the sources of a test get at the log; fixtures set it.
CONNECTION: ContextVar[type[LogConnection]] = ContextVar("connection", default=LogConnection)
QUICK = LogLimits(progress=0, idle=0.1, standby=0.2, heartbeat=1, reread_pause=timedelta(0))


@dataclass
class Reading:
    """``changes``: everything that came so far; ``batches``: the same; ``position``: the last one, acknowledged."""

    database: Database
    source: BinlogSource
    position: Position | None
    changes: list[RowChange] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    _stream: AsyncIterator[Batch] | None = None

    async def next(self, seconds: float = HANG_SECONDS) -> Batch:
        if self._stream is None:
            self._stream = self.source.batches()
        async with asyncio.timeout(seconds):
            batch = await anext(self._stream)
        self.position = batch.position
        await self.source.acknowledge(batch.position)
        for transaction in batch.transactions:
            self.tokens.append(transaction.token)
            self.changes += transaction.changes
        self.gaps += batch.gaps
        return batch

    async def drain(self) -> list[RowChange]:
        """Return the changes until everything is read that has been committed by now, re-reads included."""
        with closing(connect(self.database.info)) as connection:
            head = log_head(connection).place()
        seen = len(self.changes)
        while self.position is None or not self._done(head):
            await self.next()
        return self.changes[seen:]

    def _done(self, head: tuple[int, int]) -> bool:
        assert self.position is not None
        position = BinlogPosition.load(self.position)
        return position.log.place() >= head and not position.rereads


def binlog_source(
    database: Database, *captures: Capture | str, limits: LogLimits = QUICK, reread_purged: bool = False
) -> BinlogSource:
    wanted = [Capture(each) if isinstance(each, str) else each for each in captures]
    return BinlogSource(
        "main", database.info, wanted, limits=limits, reread_purged=reread_purged, connection=CONNECTION.get()
    )


@asynccontextmanager
async def reading(
    database: Database,
    *captures: Capture | str,
    position: Position | None = None,
    limits: LogLimits = QUICK,
    reread_purged: bool = False,
) -> AsyncIterator[Reading]:
    """Opened at the position (the end of the log without one), which is read first."""
    source = binlog_source(database, *captures, limits=limits, reread_purged=reread_purged)
    try:
        await source.open(position)
        running = Reading(database, source, position)
        if position is None:
            await running.next()
        yield running
    finally:
        await source.close()


def images(changes: Sequence[RowChange]) -> list[tuple[Any, ...]]:
    """(operation, before, after) of each."""
    return [
        (
            change.operation.value,
            None if change.before is None else dict(change.before),
            None if change.after is None else dict(change.after),
        )
        for change in changes
    ]
