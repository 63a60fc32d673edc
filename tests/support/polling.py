"""A source that polls a double of the API, on simulated time, into an outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

from cdc.capture.rest.client import ApiClient, BanGuard, Budget
from cdc.capture.rest.source import Polled, RestSource
from cdc.config import SourceConfig
from cdc.config.rules import catalogue
from cdc.config.source import RestConfig
from cdc.mapping.mapper import Mapper
from cdc.model.change import Batch, Gap
from cdc.model.errors import SourceError
from cdc.model.event import Event
from cdc.outbox.store import OutboxStore
from cdc.runtime.sources import polled_tables, resource_of
from support.facturascripts_api import TOKEN, Api
from support.manual_clock import ManualClock

#: Times that the clock does not distinguish.
_TICK = 1e-5


class PassingClock(ManualClock):
    """A clock on which waiting takes no time, up to ``until`` (of `monotonic`): there it stops and sets ``reached``."""

    def __init__(self) -> None:
        super().__init__()
        self.until = inf
        self.reached = asyncio.Event()
        self._further = asyncio.Event()

    def go_on(self, until: float) -> None:
        self.until = until
        self.reached.clear()
        self._further.set()
        self._further = asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        assert seconds is not None, "nobody waits for ever here"
        target = self.monotonic() + seconds
        while target > self.until and not event.is_set():
            self.advance(max(self.until - self.monotonic(), 0.0))
            self.reached.set()
            await self._further.wait()
        await asyncio.sleep(0)
        if not event.is_set():
            self.advance(max(target - self.monotonic(), 0.0))
        return event.is_set()


@dataclass
class Polling:
    """Drives one source by hand: maps and stores its batches as the relay does it.  ``emitted``: the events that the
    outbox took, in order; ``failures``: what the source raised; ``gaps``: those of its batches."""

    source: RestSource
    mapper: Mapper
    store: OutboxStore
    clock: PassingClock
    emitted: list[Event] = field(default_factory=list)
    failures: list[SourceError] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    _batches: AsyncGenerator[Batch] | None = None
    _next: asyncio.Task[Batch] | None = None

    async def run(self, seconds: float) -> list[Event]:
        """Run for so many seconds of its clock, with a restart after failures; return the events of that time."""
        before, until = len(self.emitted), self.clock.monotonic() + seconds
        while until - self.clock.monotonic() > _TICK:
            self.clock.go_on(until)
            try:
                await self._follow()
            except SourceError as error:
                self.failures.append(error)
                await self.die()
                self.clock.advance(min(30.0, until - self.clock.monotonic()))
        return self.emitted[before:]

    async def _follow(self) -> None:
        """Follow the source until the clock stops."""
        while True:
            task = await self._task()
            reached = asyncio.ensure_future(self.clock.reached.wait())
            await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            if not task.done():
                return
            self._next = None
            await self._stored(task.result())

    async def _task(self) -> asyncio.Task[Batch]:
        if self._batches is None:
            await self.source.open(await self.store.position(self.source.name))
            self._batches = self.source.batches()
        if self._next is None:
            self._next = asyncio.ensure_future(_first(self._batches))
        return self._next

    async def step(self, *, stored: bool = True) -> Batch:
        """The next batch, whenever it comes.  ``stored`` False: the process dies before it is."""
        self.clock.go_on(inf)
        batch = await (await self._task())
        self._next = None
        if stored:
            await self._stored(batch)
        else:
            await self.die()
        return batch

    async def _stored(self, batch: Batch) -> None:
        states, site = await self.store.states(self.source.name), await self.source.site_url()
        mapping = self.mapper.batch(self.source.name, batch.transactions, states, site)
        mapped = (await mapping.read_facts(self.source, {})).map()
        now = self.clock.now()
        changed = mapped.states_changed
        await self.store.store(self.source.name, batch.position, mapped.events, changed, now, kept=batch.kept)
        await self.source.acknowledge(batch.position)
        self.emitted += mapped.events
        self.gaps += batch.gaps

    async def die(self) -> None:
        """End without a farewell, as a crash does; the next run begins from the outbox's content."""
        task, self._next = self._next, None
        batches, self._batches = self._batches, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if batches is not None:
            await batches.aclose()
        await self.source.close()


async def _first(batches: AsyncGenerator[Batch]) -> Batch:
    return await anext(batches)


def polling(
    api: Api,
    store: OutboxStore,
    clock: PassingClock,
    tables: Sequence[str] = (),
    *,
    per_minute: int = 600,
    include: tuple[Any, ...] = (),
    page_size: int = 500,
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
        page_size,
        existing=rest.existing == "read",
    )
    budget, guard = Budget(per_minute, clock), BanGuard(api.url, store, clock)
    api.now = clock.monotonic

    def connect() -> ApiClient:
        return ApiClient(api.url, TOKEN, budget, guard)

    return Polling(RestSource("main", connect, polled, store, clock), Mapper(rules), store, clock)


@asynccontextmanager
async def alive(*pollings: Polling) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in pollings:
            await each.die()
