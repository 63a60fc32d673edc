"""Capture → mapping on a real database, without outbox and dispatch: what golden tests compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import orjson

from cdc.capture.base import JournalLimits, Source
from cdc.capture.base import LogLimits as BinlogLimits
from cdc.capture.binlog.connection import LogConnection, log_head
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.capture.binlog.source import BinlogSource
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.database.mysql_connection import connect
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.mapper import Mapped, Mapper
from cdc.model.change import Batch, Position
from cdc.model.event import Event, event_payload
from cdc.model.finding import Repaired
from cdc.runtime import capture
from support.database import Database
from support.waiting import HANG_SECONDS

#: The lock is held while the work of a test is written, which takes longer on a machine that does much else.
WRITING_SECONDS = 3600
#: The last position that was read, if any → whether more of what was committed before is still to come.
More = Callable[[Position | None], Awaitable[bool]]


@dataclass
class Pipeline:
    """``drain`` gives the events of each transaction that has any, in the order of the transactions, and what mapping
    holds, as if nothing changed for a while then.

    ``look``: what has been committed by now."""

    source: Source
    mapper: Mapper
    look: Callable[[], Awaitable[More]]
    states: dict[str, str] = field(default_factory=dict)
    position: Position | None = None
    _batches: AsyncIterator[Batch] | None = None

    async def batches(self) -> AsyncIterator[Batch]:
        """Everything that has been committed by now, acknowledged."""
        if self._batches is None:
            self._batches = self.source.batches()
        more = await self.look()
        while await more(self.position):
            async with asyncio.timeout(HANG_SECONDS):
                batch = await anext(self._batches)
            self.position = batch.position
            await self.source.acknowledge(batch.position)
            yield batch

    async def drain(self) -> list[list[Event]]:
        found: dict[str, list[Event]] = {}
        async for batch in self.batches():
            for event in await self._map(batch):
                found.setdefault(event.transaction, []).append(event)
        for event in self._apply(self.mapper.release("main", self.states)):
            found.setdefault(event.transaction, []).append(event)
        return list(found.values())

    async def _map(self, batch: Batch) -> Sequence[Event]:
        mapping = self.mapper.batch("main", batch.transactions, self.states)
        return self._apply((await mapping.read_facts(self.source, {})).map())

    def _apply(self, mapped: Mapped) -> Sequence[Event]:
        for key, value in mapped.states_changed.items():
            if value is None:
                self.states.pop(key, None)
            else:
                self.states[key] = value
        return mapped.events


def install(database: Database, catalogue: Catalogue | None = None) -> None:
    """Install triggers as ``cdc install-triggers`` does."""
    catalogue = catalogue or load_catalogue()
    installer = capture.installer_of(database.info)
    plan = installer.plan_install(catalogue.captures(installer.existing_tables()))
    installer.apply(plan, lambda _: None)


def install_cascades(database: Database, catalogue: Catalogue | None = None) -> None:
    """Install what ``cdc install-triggers --cascades-only`` does."""
    catalogue = catalogue or load_catalogue()
    installer = MySQLInstaller(database.info)
    plan = installer.plan_install(catalogue.captures(installer.existing_tables()), cascades_only=True)
    installer.apply(plan, lambda _: None)


@asynccontextmanager
async def pipeline(
    database: Database, catalogue: Catalogue | None = None, limits: JournalLimits | None = None
) -> AsyncIterator[Pipeline]:
    """Run a pipeline on a database whose triggers are installed."""
    catalogue = catalogue or load_catalogue()
    journal = capture.journal_of(database.info, catalogue)

    async def repair(names: Sequence[str]) -> Repaired:
        return await asyncio.to_thread(capture.installer_of(database.info).repair, names)

    async def more(_position: Position | None) -> bool:
        return bool(await journal.peek(1))

    async def look() -> More:
        return more

    limits = limits or JournalLimits(silent=WRITING_SECONDS)
    async with opened(JournalSource("main", journal, repair, limits), catalogue, look) as running:
        yield running


@asynccontextmanager
async def binlog_pipeline(
    database: Database,
    catalogue: Catalogue | None = None,
    limits: BinlogLimits | None = None,
    connection: type[LogConnection] = LogConnection,
) -> AsyncIterator[Pipeline]:
    """Run a pipeline on a MariaDB or MySQL database whose server writes a log, from now on."""
    catalogue = catalogue or load_catalogue()
    lookups = [catalogue.capture_of(table) for table in catalogue.lookups()]
    limits = limits or BinlogLimits(progress=0, silent=WRITING_SECONDS)
    source = BinlogSource("main", database.info, catalogue.captures(), lookups, limits=limits, connection=connection)

    async def look() -> More:
        with closing(connect(database.info)) as asked:
            head = log_head(asked).place()

        async def more(position: Position | None) -> bool:
            return position is None or BinlogPosition.load(position).log.place() < head

        return more

    async with opened(source, catalogue, look) as running:
        yield running


@asynccontextmanager
async def opened(source: Source, catalogue: Catalogue, look: Callable[[], Awaitable[More]]) -> AsyncIterator[Pipeline]:
    await source.open(None)
    try:
        yield Pipeline(source, Mapper(catalogue), look)
    finally:
        await source.close()


def comparable(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Payloads without what differs from run to run (ids, transaction tokens, times), sorted: the order between
    records of one transaction is free."""
    payloads = [orjson.loads(event_payload(event)) for event in events]
    for payload in payloads:
        for name in ("id", "transaction", "timestamp"):
            del payload[name]
    return sorted(payloads, key=orjson.dumps)
