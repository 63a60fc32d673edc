"""Runs the upkeep of the outbox (`cdc.outbox.upkeep`) in small steps, with pauses between, beside all other work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from cdc.model.clock import Clock
from cdc.model.delivery import MINUTES_KEPT
from cdc.model.errors import OutboxError
from cdc.outbox.base import Retention
from cdc.outbox.store import OutboxStore

#: Events of a step: it takes a few milliseconds, for which others wait.
BATCH: Final = 200
#: Seconds: between two steps; from the end of a round to the next one; after the outbox failed.
PAUSE: Final = 0.05
EVERY: Final = 3_600.0
AGAIN: Final = 60.0
#: Events of a number too great are left alone for so long: attempts at them may still be recorded.
SETTLED: Final = timedelta(hours=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """The time for which things are stored, as in `[retention]`; 0 for ever, or any number."""

    days: int
    events: int
    payload_days: int

    def at(self, now: datetime) -> Retention:
        return Retention(
            settled_before=now - SETTLED,
            finished_before=now - timedelta(days=self.days) if self.days else None,
            most_events=self.events,
            payloads_before=now - timedelta(days=self.payload_days) if self.payload_days else None,
            now=now,
        )


async def keep_tidy(store: OutboxStore, policy: RetentionPolicy, clock: Clock, stop: asyncio.Event) -> None:
    """Run a round now and one every hour, until ``stop``."""
    gathered = datetime.min.replace(tzinfo=UTC)
    while not stop.is_set():
        try:
            now = clock.now()
            await store.gather_activity(gathered, now)
            gathered = now - MINUTES_KEPT - timedelta(seconds=EVERY)
            while not stop.is_set() and await store.reseal(BATCH):
                await clock.wait(stop, PAUSE)
            if policy.days or policy.events or policy.payload_days:
                await _round(store, policy.at(clock.now()), clock, stop)
        except OutboxError as error:
            log.warning("retention failed", error=str(error))
            await clock.wait(stop, AGAIN)
        else:
            await clock.wait(stop, EVERY)


async def _round(store: OutboxStore, limits: Retention, clock: Clock, stop: asyncio.Event) -> None:
    """Remove everything that may be removed now, oldest first."""
    after: int | None = 0
    events = deliveries = payloads = 0
    while after is not None and not stop.is_set():
        step = await store.retain(limits, BATCH, after)
        events, deliveries, payloads = events + step.events, deliveries + step.deliveries, payloads + step.payloads
        after = step.after
        if after is not None:
            await clock.wait(stop, PAUSE)
    if limits.finished_before is not None:
        await store.forget_quarantined(limits.finished_before)
    if events or deliveries or payloads:
        log.info("retention", events=events, deliveries=deliveries, payloads_emptied=payloads)
