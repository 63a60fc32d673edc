"""Triggers → journal → mapping on a real database, without outbox and dispatch: what golden tests compare."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from cdc import service
from cdc.change import Batch
from cdc.event import Event
from cdc.mapping.catalogue import Catalogue, load_catalogue
from cdc.mapping.facts import gather_facts
from cdc.mapping.mapper import Mapper
from cdc.payload import event_payload
from cdc.source.journal import JournalSource, Limits
from cdc.source.journal_database import JournalDatabase
from support.database import Database


@dataclass
class Pipeline:
    """``drain`` gives the events of each transaction that has any, in the order of the transactions."""

    journal: JournalDatabase
    source: JournalSource
    mapper: Mapper
    states: dict[str, str] = field(default_factory=dict)

    async def batches(self) -> AsyncIterator[Batch]:
        """Everything that waits in the journal, acknowledged."""
        batches = self.source.batches()
        while await self.journal.peek(1):
            async with asyncio.timeout(30):
                batch = await anext(batches)
            await self.source.acknowledge(batch.position)
            yield batch

    async def drain(self) -> list[list[Event]]:
        found: dict[str, list[Event]] = {}
        async for batch in self.batches():
            for event in await self._map(batch):
                found.setdefault(event.transaction, []).append(event)
        return list(found.values())

    async def _map(self, batch: Batch) -> Sequence[Event]:
        facts = await gather_facts(self.mapper.facts_needed(batch.transactions), self.source)
        mapped = self.mapper.map_transactions("main", batch.transactions, facts, self.states)
        for key, value in mapped.states_changed.items():
            if value is None:
                self.states.pop(key, None)
            else:
                self.states[key] = value
        return mapped.events


def install(database: Database, catalogue: Catalogue | None = None) -> None:
    """Install triggers as ``cdc install-triggers`` does."""
    catalogue = catalogue or load_catalogue()
    installer = service.installer_of(database.info)
    plan = installer.plan_install(catalogue.captures(installer.existing_tables()))
    installer.apply(plan, lambda _: None)


@asynccontextmanager
async def pipeline(
    database: Database, catalogue: Catalogue | None = None, limits: Limits | None = None
) -> AsyncIterator[Pipeline]:
    """On a database whose triggers are installed."""
    catalogue = catalogue or load_catalogue()
    journal = service.journal_of(database.info, catalogue)

    async def repair(names: Sequence[str]) -> None:
        await asyncio.to_thread(service.installer_of(database.info).repair, names)

    source = JournalSource("main", journal, repair, limits)
    await source.open(None)
    try:
        yield Pipeline(journal, source, Mapper(catalogue))
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
