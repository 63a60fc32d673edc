"""Writes to the outbox, for requests that wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cdc.model.clock import Clock
from cdc.model.errors import OutboxError
from cdc.outbox.base import LogStore

#: How often the outbox is asked whether anybody wrote, while requests wait (seconds).
LOOK_EVERY: Final = 0.25


class Writes:
    """Announces writes, by any process, to all requests that wait: one question to the outbox for all of them, and
    none while nobody waits.  ``next``: is set with the next write."""

    def __init__(self, store: LogStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self.next = asyncio.Event()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Announce writes while this lasts, and one soon after it begins, whether or not there is any."""
        self._watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._task.cancel()
                self._task = None

    async def _watch(self) -> None:
        seen, never = object(), asyncio.Event()
        while True:
            try:
                version = await self._store.version()
            except OutboxError:
                version = object()  # the requests that wait meet the error themselves
            if version != seen:
                seen, announced, self.next = version, self.next, asyncio.Event()
                announced.set()
            await self._clock.wait(never, LOOK_EVERY)
