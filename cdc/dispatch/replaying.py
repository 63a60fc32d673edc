"""Goes on with the replays that were asked for, one after the other, in small steps at the rate that each has.

A process that is killed in the middle of a step leaves it to be done again: what was made due by then, and delivered
since, is sent once more, with the same id.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from cdc.clock import Clock
from cdc.errors import OutboxError, UsageError
from cdc.log_filter import DeliveryFilter
from cdc.outbox.base import OutboxStore, Replayed
from cdc.replay import Replay, ReplayState

#: Between two looks for a replay that another process was asked for, or left (seconds).
LOOK_EVERY: Final = 5.0
#: A process that says nothing of its replay for so long has left it.
LEASE: Final = timedelta(seconds=30)
#: Deliveries of a step, at most.
_MOST: Final = 500
_COUNTED: Final = 1000
#: Counting ends after so long (seconds): whoever asks waits for it.
COUNT_SECONDS: Final = 5.0

log = structlog.get_logger()


class Replaying:
    """``worker``: this process's name.  ``due``: called when something was made due."""

    def __init__(self, store: OutboxStore, clock: Clock, worker: str, due: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._worker = worker
        self._due = due
        self._asked = asyncio.Event()

    def asked(self) -> None:
        """There is a new one."""
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``."""
        ended = asyncio.create_task(stop.wait())
        ended.add_done_callback(lambda _: self._asked.set())
        try:
            while not stop.is_set():
                self._asked.clear()
                if not await self._one(stop) and not stop.is_set():
                    await self._clock.wait(self._asked, LOOK_EVERY)
        finally:
            ended.cancel()

    async def _one(self, stop: asyncio.Event) -> bool:
        """Whether there was one to go on with."""
        try:
            now = self._clock.now()
            replay = await self._store.lease_replay(self._worker, now, now + LEASE)
            if replay is None:
                return False
            await self._go_on(replay, stop)
        except OutboxError as error:
            log.error("a replay rests", error=str(error), retry_in=LOOK_EVERY)
            return False
        return True

    async def _go_on(self, replay: Replay, stop: asyncio.Event) -> None:
        """Until it is done or was ended, or ``stop``; then the next process, or this one's next life, goes on."""
        after, limit = replay.after, max(1, min(_MOST, math.ceil(replay.rate)))
        while not stop.is_set():
            began = self._clock.monotonic()
            try:
                step = await self._store.replay(replay.which, limit, self._clock.now(), after)
            except UsageError as error:  # its endpoint was removed
                await self._store.end_replay(replay.id, ReplayState.FAILED, str(error), self._clock.now())
                log.warning("replay failed", replay=replay.id, error=str(error))
                return
            if step.deliveries:
                self._due()
            now = self._clock.now()
            if not await self._store.advance_replay(replay.id, self._worker, step, now, now + LEASE):
                return
            if step.after is None:
                log.info("replay done", replay=replay.id)
                return
            after = step.after
            spent = self._clock.monotonic() - began
            await self._clock.wait(stop, max(0.0, step.deliveries / replay.rate - spent))


async def count(store: OutboxStore, which: DeliveryFilter, clock: Clock) -> Replayed:
    """How many there are; ``after`` is not None when they are too many to be counted in `COUNT_SECONDS`.  Raises
    `UsageError`."""
    began = clock.monotonic()
    counted = Replayed(0, 0, None)
    while True:
        step = await store.replay(which, _COUNTED, clock.now(), counted.after, dry_run=True)
        counted = Replayed(counted.deliveries + step.deliveries, counted.expunged + step.expunged, step.after)
        if counted.after is None or clock.monotonic() - began >= COUNT_SECONDS:
            return counted
