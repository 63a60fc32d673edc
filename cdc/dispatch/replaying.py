"""Goes on with the replays that were asked for, one after the other, in small steps at the rate that each has.

A process that is killed in the middle of a step leaves it to be done again: what was made due by then, and delivered
since, is sent once more, with the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from cdc.dispatch.replay_steps import ReplayPlan, steps
from cdc.model.clock import Clock
from cdc.model.errors import OutboxError, UsageError
from cdc.model.replay import Replay, ReplayState
from cdc.outbox.base import OutboxStore

#: Between two looks for a replay that another process was asked for, or left (seconds).
LOOK_EVERY: Final = 5.0
#: A process that says nothing of its replay for so long has left it.
LEASE: Final = timedelta(seconds=30)

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
        plan = ReplayPlan(replay.which, replay.rate, replay.after)
        try:
            async for step in steps(self._store, plan, self._clock, stop):
                if step.deliveries:
                    self._due()
                now = self._clock.now()
                if not await self._store.advance_replay(replay.id, self._worker, step, now, now + LEASE):
                    return
                if step.after is None:
                    log.info("replay done", replay=replay.id)
        except UsageError as error:  # its endpoint was removed
            await self._store.end_replay(replay.id, ReplayState.FAILED, str(error), self._clock.now())
            log.warning("replay failed", replay=replay.id, error=str(error))
