"""A source that polls a double of the API, on simulated time, into an outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from cdc.change import Batch
from cdc.config import SourceConfig
from cdc.config.rest import RestConfig
from cdc.event import Event
from cdc.mapping.facts import gather_facts
from cdc.mapping.mapper import Mapper
from cdc.outbox.base import OutboxStore
from cdc.service.rest import polled_tables, resource_of
from cdc.service.rules import catalogue
from cdc.source.rest.budget import BanGuard, Budget
from cdc.source.rest.client import ApiClient
from cdc.source.rest.source import Polled, RestSource
from support.facturascripts_api import TOKEN, Api
from support.manual_clock import ManualClock


class PassingClock(ManualClock):
    """Whoever waits finds that the time has passed."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        assert seconds is not None, "nobody waits for ever here"
        await asyncio.sleep(0)
        if not event.is_set():
            self.advance(seconds)
        return event.is_set()


@dataclass
class Polling:
    """Drives one source by hand: each step is a batch, mapped and stored as the relay does it.  ``told``: the events
    that the outbox took, in order."""

    source: RestSource
    mapper: Mapper
    store: OutboxStore
    clock: ManualClock
    told: list[Event]
    _batches: AsyncGenerator[Batch] | None = None

    async def step(self, *, stored: bool = True) -> Batch:
        """``stored`` False: the process dies before it is."""
        if self._batches is None:
            await self.source.open(await self.store.position(self.source.name))
            self._batches = self.source.batches()
        batch = await anext(self._batches)
        if not stored:
            await self.die()
            return batch
        facts = await gather_facts(self.mapper.facts_needed(batch.transactions), self.source)
        mapped = self.mapper.map_transactions(self.source.name, batch.transactions, facts, {})
        now = self.clock.now()
        await self.store.store(self.source.name, batch.position, mapped.events, {}, now, kept=batch.kept)
        await self.source.acknowledge(batch.position)
        self.told += mapped.events
        return batch

    async def die(self) -> None:
        """Without any farewell; the next step begins anew from what the outbox holds."""
        batches, self._batches = self._batches, None
        if batches is not None:
            await batches.aclose()
        await self.source.close()

    async def run(self, seconds: float) -> list[Event]:
        """For so long of its time; what was told meanwhile."""
        until, before = self.clock.monotonic() + seconds, len(self.told)
        while self.clock.monotonic() < until:
            await self.step()
        return self.told[before:]


def polling(
    api: Api,
    store: OutboxStore,
    clock: ManualClock,
    tables: Sequence[str] = (),
    *,
    per_minute: int = 600,
    guard: BanGuard | None = None,
    include: tuple[Any, ...] = (),
    **options: Any,
) -> Polling:
    """``tables``: which are polled (none: all); ``options``: of `RestConfig`."""
    rest = RestConfig(url=api.url, token=TOKEN, requests_per_minute=per_minute, **options)
    config = SourceConfig(capture="rest", rest=rest, include=include)
    rules = catalogue(config)
    wanted = [table for table in polled_tables(config, rules) if not tables or table in tables]
    found = {table: resource_of(config, rules, table) for table in (*wanted, *rules.lookups())}
    resources = {table: each for table, each in found.items() if each is not None}
    polled = Polled(
        [resources[table] for table in wanted],
        {table: resources[table] for table in rules.lookups()},
        rest.page_size,
        existing=rest.existing == "read",
    )
    budget, guarding = Budget(per_minute, clock), guard or BanGuard()
    api.now = clock.monotonic

    def connect() -> ApiClient:
        return ApiClient(api.url, TOKEN, budget, guarding, clock)

    return Polling(RestSource("main", connect, polled, store, clock), Mapper(rules), store, clock, [])


@asynccontextmanager
async def alive(*pollings: Polling) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in pollings:
            await each.die()
