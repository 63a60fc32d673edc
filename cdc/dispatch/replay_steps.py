"""Makes due what is to be sent again, a step at a time, at a rate that receivers can take."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cdc.audit import Note
from cdc.model.clock import Clock
from cdc.model.errors import UsageError
from cdc.model.log_filter import DeliveryFilter
from cdc.model.rate import usable_rate
from cdc.outbox.base import OutboxStore, Replayed

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
    """What happens from ``now`` on is not part of a replay.  ``hint``: for the `UsageError` that is raised when nothing
    says what to send again."""
    if which == _NOTHING:
        raise UsageError("Nothing says what to send again.", hint)
    return which if which.until is not None else replace(which, until=now)


async def steps(store: OutboxStore, plan: ReplayPlan, clock: Clock, stop: asyncio.Event) -> AsyncIterator[Replayed]:
    """What each step did, until all is due or ``stop`` is set.  The time that whoever is told takes is part of the
    pause before the next step.  Raises `UsageError` when its endpoint is gone, `OutboxError`."""
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


async def count(store: OutboxStore, plan: ReplayPlan, clock: Clock, seconds: float | None = None) -> Replayed:
    """How many there are.  ``seconds``: after which counting ends; ``after`` of the answer is not None then.  Raises as
    `steps`."""
    began, counted = clock.monotonic(), Replayed(0, 0, plan.after)
    while True:
        counted = counted.and_then(await store.replay(plan.which, _COUNTED, clock.now(), counted.after, dry_run=True))
        if counted.after is None or (seconds is not None and clock.monotonic() - began >= seconds):
            return counted
