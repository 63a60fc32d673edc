"""Rows that are read beside a source's changes: the oldest running backfill, as fast as its rate and its endpoints'
backlogs allow; and each day, records whose date has come, which are read in the same way.

The outbox keeps how far each is, in the transaction that stores its events: nothing here has to survive."""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import date, datetime
from typing import Final, Protocol

import structlog

from cdc.capture.base import SourceBackfills
from cdc.model.backfill import CATCH_UP, EXISTING, Backfill, BackfillState, BackfillStore, Schedule, progress
from cdc.model.clock import Clock
from cdc.model.endpoint import Endpoint, usable_rate
from cdc.model.event import names_last
from cdc.outbox.store import OutboxStore

#: Seconds between two looks for a new one (unless it is said), and at endpoints that have too much to get already.
LOOK_EVERY: Final = 1.0
#: No more rows are read while an endpoint that gets them has more unfinished deliveries than this.
BACKLOG: Final = 10_000
#: Of a rate, what is read at once (seconds).
_SHARE: Final = 0.1
#: Rows that may be read at once, of a backfill without a rate or of what is due.
_ANY: Final = 1_000_000

log = structlog.get_logger()


class BackfilledSources:
    """The sources of which a backfill runs, asked for at most once a second for all sources of a process."""

    def __init__(self, store: BackfillStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._asked = -math.inf
        self._sources: Collection[str] | None = None

    async def have(self, source: str) -> bool:
        now = self._clock.monotonic()
        if self._sources is None or now - self._asked >= LOOK_EVERY:
            self._asked = now  # until it is answered, the answer before is good enough for others
            self._sources = await self._store.backfilled_sources()
        return source in self._sources


class Backfilling:
    """A `cdc.capture.base.SourceBackfills`.  ``backlog``: see `BACKLOG`.  ``look``: seconds between two looks for a new
    one.  ``backfilled``: is asked for a new one first; None: each source asks the outbox itself."""

    def __init__(
        self,
        store: OutboxStore,
        source: str,
        clock: Clock,
        backlog: int = BACKLOG,
        *,
        look: float = LOOK_EVERY,
        backfilled: BackfilledSources | None = None,
    ) -> None:
        self._look = look
        self._backfilled = backfilled
        self._store = store
        self._source = source
        self._clock = clock
        self._backlog = backlog
        self._not_before = 0.0
        self._looked_at = -math.inf
        self._job = ""
        self._rows = 0
        self._planned = 0.0
        self._waits = False

    def rest(self) -> float:
        return max(0.0, self._not_before - self._clock.monotonic())

    async def next(self) -> tuple[Backfill, int] | None:
        now = self._clock.monotonic()
        if now < self._not_before:
            return None
        known = self._job or self._backfilled is None or await self._backfilled.have(self._source)
        backfill = await self._store.next_backfill(self._source) if known else None
        if backfill is None:
            self._job = ""
            self._not_before = now + self._look
            return None
        if backfill.id != self._job:
            self._job, self._rows, self._looked_at = backfill.id, backfill.rows, -math.inf
            log.info("backfill", source=self._source, backfill=backfill.id, table=backfill.table, rows=backfill.rows)
        if await self._too_much(backfill, now):
            self._not_before = now + LOOK_EVERY
            return None
        return self._paced(backfill, now)

    def _paced(self, backfill: Backfill, now: float) -> tuple[Backfill, int] | None:
        """Return the backfill and how many rows it may read now; None while the rows stored since the last call exceed
        its rate."""
        rate = usable_rate(backfill.rate)
        if not rate:
            return backfill, _ANY
        stored, self._rows = backfill.rows - self._rows, backfill.rows
        self._planned = max(self._planned, now - LOOK_EVERY) + stored / rate
        if self._planned > now:
            self._not_before = self._planned
            return None
        return backfill, math.ceil(rate * _SHARE)

    async def _too_much(self, backfill: Backfill, now: float) -> bool:
        """Return whether an endpoint that gets the rows has a backlog.  Looked at once a second; disabled ones keep
        what is theirs, and nobody waits for them."""
        if now - self._looked_at < LOOK_EVERY:
            return False
        self._looked_at = now
        for endpoint in await self._store.endpoints():
            if not (endpoint.enabled and gets(endpoint, backfill)):
                continue
            if await self._store.unfinished(endpoint.id, self._backlog + 1) > self._backlog:
                if not self._waits:
                    log.info("backfill waits", source=self._source, backfill=backfill.id, endpoint=endpoint.id)
                self._waits = True
                return True
        self._waits = False
        return False

    async def fail(self, backfill_id: str, error: str) -> None:
        log.error("backfill failed", source=self._source, backfill=backfill_id, error=error)
        await self._store.set_backfill(backfill_id, BackfillState.FAILED, error, self._clock.now())


def gets(endpoint: Endpoint, backfill: Backfill) -> bool:
    """Return whether the events of a backfill are for an endpoint, as far as it matters how many it has."""
    if backfill.endpoint:
        return endpoint.id == backfill.endpoint
    subscribed = not endpoint.sources or backfill.source in endpoint.sources
    return subscribed and bool(names_last(endpoint.events, EXISTING))


#: Seconds after which a rule that failed is tried again.
RETRY: Final = 600.0


class StateReader(Protocol):
    async def states(self, source: str) -> dict[str, str]: ...


class DueRecords:
    """A `cdc.capture.base.SourceBackfills`: what is due comes before ``backfills``.  Once the rules have nothing
    left to read, nothing is asked on the same day, which each call compares with the clock: it may be set."""

    def __init__(
        self, backfills: SourceBackfills, store: StateReader, source: str, schedule: Schedule, clock: Clock
    ) -> None:
        self._backfills = backfills
        self._store = store
        self._source = source
        self._schedule = schedule
        self._clock = clock
        self._finished: date | None = None  # the day on which nothing was left to read
        self._failed: dict[str, float] = {}  # event → the next try, monotonic
        self._skipped: dict[str, date] = {}  # event → the first day that is not

    def rest(self) -> float:
        if self._asks(self._clock.now()):
            return 0.0
        now = self._clock.now()
        return min(self._backfills.rest(), (self._schedule.next(now) - now).total_seconds())

    def _asks(self, now: datetime) -> bool:
        """Return whether something may be due that was not asked for yet."""
        again = min(self._failed.values(), default=math.inf)
        return self._schedule.today(now) != self._finished or again <= self._clock.monotonic()

    async def next(self) -> tuple[Backfill, int] | None:
        now = self._clock.now()
        if self._asks(now):
            due = await self._due(now)
            if due is not None:
                return due, _ANY
            self._finished = self._schedule.today(now)
        return await self._backfills.next()

    async def _due(self, now: datetime) -> Backfill | None:
        """Return the day of a rule that is to be read now; None when all are finished, or have failed just now."""
        self._failed = {event: again for event, again in self._failed.items() if again > self._clock.monotonic()}
        today = self._schedule.today(now)
        states = await self._store.states(self._source)
        for rule in self._schedule.rules:
            found = progress(states, rule.event, today)
            if rule.event in self._failed:
                continue
            if found.early is not None:
                log.warning(
                    "days were read too early", source=self._source, rule=rule.event, today=str(today),
                    until=str(found.early), reason="the clock was ahead, or is back now: they are read when they come",
                )  # fmt: skip
                due = rule.nothing_on(today)
                return Backfill(f"due/{rule.event}/{today}", self._source, rule.table, "", now, due=due)
            if found.day > today:
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
        self._failed[event] = self._clock.monotonic() + RETRY
        log.error("rule failed", source=self._source, rule=event, error=error, retry_in=RETRY)
