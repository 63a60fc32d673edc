"""Capture from PostgreSQL's log on a test's database: installed, read, and what committed changes came out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from cdc.capture.base import SlotLimits
from cdc.capture.logical.position import LogicalPosition
from cdc.capture.logical.source import LogicalSource
from cdc.capture.slot.postgres import SlotInstaller
from cdc.database.postgres_capture import lsn_number
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.model.change import Batch, Position, RowChange, Transaction
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo
from cdc.model.errors import InstallError, SourceError
from cdc.model.finding import Repaired
from cdc.runtime import capture
from support.database import Database
from support.pipeline import More, Pipeline, opened
from support.waiting import HANG_SECONDS

#: The position is reported at once, and nothing waits long.
EAGER = SlotLimits(progress=0, idle=0.2)


def slot_installer(database: Database) -> SlotInstaller:
    return SlotInstaller(database.info)


def install_slot(database: Database, captures: Sequence[Capture]) -> SlotInstaller:
    installer = slot_installer(database)
    installer.apply(installer.plan_install(captures), lambda _title: None)
    return installer


def logical_source(
    database: Database,
    captures: Sequence[Capture],
    lookups: Sequence[Capture] = (),
    limits: SlotLimits = EAGER,
    *,
    reread_lost: bool = False,
    may_repair: bool = True,
    info: ConnectionInfo | None = None,
) -> LogicalSource:
    """``may_repair``: else repairs are refused.  ``info``: another way to the same database."""

    async def repair(tables: Sequence[str]) -> Repaired:
        _refuse(may_repair)
        return await asyncio.to_thread(slot_installer(database).repair, tables)

    async def renew() -> None:
        _refuse(may_repair)
        await asyncio.to_thread(install_slot, database, captures)

    return LogicalSource(
        "main",
        info or database.info,
        captures,
        lookups,
        repair=repair,
        renew=renew,
        reread_lost=reread_lost,
        limits=limits,
    )


def _refuse(may_repair: bool) -> None:
    if not may_repair:
        raise InstallError("Repairing is switched off.")


def log_end(database: Database) -> int:
    """Return the log's end of everything committed by now."""
    return lsn_number(str(database.execute("SELECT pg_current_wal_flush_lsn()")[0][0]))


async def released(database: Database) -> None:
    """Wait until the server has noticed that nobody reads the slot."""
    active = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND active"
    async with asyncio.timeout(HANG_SECONDS):
        while database.execute(active) != [(0,)]:  # noqa: ASYNC110 - the server gives no sign
            await asyncio.sleep(0.01)


@dataclass
class Reading:
    """One life of a source, or several: `drain` reads what is committed by now, acknowledged."""

    database: Database
    source: LogicalSource
    position: Position | None = None
    seen: list[Batch] = field(default_factory=list)
    _first: Batch | None = None
    _batches: AsyncIterator[Batch] | None = None

    async def open(self) -> None:
        await self.source.open(self.position)
        self._first = await self.source.begin()
        self._batches = self.source.batches()

    async def next(self) -> Batch:
        """The next batch, not acknowledged."""
        assert self._batches is not None
        batch, self._first = self._first, None
        if batch is None:
            async with asyncio.timeout(HANG_SECONDS):
                batch = await anext(self._batches)
        self.seen.append(batch)
        return batch

    async def take(self) -> Batch:
        batch = await self.next()
        self.position = batch.position
        await self.source.acknowledge(batch.position)
        return batch

    async def drain(self) -> list[Transaction]:
        end = log_end(self.database)
        found: list[Transaction] = []
        while self.position is None or not _behind(self.position, end):
            found += (await self.take()).transactions
        return found

    async def changes(self) -> list[RowChange]:
        return [change for transaction in await self.drain() for change in transaction.changes]

    async def failure(self) -> SourceError:
        """Read until it fails."""
        try:
            while True:
                await self.take()
        except SourceError as error:
            return error

    async def reopen(self) -> None:
        await self.source.close()
        await self.open()


def _behind(position: Position, end: int) -> bool:
    stand = LogicalPosition.load(position)
    return stand.lsn >= end and not stand.rereads


@asynccontextmanager
async def reading(database: Database, captures: Sequence[Capture], **options: Any) -> AsyncIterator[Reading]:
    """Read a database with a slot.  The options are those of `logical_source`."""
    read = Reading(database, logical_source(database, captures, **options))
    try:
        await read.open()
        yield read
    finally:
        await read.source.close()


@asynccontextmanager
async def logical_pipeline(
    database: Database, catalogue: Catalogue | None = None, limits: SlotLimits | None = None
) -> AsyncIterator[Pipeline]:
    """Run a pipeline on a PostgreSQL database; install its slot."""
    catalogue = catalogue or load_catalogue()
    existing = capture.installer_of(database.info).existing_tables()
    captures = catalogue.captures(existing)
    install_slot(database, captures)
    lookups = [catalogue.capture_of(table) for table in catalogue.lookups()]
    source = logical_source(database, captures, lookups, limits or replace(EAGER, idle=0.01))

    async def look() -> More:
        end = log_end(database)

        async def more(position: Position | None) -> bool:
            return position is None or not _behind(position, end)

        return more

    async with opened(source, catalogue, look) as running:
        yield running
