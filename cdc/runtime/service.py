"""The admin service for API, page and commands, on the databases of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from cdc.admin.base import Service
from cdc.config import Config, SourceConfig
from cdc.model.audit import Note
from cdc.model.change import Position
from cdc.model.clock import Clock
from cdc.model.finding import DescribedTable, Finding
from cdc.outbox.store import OutboxStore

if TYPE_CHECKING:
    from cdc.admin.process import RunningProcess


def service_of(
    config: Config,
    store: OutboxStore,
    clock: Clock,
    process: RunningProcess | None = None,
    replay_asked: Callable[[], None] = lambda: None,
) -> Service:
    async def examine(source: SourceConfig) -> Sequence[Finding]:
        from cdc.runtime import doctor
        from cdc.runtime.sharing import alone

        loop = asyncio.get_running_loop()

        async def stored() -> Position | None:
            """Read the position on the outbox's own loop, from that of a check."""
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(store.position(source.name), loop))

        # not in a thread of the pool, which others need too: its server may hang
        return await alone().in_thread(lambda: doctor.examine(source, config.outbox, stored))

    async def table_obstacle(source: SourceConfig, table: str) -> str:
        from cdc.admin.explain import NO_TABLE, NOT_INSTALLED
        from cdc.runtime.capture import inspector
        from cdc.runtime.sharing import alone

        surveyed = await alone().in_thread(lambda: inspector(source).survey(counted=False))
        found = next((each for each in surveyed if each.name == table), None)
        return NO_TABLE if found is None else found.obstacle or ("" if found.installed else NOT_INSTALLED)

    async def describe_tables(source: SourceConfig) -> Sequence[DescribedTable]:
        from cdc.runtime.capture import described_tables
        from cdc.runtime.sharing import alone

        return await alone().in_thread(lambda: described_tables(source))

    return Service(
        config, store, clock, _existing_tables, examine, table_obstacle, _adopt, describe_tables, process, replay_asked
    )


def _existing_tables(source: SourceConfig) -> Collection[str]:
    from cdc.runtime.capture import inspector

    return inspector(source).existing_tables()


async def _adopt(source: SourceConfig, store: OutboxStore, note: Note) -> list[str]:
    from cdc.runtime.outboxes import adopt

    return await adopt(source, store, note)
