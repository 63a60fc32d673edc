"""Reports of relays and dispatch, and questions to outbox and sources about what nobody reports.

Reports are plain numbers in memory, which health and metrics read.  One thread writes and reads them: no locks.

Outbox and sources are asked every few seconds what waits, and since when; each by a task of its own, so that one that
hangs hides nothing of the others.  Requests read the last answers: they never wait for a database.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import structlog

from cdc.capture.base import Source
from cdc.capture.probe import Backlog, Probe
from cdc.model.change import BackfillStep, Batch, Operation, Position
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState, Held, Outcome
from cdc.model.endpoint import is_pull
from cdc.model.errors import CdcError, LimitReached
from cdc.model.event import Event
from cdc.model.observer import Observer, requests
from cdc.outbox.base import Replication
from cdc.outbox.store import OutboxStore

#: The speed is an average of so long; within the second it is not known yet.
WINDOW: Final = timedelta(seconds=30)
LEAST: Final = timedelta(seconds=1)


class Speed:
    """The speed of the backfill that a source continues."""

    def __init__(self) -> None:
        self._job = ""
        self._steps: deque[tuple[datetime, int]] = deque()

    def stored(self, step: BackfillStep, now: datetime) -> None:
        if step.job != self._job:
            self._job = step.job
            self._steps.clear()
        self._steps.append((now, step.rows))
        self._forget(now)

    def rows_per_second(self, job: str, now: datetime) -> float | None:
        """Return the rows a second; None when none, or too few, of this one were stored lately."""
        self._forget(now)
        if job != self._job or not self._steps:
            return None
        since = self._steps[0][0]
        if now - since < LEAST:
            return None
        rows = sum(rows for _, rows in self._steps) - self._steps[0][1]  # the first one took its time before
        return rows / (now - since).total_seconds()

    def _forget(self, now: datetime) -> None:
        while self._steps and now - self._steps[0][0] > WINDOW:
            self._steps.popleft()


#: Upper bounds (seconds) in which durations of attempts are counted; what takes longer is counted above the last.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: A source that failed counts as recovered when it stored something, or has been open for this long.
SETTLED = timedelta(seconds=2)

_OUTCOMES = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.PENDING: "retried",
    DeliveryState.DEAD: "dead",
    DeliveryState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class ComponentFailure:
    """``since``: of the first one in a row."""

    since: datetime
    error: CdcError


@dataclass(slots=True)
class SourceReport:
    """The state of a source.  ``since``: when this process got it, about.  ``open_since``: None while it is not open.
    ``moved_at``: when its position last changed.  ``changed_at``: the time of the newest change that was stored."""

    since: datetime
    open_since: datetime | None = None
    failure: ComponentFailure | None = None
    position: Position | None = None
    moved_at: datetime | None = None
    changed_at: datetime | None = None
    failures: int = 0
    transactions: int = 0
    events: int = 0
    quarantined: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    reread: Counter[str] = field(default_factory=Counter)
    backfill: Speed = field(default_factory=Speed)

    def elsewhere(self, now: datetime) -> None:
        """Forget what the source was like: another process reads it, and this one may get it again."""
        self.since, self.open_since, self.failure, self.moved_at = now, None, None, None

    def failing(self, now: datetime) -> ComponentFailure | None:
        """Return the failure, unless the source has recovered."""
        settled = self.open_since is not None and now - self.open_since >= SETTLED
        return None if settled else self.failure


@dataclass(slots=True)
class ComponentReport:
    """``started_at``: None while it does not run.  ``failures``: how often it failed."""

    started_at: datetime | None = None
    failure: ComponentFailure | None = None
    failures: int = 0

    def failing(self, now: datetime) -> ComponentFailure | None:
        """Return the failure it has not recovered from."""
        settled = self.started_at is not None and now - self.started_at >= SETTLED
        return None if settled else self.failure


@dataclass(slots=True)
class Durations:
    """``counts``: by `BOUNDS`, with one more for what takes longer.  ``total``: seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0


class Reported(Observer):
    """A `cdc.model.observer.Observer`.  ``sources``: the names of those that there will be."""

    def __init__(self, clock: Clock, sources: Sequence[str] = ()) -> None:
        self._clock = clock
        self.sources = {name: SourceReport(clock.now()) for name in sources}
        self.outbox_failures: dict[str, ComponentFailure] = {}
        self.outbox_failed_times = 0
        self.components: dict[str, ComponentReport] = {}
        self.active: bool | None = None  # whether this process dispatches; None: it is not known yet
        self.held_back: dict[str, Held] = {}  # by endpoint id
        self.attempts: Counter[tuple[str, str, str]] = Counter()  # endpoint id, outcome, kind of status
        self.attempted_at: datetime | None = None  # when an attempt last ended
        self.refusals: Counter[str] = Counter()  # of what would have exceeded a limit, by its kind
        self.refused: dict[str, tuple[LimitReached, datetime]] = {}  # by message: the last such refusal, and when
        self.lags = LagHistory()
        self.durations: dict[str, Durations] = {}  # by endpoint id

    # -- relays -----------------------------------------------------------------------------------------------------

    def _source(self, name: str) -> SourceReport:
        return self.sources.setdefault(name, SourceReport(self._clock.now()))

    def set_sources(self, sources: Collection[str]) -> None:
        """Take over the list of sources; others are forgotten."""
        now = self._clock.now()
        self.sources = {name: self.sources.get(name) or SourceReport(now) for name in sources}

    def opening(self, source: str) -> None:
        self._source(source).open_since = None

    def reading(self, source: str, position: Position | None) -> None:
        report = self._source(source)
        report.open_since = report.moved_at = self._clock.now()
        report.position = position
        self.outbox_worked(source)

    def source_failed(self, source: str, error: CdcError) -> None:
        report, now = self._source(source), self._clock.now()
        before = report.failing(now)
        report.failure = ComponentFailure(before.since if before else now, error)
        report.open_since = None
        report.failures += 1

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:  # noqa: ARG002 - the signature of the overridden method; only the number of events matters here
        report = self._source(source)
        report.failure = None
        if batch.position != report.position:
            report.position, report.moved_at = batch.position, self._clock.now()
        report.events += new
        report.transactions += len(batch.transactions)
        if batch.step is not None:
            report.backfill.stored(batch.step, self._clock.now())
        report.quarantined += len(batch.quarantined)
        for gap in batch.gaps:
            report.gaps[gap.table] += 1
        for transaction in batch.transactions:
            if transaction.changes:
                last = transaction.changes[-1]
                report.changed_at = last.time
                if last.operation is Operation.READ:
                    report.reread[last.table] += len(transaction.changes)
        if self.outbox_failures:
            self.outbox_worked(source)

    # -- components -------------------------------------------------------------------------------------------------

    def component_started(self, name: str) -> None:
        self.components.setdefault(name, ComponentReport()).started_at = self._clock.now()

    def component_failed(self, name: str, error: CdcError) -> None:
        report, now = self.components[name], self._clock.now()
        before = report.failing(now)
        report.failure = ComponentFailure(before.since if before else now, error)
        report.started_at = None
        report.failures += 1

    # -- the outbox and dispatch ------------------------------------------------------------------------------------

    def outbox_failed(self, user: str, error: CdcError) -> None:
        before = self.outbox_failures.get(user)
        self.outbox_failures[user] = ComponentFailure(before.since if before else self._clock.now(), error)
        self.outbox_failed_times += 1

    def outbox_worked(self, user: str) -> None:
        self.outbox_failures.pop(user, None)

    def dispatching(self, active: bool) -> None:
        self.active = active

    def held(self, endpoints: Mapping[str, Held]) -> None:
        self.held_back = dict(endpoints)

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        self.attempted_at = self._clock.now()
        self.count_attempts(finished)

    def count_attempts(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        """Attempts are counted by delivery, their durations by request."""
        for (attempt, state, _, _, batch, *_), endpoint_id in requests(finished):
            status = attempt.status
            self.attempts[endpoint_id, _OUTCOMES[state], f"{status // 100}xx" if status else "none"] += batch
            durations = self.durations.get(endpoint_id)
            if durations is None:
                durations = self.durations[endpoint_id] = Durations()
            durations.counts[bisect_left(BOUNDS, attempt.duration)] += 1
            durations.total += attempt.duration


#: Minutes.
KEPT: Final = 60


class LagHistory:
    def __init__(self) -> None:
        self._minutes: defaultdict[str, deque[tuple[datetime, float]]] = defaultdict(lambda: deque(maxlen=KEPT))

    def lagged(self, source: str, seconds: float, now: datetime) -> None:
        minutes, minute = self._minutes[source], _minute(now)
        if minutes and minutes[-1][0] >= minute:
            minutes[-1] = (minutes[-1][0], max(seconds, minutes[-1][1]))
        else:
            minutes.append((minute, seconds))

    def last(self, source: str, now: datetime) -> Sequence[float | None]:
        """Return the lag (seconds) in each of the last 60 minutes, this one included, oldest first; None: not known."""
        known = dict(self._minutes.get(source, ()))
        return [known.get(_minute(now) - timedelta(minutes=ago)) for ago in range(KEPT - 1, -1, -1)]


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)


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
    sent.  ``free``: bytes on the disk of the outbox; None: on another machine."""

    counts: Mapping[str, Mapping[DeliveryState, int]]
    enabled: Mapping[str, bool]
    due_since: Mapping[str, datetime]
    holdable: Collection[str] = frozenset()
    replication: Replication = Replication.NONE
    fetched: Collection[str] = frozenset()
    free: int | None = None


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
    the page lists them.  ``free``: returns the free bytes on the disk of the outbox, None where there is no such; may
    block."""

    def __init__(
        self,
        store: OutboxStore,
        sources: Mapping[str, WatchedSource],
        reported: Reported,
        clock: Clock,
        reads: Callable[[str], bool] = lambda _source: True,
        *,
        elsewhere: bool = False,
        free: Callable[[], int | None] | None = None,
    ) -> None:
        now = clock.now()
        self._free = free
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

    def refused(self, source: str) -> str:
        """Return why a new connection to a source's database fails though it is read over an open one; else empty."""
        answers, report = self.ahead.get(source), self.reported.sources.get(source)
        if answers is None or report is None or report.open_since is None or self.standby(source):
            return ""
        return answers.failure.error.message if answers.failure else answers.last.refused if answers.last else ""

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
            free=None if self._free is None else await asyncio.to_thread(self._free),
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
