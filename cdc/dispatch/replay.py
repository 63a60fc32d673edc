"""Replays: makes due what is to be sent again, a step at a time, at a rate that receivers can take.

A process that is killed in the middle of a step leaves it to be done again: what was made due by then, and delivered
since, is sent once more, with the same id."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from cdc.model.audit import Note
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryFilter, Replay, Replayed, ReplayState, ReplayStore
from cdc.model.endpoint import usable_rate
from cdc.model.errors import OutboxError, UsageError

#: Deliveries a second, unless it is said: one endpoint's share of what a small receiver can take beside its daily work.
RATE: Final = 50.0
#: The greatest that page and API take.
MOST_RATE: Final = 10_000
#: Deliveries of a step, at most; of a step that only counts.
_MOST: Final = 500
_COUNTED: Final = 1000
_NOTHING: Final = DeliveryFilter()


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """``rate``: deliveries a second, 0 for any.  ``after``: where a former one stood.  ``note``: stored with the first
    step."""

    which: DeliveryFilter
    rate: float
    after: str | None = None
    note: Note = ()


def meant(which: DeliveryFilter, now: datetime, hint: str) -> DeliveryFilter:
    """Return the filter of a replay; it ends at ``now`` at the latest.  Raises `UsageError` with ``hint`` when it
    selects nothing."""
    if which == _NOTHING:
        raise UsageError("Nothing selects what to send again.", hint)
    return which if which.until is not None else replace(which, until=now)


async def steps(store: ReplayStore, plan: ReplayPlan, clock: Clock, stop: asyncio.Event) -> AsyncIterator[Replayed]:
    """Yield the result of each step, until all is due or ``stop`` is set.  The caller's time between two steps is part
    of the pause before the next one.  Raises `UsageError` when its endpoint is gone, `OutboxError`."""
    rate = usable_rate(plan.rate)
    limit = _MOST if rate == 0 else max(1, min(_MOST, math.ceil(rate)))
    after = plan.after
    while not stop.is_set():
        began = clock.monotonic()
        step = await store.replay(plan.which, limit, clock.now(), after, note=plan.note if after == plan.after else ())
        yield step
        after = step.after
        if after is None:
            return
        pause = step.deliveries / rate if rate else 0.0
        await clock.wait(stop, max(0.0, pause - (clock.monotonic() - began)))


async def count(store: ReplayStore, plan: ReplayPlan, clock: Clock, seconds: float | None = None) -> Replayed:
    """Return the numbers that a replay would send.  Counting ends after ``seconds``; ``after`` of the answer is not
    None then.  Raises as `steps`."""
    began, counted = clock.monotonic(), Replayed(0, 0, plan.after)
    while True:
        counted = counted.and_then(await store.replay(plan.which, _COUNTED, clock.now(), counted.after, dry_run=True))
        if counted.after is None or (seconds is not None and clock.monotonic() - began >= seconds):
            return counted


#: Between two looks for a replay that another process was asked for, or left (seconds).
LOOK_EVERY: Final = 5.0
#: A process that says nothing of its replay for so long has left it.
LEASE: Final = timedelta(seconds=30)

log = structlog.get_logger()


class Replaying:
    """``worker``: this process's name.  ``due``: called when something was made due."""

    def __init__(self, store: ReplayStore, clock: Clock, worker: str, due: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._worker = worker
        self._due = due
        self._asked = asyncio.Event()

    def asked(self) -> None:
        """Announce a new replay."""
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``."""
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
        """Continue one replay.  Return whether there was any."""
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
        """Continue the replay until it is done or ended, or until ``stop``: then another process, or this one after its
        restart, continues."""
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
