"""Capturing for as long as backfills run where no `cdc run` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cdc.config import SourceConfig
from cdc.model.errors import first_error
from cdc.model.observer import Silent
from cdc.model.position import Position
from cdc.outbox.base import OutboxStore
from cdc.relay import nobody
from cdc.runtime.consumer_parts import relay_of
from cdc.runtime.parts import settled
from cdc.runtime.sharing import alone


class _Begun(Silent):
    """Tells ``begun`` when the source is read: no other process is at it then."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun = begun

    def reading(self, source: str, position: Position | None) -> None:  # noqa: ARG002 - the protocol's; that it reads is all
        self._begun()


@asynccontextmanager
async def capturing(source: SourceConfig, store: OutboxStore, begun: Callable[[], None]) -> AsyncIterator[None]:
    """Capture from a source, without sending, inside the block; while another process does, wait as its standby.
    ``begun``: called when it is this one."""
    stop = asyncio.Event()
    relay = relay_of(source, store, nobody, _Begun(begun), alone())
    settled()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(relay.run(stop))
            try:
                yield
            finally:
                stop.set()
    except ExceptionGroup as failed:
        raise first_error(failed) from None
