"""Events by time beside a source's changes: each day, records whose date has come are read as a backfill reads them.

Nothing is asked between a day's end and the next hour of the rules.  Progress is in the outbox's states: nothing here
has to survive.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import structlog

from cdc.capture.base import Backfills
from cdc.model.backfill import Backfill
from cdc.model.clock import Clock
from cdc.model.due import CATCH_UP, Schedule, progress

#: Time after which a rule that failed is tried again.
RETRY: Final = timedelta(minutes=10)
#: Rows that may be read at once.
_ANY: Final = 1_000_000

log = structlog.get_logger()


class StateReader(Protocol):
    async def states(self, source: str) -> dict[str, str]: ...


class DueRecords:
    """A `cdc.capture.base.Backfills`: what is due comes before ``backfills``."""

    def __init__(self, backfills: Backfills, store: StateReader, source: str, schedule: Schedule, clock: Clock) -> None:
        self._backfills = backfills
        self._store = store
        self._source = source
        self._schedule = schedule
        self._clock = clock
        self._next_at = datetime.min.replace(tzinfo=UTC)
        self._failed: dict[str, datetime] = {}  # event → the next try
        self._skipped: dict[str, date] = {}  # event → the first day that is not

    def rest(self) -> float:
        waits = (self._next_at - self._clock.now()).total_seconds()
        return min(self._backfills.rest(), max(0.0, waits))

    async def next(self) -> tuple[Backfill, int] | None:
        now = self._clock.now()
        if now >= self._next_at:
            due = await self._due(now)
            if due is not None:
                return due, _ANY
            self._next_at = min([self._schedule.next(now), *self._failed.values()])
        return await self._backfills.next()

    async def _due(self, now: datetime) -> Backfill | None:
        """Return the day of a rule that is to be read now; None when all are complete, or have failed just now."""
        self._failed = {event: again for event, again in self._failed.items() if again > now}
        today = self._schedule.today(now)
        states = await self._store.states(self._source)
        for rule in self._schedule.rules:
            found = progress(states, rule.event, today)
            if found.day > today or rule.event in self._failed:
                continue
            if found.skipped and self._skipped.get(rule.event) != found.day:
                self._skipped[rule.event] = found.day
                log.warning("days skipped", source=self._source, rule=rule.event, days=found.skipped, most=CATCH_UP)
            if found.after is None:
                log.info("due", source=self._source, rule=rule.event, day=str(found.day))
            return Backfill(
                f"due/{rule.event}/{found.day}", self._source, rule.table, "", now, after=found.after,
                due=rule.on(found.day),
            )  # fmt: skip
        return None

    async def fail(self, backfill_id: str, error: str) -> None:
        kind, _, rest = backfill_id.partition("/")
        if kind != "due":
            await self._backfills.fail(backfill_id, error)
            return
        event = rest.rpartition("/")[0]
        self._failed[event] = self._clock.now() + RETRY
        log.error("rule failed", source=self._source, rule=event, error=error, retry_in=RETRY.total_seconds())
