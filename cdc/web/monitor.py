"""Asks the outbox and the sources, every few seconds, what nobody reports: what waits, and since when.

Each is asked by a task of its own, so that one that hangs hides nothing of the others.  Requests read the last answers:
they never wait for a database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog

from cdc.capture.base import Source
from cdc.capture.probe import Backlog, Probe
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState
from cdc.model.endpoint import is_pull
from cdc.model.errors import CdcError
from cdc.outbox.base import MonitoredStore, Replication
from cdc.web.reported import ComponentFailure, Reported

#: Seconds between two questions.
INTERVAL = 5.0
#: Seconds for which a clock that was set is a warning.
CLOCK_WARNED = 3600.0

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Queue:
    """The queues of all endpoints, by id.  ``due_since``: of the longest due delivery.  ``holdable``: those whose
    deliveries the dispatcher may hold back: they fail, or have a rate.  ``fetched``: consumers, to which nothing is
    sent."""

    counts: Mapping[str, Mapping[DeliveryState, int]]
    enabled: Mapping[str, bool]
    due_since: Mapping[str, datetime]
    holdable: Collection[str] = frozenset()
    replication: Replication = Replication.NONE
    fetched: Collection[str] = frozenset()


@dataclass(slots=True)
class Answers(Generic[T]):
    """``last`` and the one ``before`` it; ``answered_at``: when the last came, or when asking began.
    ``failure``: since the last answer.  ``ended_at``: when a question last ended, by an answer or a failure."""

    answered_at: datetime
    last: T | None = None
    before: T | None = None
    failure: ComponentFailure | None = None
    ended_at: datetime | None = None

    def came(self, answer: T, now: datetime) -> None:
        self.last, self.before = answer, self.last
        self.answered_at, self.failure = now, None
        self.ended_at = now

    def failed(self, error: CdcError, now: datetime) -> None:
        self.failure = ComponentFailure(self.failure.since if self.failure else now, error)
        self.ended_at = now

    def silent_since(self) -> datetime:
        """Return when a question last ended, or asking began."""
        return self.ended_at or self.answered_at


@dataclass(frozen=True, slots=True)
class WatchedSource:
    """A source and what looks at it from outside, every ``interval`` seconds, the first time after ``delay``."""

    source: Source
    probe: Probe
    interval: float = INTERVAL
    delay: float = 0.0


class Monitor:
    """``reads``: whether this process, not another worker, has a source.  ``elsewhere``: no source is read here, though
    the page lists them."""

    def __init__(
        self,
        store: MonitoredStore,
        sources: Mapping[str, WatchedSource],
        reported: Reported,
        clock: Clock,
        reads: Callable[[str], bool] = lambda _source: True,
        *,
        elsewhere: bool = False,
    ) -> None:
        now = clock.now()
        self._store = store
        self._watched = sources
        self._clock = clock
        self._reads = reads
        self._elsewhere = elsewhere
        self.reported = reported
        self.clock_set: tuple[str, float] | None = None  # the last time: a sentence, and when (monotonic)
        self.queue: Answers[Queue] = Answers(now)
        self.ahead: dict[str, Answers[Backlog | None]] = {name: Answers(now) for name in sources}

    def standby(self, source: str) -> bool:
        if source not in self._watched:
            return self._elsewhere
        return not self._reads(source) or self._watched[source].source.standby

    def blocked(self, source: str) -> str:
        """Return why this process waits for a source that no process of its outbox reads, in sentences; else empty."""
        return self._watched[source].source.blocked if source in self._watched and self._reads(source) else ""

    def problems(self, source: str) -> Sequence[str]:
        """Parts of the source's database that are not captured now though they should be, a sentence each."""
        if source not in self._watched:
            return ()
        last = self.ahead[source].last
        return (*self._watched[source].source.problems, *(last.problems if last is not None else ()))

    def server(self, source: str) -> str:
        """Engine and version; empty before it was first reached."""
        return self._watched[source].probe.server if source in self._watched else ""

    def recent_clock_set(self) -> str:
        """Return a sentence, for an hour after the machine's clock was set; else nothing."""
        if self.clock_set is None or self._clock.monotonic() - self.clock_set[1] >= CLOCK_WARNED:
            return ""
        return self.clock_set[0]

    def asked_twice(self, source: str) -> timedelta:
        """Return the time within which a source is asked twice, however it answers."""
        watched = self._watched.get(source)
        return timedelta(seconds=0 if watched is None else 2 * watched.interval + watched.delay)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until ``stop``; a pending question is given up."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_asking(self.queue, self._ask_outbox, INTERVAL))]
            for name, answers in self.ahead.items():
                watched = self._watched[name]
                asking = self._keep_asking(answers, self._question(name), watched.interval, watched.delay)
                tasks.append(group.create_task(asking))
            await stop.wait()
            for task in tasks:
                task.cancel()
        for watched in self._watched.values():
            await watched.probe.close()

    async def _keep_asking(
        self, answers: Answers[T], ask: Callable[[], Awaitable[T]], interval: float, delay: float = 0.0
    ) -> None:
        never = asyncio.Event()
        if delay:
            await self._clock.wait(never, delay)
        while True:
            try:
                answers.came(await ask(), self._clock.now())
            except CdcError as error:
                answers.failed(error, self._clock.now())
            except Exception as defect:  # who watches must not stop what is watched
                if answers.failure is None:
                    log.exception("a question of the monitor broke off")
                answers.failed(
                    CdcError(f"The question broke off: {type(defect).__name__}; see the log."), self._clock.now()
                )
            await self._clock.wait(never, interval)

    async def _ask_outbox(self) -> Queue:
        endpoints = await self._store.endpoints()
        return Queue(
            counts=await self._store.counts(),
            enabled={endpoint.id: endpoint.enabled for endpoint in endpoints},
            due_since=await self._store.oldest_due(self._clock.now()),
            holdable={each.id for each in endpoints if each.rate or each.failing_since is not None},
            replication=await self._store.replication(),
            fetched={each.id for each in endpoints if is_pull(each.url)},
        )

    def _question(self, source: str) -> Callable[[], Awaitable[Backlog | None]]:
        async def ask() -> Backlog | None:
            if not self._reads(source):
                return None
            report = self.reported.sources.get(source)
            ahead = await self._watched[source].probe.ask(report.position if report else None)
            if ahead is not None:
                self.reported.lags.lagged(source, ahead.seconds, self._clock.now())
            return ahead

        return ask
