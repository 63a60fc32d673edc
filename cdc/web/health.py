"""Rules of health, pure, on reports and answers: whether the consumer works, and if not, why; and alarms.

Alarms notify operators of stalled sources, once a stall, of their recovery, of failed components and a clock that is
set.  The outbox remembers the announcements: a process that restarts, or takes over as a standby, continues from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from cdc.capture.probe import Backlog
from cdc.model.clock import Clock, ClockWatch
from cdc.model.errors import OutboxError
from cdc.model.event import Event
from cdc.model.finding import size, span
from cdc.model.operation import clock_sentence, clock_set, component_failed, source_resumed, source_stalled
from cdc.outbox.base import Replication
from cdc.outbox.store import OutboxStore
from cdc.web.monitor import INTERVAL, Monitor, Queue, SourceReport

#: Bytes on the disk of the outbox below which it is nearly full.
SCARCE: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """``stalled``: how long a source that has something may store nothing, and a question may go unanswered.
    ``overdue``: how long a delivery may be due without being sent.  ``attempt``: how long one attempt may take.
    ``synchronous``: the outbox is meant to be replicated, so that its loss of a standby is reported too."""

    stalled: timedelta = timedelta(seconds=60)
    overdue: timedelta = timedelta(seconds=300)
    attempt: timedelta = timedelta(seconds=30)
    synchronous: bool = False


def reasons(monitor: Monitor, bounds: HealthLimits, now: datetime) -> list[str]:
    """Return the reasons why this process is not ready, a sentence each; empty: it is."""
    parts = [stall.why for stall in failed_components(monitor, now).values()]
    found = [*_outbox(monitor, bounds, now), *parts, *_deliveries(monitor, bounds, now)]
    for name, report in monitor.reported.sources.items():
        if not monitor.standby(name):  # the other one answers for itself
            found += [each.why for each in _source(name, report, monitor, bounds, now)]
            found += [f"Source {name}: {problem}" for problem in monitor.problems(name)]
    return found


def warnings(monitor: Monitor, bounds: HealthLimits) -> list[str]:
    """Return sentences about dangers that do not stop this process."""
    queue = monitor.queue.last
    replicated = "" if queue is None else unreplicated(queue.replication, asked=bounds.synchronous)
    scarce = queue is not None and queue.free is not None and queue.free < SCARCE
    full = f"The disk of the outbox is nearly full: {size(queue.free or 0)} are free." if queue and scarce else ""
    refused = [refusal(monitor, name) for name in monitor.reported.sources]
    return [each for each in (full, *refused, replicated, monitor.recent_clock_set()) if each]


def refusal(monitor: Monitor, source: str) -> str:
    """Return the danger that a source cannot connect again, a sentence; empty without one."""
    why = monitor.refused(source)
    return why and f"Source {source} is read over an old connection, and a new one fails: {why}"


def unreplicated(replication: Replication, *, asked: bool) -> str:
    """Return the danger of a fail-over, a sentence; empty without one.  ``asked``: a standby is meant to be there."""
    if replication is Replication.ASYNCHRONOUS:
        return "The outbox's server does not wait for its standby: a fail-over may lose what was acknowledged."
    if replication is Replication.NONE and asked:
        return "The outbox's server has no standby, and [outbox] synchronous asks for one."
    return ""


class Stall(NamedTuple):
    """The reason why a source is not read or a component does not run.  ``why``: one sentence."""

    since: datetime
    why: str


def stalls(monitor: Monitor, bounds: HealthLimits, now: datetime) -> dict[str, Stall | None]:
    """Return the stalls of the sources that this process reads: None while all is well, else the problem, and since
    when.

    A source that merely does not report whether it keeps up is well as long as it stores."""
    names = [name for name in monitor.reported.sources if not monitor.standby(name)]
    return {name: stall(monitor, name, bounds, now) for name in names}


def stall(monitor: Monitor, source: str, bounds: HealthLimits, now: datetime) -> Stall | None:
    """Return the stall of one source; None while all is well."""
    report = monitor.reported.sources[source]
    return None if _stores(report, bounds, now) else next(_source(source, report, monitor, bounds, now), None)


def failed_components(monitor: Monitor, now: datetime) -> dict[str, Stall]:
    """Return the failed components of this process by name, until each has run for a moment."""
    failing = {name: report.failing(now) for name, report in sorted(monitor.reported.components.items())}
    return {
        name: Stall(
            failure.since, f"Component {name} has failed since {_since(failure.since, now)}: {failure.error.message}"
        )
        for name, failure in failing.items()
        if failure is not None
    }


def hangs(monitor: Monitor, bounds: HealthLimits, now: datetime) -> list[str]:
    """Return the parts of this process that hang, a sentence each, which a restart would repair.

    Less than `reasons`: a database that is away, a full disk or a slow receiver is not repaired by a restart; a source
    that is stalled may be reading one huge transaction, which a restart would begin again."""
    asked = [("The outbox", monitor.queue.silent_since(), timedelta(seconds=2 * INTERVAL))]
    asked += [
        (f"Source {name}", answers.silent_since(), monitor.asked_twice(name)) for name, answers in monitor.ahead.items()
    ]
    found = [
        f"{what} has been asked since {_since(since, now)}, and the question does not end."
        for what, since, twice in asked
        if now - since >= max(2 * bounds.stalled, 2 * twice)
    ]
    reported = monitor.reported
    quiet = reported.attempted_at is None or now - reported.attempted_at >= bounds.overdue + bounds.attempt
    if reported.active and not reported.outbox_failures and quiet:
        found += _deliveries(monitor, bounds, now)
    return found


def _stores(report: SourceReport, bounds: HealthLimits, now: datetime) -> bool:
    """Return whether a source is open and its position has moved not long ago."""
    moved = report.moved_at or report.since
    return report.open_since is not None and report.failing(now) is None and now - moved < bounds.stalled


#: States of a source: read; waited for; not readable; being opened; open, and it stores nothing though changes wait, or
#: its database does not answer.
STATES: Final = ("reading", "standby", "failed", "opening", "stalled")


def state(monitor: Monitor, source: str, bounds: HealthLimits, now: datetime) -> str:
    """Return the state of a source, one of `STATES`."""
    report = monitor.reported.sources[source]
    if monitor.standby(source):
        return "standby"
    if report.failing(now) or monitor.blocked(source):
        return "failed"
    if report.open_since is None:
        return "opening"
    return "stalled" if stall(monitor, source, bounds, now) else "reading"


def lag(monitor: Monitor, endpoint: str, now: datetime) -> timedelta:
    """Return how long the longest due delivery of an endpoint has been due."""
    since = monitor.queue.last.due_since.get(endpoint) if monitor.queue.last else None
    return max(now - since, timedelta(0)) if since else timedelta(0)


def _source(name: str, report: SourceReport, monitor: Monitor, bounds: HealthLimits, now: datetime) -> Iterator[Stall]:
    if blocked := monitor.blocked(name):
        yield Stall(report.since, f"Source {name}: {blocked}")
        return
    failure = report.failing(now)
    if failure:
        why = f"Source {name} has not been readable since {_since(failure.since, now)}: {failure.error}"
        yield Stall(failure.since, why)
        return
    if report.open_since is None:
        yield Stall(report.since, f"Source {name} is being opened.")
        return
    answers = monitor.ahead.get(name)
    if answers is None:
        return
    # however short the bounds: no answer comes before the next question
    if now - answers.answered_at >= max(bounds.stalled, monitor.asked_twice(name)):
        why = str(answers.failure.error) if answers.failure else "its database does not answer."
        since = answers.answered_at
        yield Stall(since, f"Source {name} has not answered since {_since(since, now)}: {why}")
    elif answers.last is not None and _stalled(report, answers.last, bounds, now):
        since = report.moved_at or report.since
        why = (
            f"Source {name} is stalled: it has stored nothing since {_since(since, now)}, and its database has "
            f"{_what(answers.last)}."
        )
        yield Stall(since, why)


def _stalled(report: SourceReport, ahead: Backlog, bounds: HealthLimits, now: datetime) -> bool:
    """Return whether a source is stalled.  Any move of the position counts: a consumer that is far behind and at work
    is not stalled."""
    moved = report.moved_at or report.since
    return now - moved >= bounds.stalled and ahead.seconds >= bounds.stalled.total_seconds()


def _what(ahead: Backlog) -> str:
    if ahead.transactions is None:
        return f"changes that have waited for up to {span(ahead.seconds)}"
    return f"{ahead.transactions} transactions that have waited for up to {span(ahead.seconds)}"


def _outbox(monitor: Monitor, bounds: HealthLimits, now: datetime) -> Iterator[str]:
    failures = list(monitor.reported.outbox_failures.values())
    if monitor.queue.failure:
        failures.append(monitor.queue.failure)
    if failures:
        first = min(failures, key=lambda failure: failure.since)
        yield f"Nothing has been stored since {_since(first.since, now)}: {first.error}"
    elif now - monitor.queue.answered_at >= bounds.stalled:
        yield f"The outbox has not answered since {_since(monitor.queue.answered_at, now)}."


def _deliveries(monitor: Monitor, bounds: HealthLimits, now: datetime) -> Iterator[str]:
    """Overdue at two looks in a row: a delivery that waited for an earlier one of its record is due at once, and long
    since, when its turn comes.  What is held back on purpose is not overdue."""
    last, before = monitor.queue.last, monitor.queue.before
    if last is None or before is None:
        return
    for endpoint, since in sorted(last.due_since.items()):
        earlier = before.due_since.get(endpoint)
        late = now - since >= bounds.overdue and earlier is not None and now - earlier >= bounds.overdue
        if late and endpoint not in last.fetched and not _held(monitor, last, endpoint, bounds, now):
            yield overdue(endpoint, since, now)


def overdue(endpoint: str, since: datetime, now: datetime) -> str:
    return f"A delivery to endpoint {endpoint} is overdue: it has been due since {_since(since, now)} and not sent."


def _held(monitor: Monitor, queue: Queue, endpoint: str, bounds: HealthLimits, now: datetime) -> bool:
    """Return whether deliveries are held back, and the time for the next one is not long past.  Where another process
    dispatches, which reports nothing: whether they may be."""
    if not monitor.reported.active:
        return endpoint in queue.holdable
    held = monitor.reported.held_back.get(endpoint)
    return held is not None and now - held.until < bounds.overdue


def _since(moment: datetime, now: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC ({span((now - moment).total_seconds())})"


#: Announcements are searched among so many of the newest events: while a source is stalled, few come.
LOOKED_BACK: Final = 20_000

log = structlog.get_logger()


class Alarm:
    """``announced``: called when something is to be sent."""

    def __init__(
        self, monitor: Monitor, bounds: HealthLimits, store: OutboxStore, clock: Clock, announced: Callable[[], None]
    ) -> None:
        self._monitor = monitor
        self._bounds = bounds
        self._store = store
        self._clock = clock
        self._announced = announced
        self._wall = ClockWatch(clock)
        self._clock_events: list[Event] = []  # to be announced
        self._stalled: dict[str, datetime | None] = {}  # source → start of the announced stall that lasts
        self._announced_failures: dict[str, datetime] = {}  # component → start of the failure announced last

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``."""
        while not await self._clock.wait(stop, INTERVAL):
            try:
                await self.check()
            except OutboxError as error:
                log.error("sources not looked at", error=str(error), retry_in=INTERVAL)

    async def check(self) -> None:
        """Check the clock, all sources and components once.  Raises `OutboxError`."""
        now = self._clock.now()
        if jump := self._wall.jump():
            self._monitor.clock_set = clock_sentence(jump, now), self._clock.monotonic()
            self._clock_events.append(clock_set(jump, now))
            log.warning("clock set", seconds=round(jump), now=f"{now:%Y-%m-%d %H:%M:%S} UTC")
        while self._clock_events:
            await self._announce(self._clock_events[0], now)
            del self._clock_events[0]
        for source, report in self._monitor.reported.sources.items():
            if self._monitor.standby(source):
                report.elsewhere(now)
        found = stalls(self._monitor, self._bounds, now)
        for source in self._stalled.keys() - found.keys():
            del self._stalled[source]  # another process reads it now
        if new := found.keys() - self._stalled.keys():
            before = await self._announced_stalls()
            self._stalled |= {source: before.get(source) for source in new}
        for source, stall in found.items():
            await self._report(source, stall, self._stalled[source], now)
        for component, (since, why) in failed_components(self._monitor, now).items():
            if self._announced_failures.get(component) != since:
                await self._announce(component_failed(component, since, why, now), now)
                self._announced_failures[component] = since

    async def _report(self, source: str, stall: Stall | None, since: datetime | None, now: datetime) -> None:
        if stall is None and since is not None:
            await self._announce(source_resumed(source, since, now), now)
            self._stalled[source] = None
            log.info("source resumed", source=source)
        elif stall is not None and since is None and now - stall.since >= self._bounds.stalled:
            await self._announce(source_stalled(source, stall.since, stall.why, now), now)
            self._stalled[source] = stall.since
            log.error("source stalled", source=source, reason=stall.why)

    async def _announce(self, event: Event, now: datetime) -> None:
        if (await self._store.announce([event], now)).deliveries:
            self._announced()

    async def _announced_stalls(self) -> dict[str, datetime]:
        """Return source → start, of the announced stalls that last as far as the outbox knows."""
        newest = await self._store.events(1)
        after = max(newest[-1].sequence - LOOKED_BACK, 0) if newest else 0
        lasting: dict[str, datetime] = {}
        stalled, resumed = [
            await self._store.events(LOOKED_BACK, after, name) for name in ("source.stalled", "source.resumed")
        ]
        for event in sorted((*stalled, *resumed), key=lambda event: event.sequence):
            source = event.record.removeprefix("source:")
            if event.name == "source.stalled":
                lasting[source] = (
                    event.time if event.expunged else datetime.fromisoformat(event.payload["data"]["since"])
                )
            else:
                lasting.pop(source, None)
        return lasting
