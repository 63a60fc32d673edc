"""Keeps the outbox from growing for ever: what is too old, or too much, goes in small steps, with pauses between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from cdc.model.audit import Note
from cdc.model.clock import Clock
from cdc.model.delivery import MINUTES_KEPT
from cdc.model.errors import OutboxError

#: Events of a step: it takes a few milliseconds, for which others wait.
BATCH: Final = 200
#: Seconds: between two steps; from the end of a round to the next one; after the outbox failed.
PAUSE: Final = 0.05
EVERY: Final = 3_600.0
AGAIN: Final = 60.0
#: Events of a number too great are left alone for so long: attempts at them may still be recorded.
SETTLED: Final = timedelta(hours=1)

_EVER: Final = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of what is stored.

    ``finished_before``: deliveries that were finished before (None: none), with their attempts; and events before that
    time that have no delivery (any more).  ``most_events``: the older ones beyond so many (0: none), with all they
    have, unless a delivery is unfinished or a dead letter, or anything is younger than ``settled_before``.
    ``payloads_before``: payloads and answers of events before that time (None: none) of which nothing is unfinished.
    ``now``: events with a later time have a wrong date; the time of their deliveries counts.
    """

    settled_before: datetime
    finished_before: datetime | None = None
    most_events: int = 0
    payloads_before: datetime | None = None
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Retained:
    """The result of one step of retention: numbers of removed events and deliveries, of emptied payloads, and the
    sequence to continue after, None at the end."""

    events: int
    deliveries: int
    payloads: int
    after: int | None


class RetentionStore(Protocol):
    """The part of the outbox that removes stored data."""

    async def retain(self, what: Retention, limit: int, after: int = 0) -> Retained:
        """Look at up to ``limit`` events, oldest first, behind sequence ``after``, and remove in one short transaction
        what is to go.  The newest event and delivery stay whatever their age, so that no number is given twice."""
        ...

    async def expunge(self, event_ids: Sequence[str], now: datetime, note: Note = ()) -> int:
        """Empty payloads, and what endpoints answered to them, for good, and cancel the unfinished deliveries; how many
        there were of these.  Raises `UsageError`, and changes nothing, when one of the events is not there;
        `OutboxError` when they are emptied but the disk may still hold what they were: call it again."""
        ...

    async def gather_activity(self, since: datetime, now: datetime) -> None:
        """Combine the counters by minute that are later than ``since`` and older than two hours into counters by hour,
        and remove those that are older than 400 days."""
        ...

    async def reseal(self, limit: int) -> bool:
        """Rewrite up to ``limit`` rows that a former version stored, or whose values are not sealed as configured;
        return whether there may be more."""
        ...

    async def reseal_pending(self) -> bool:
        """Return whether row values may be stored that are not sealed as configured."""
        ...

    async def forget_quarantined(self, before: datetime) -> int:
        """Remove changes that were skipped before this time; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
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


async def keep_tidy(store: RetentionStore, kept: Kept, clock: Clock, stop: asyncio.Event) -> None:
    """Run a round now and one every hour, until ``stop``."""
    gathered = _EVER
    while not stop.is_set():
        try:
            now = clock.now()
            await store.gather_activity(gathered, now)
            gathered = now - MINUTES_KEPT - timedelta(seconds=EVERY)
            while not stop.is_set() and await store.reseal(BATCH):
                await clock.wait(stop, PAUSE)
            if kept.days or kept.events or kept.payload_days:
                await _round(store, kept, clock, stop)
        except OutboxError as error:
            log.warning("retention failed", error=str(error))
            await clock.wait(stop, AGAIN)
        else:
            await clock.wait(stop, EVERY)


async def _round(store: RetentionStore, kept: Kept, clock: Clock, stop: asyncio.Event) -> None:
    """Remove everything that may be removed now, oldest first."""
    what, after = kept.at(clock.now()), 0
    events = deliveries = payloads = 0
    while not stop.is_set():
        step = await store.retain(what, BATCH, after)
        events, deliveries, payloads = events + step.events, deliveries + step.deliveries, payloads + step.payloads
        if step.after is None:
            break
        after = step.after
        await clock.wait(stop, PAUSE)
    if what.finished_before is not None:
        await store.forget_quarantined(what.finished_before)
    if events or deliveries or payloads:
        log.info("retention", events=events, deliveries=deliveries, payloads_emptied=payloads)
