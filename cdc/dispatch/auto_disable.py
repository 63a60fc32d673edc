"""Disables endpoints that fail for long, after warnings, and endpoints whose filters exceed a limit.

Invariants: no endpoint is disabled that accepted something since, nor without a warning a good while before; none is
warned about or disabled for one old failure, but only while attempts continue to fail, as this process has seen itself.
So neither a time in which nothing ran, nor one in which nothing was to be sent, disables an endpoint by surprise.
An announcement has an id that several processes share: each is made once.

An event for which a filter took too long is delivered (its delivery is created, and waits): nothing is lost.  The
filter is tried again when the endpoint is enabled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import structlog

from cdc.dispatch.retry import JITTER
from cdc.model.clock import Clock
from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.endpoint import Endpoint, shown_url
from cdc.model.errors import OutboxError
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.model.operation import MOST_WAITING, Failing, endpoint_disabled, endpoint_failing, endpoint_recovered
from cdc.model.selection import Filtered, FilterProblems
from cdc.outbox.base import DispatchStore

#: Warnings come when so much (percent) of an endpoint's time has passed.
WARNINGS: Final = (50, 70, 90)
#: It is disabled when all of it has.
END: Final = 100
#: The least part of its time between the last warning and the end.
NOTICE: Final = 0.05
#: Seconds between two looks at most, also at filters and after a failure of the outbox; where times are short, fewer,
#: but not fewer than the other.
INTERVAL: Final = 30.0
SHORTEST: Final = 1.0
#: A failure is recent for at least so long, and for twice the longest pause of the endpoint's schedule.
RECENT: Final = timedelta(hours=1)

log = structlog.get_logger()


class LastFailure(NamedTuple):
    """The last failed attempt at an endpoint.  ``error``: one sentence."""

    at: datetime
    error: str


def percent_due(endpoint: Endpoint, last: LastFailure | None, now: datetime) -> int:
    """Return the highest of `WARNINGS` and `END` (percent of the time until it is disabled) that an endpoint has
    reached, or 0.

    ``last``: the last failure seen.
    """
    if not endpoint.enabled or not endpoint.disable_after or endpoint.failing_since is None or last is None:
        return 0
    longest = max(endpoint.retry_schedule, default=0.0) * (1 + JITTER)
    if last.at < endpoint.failing_since or now - last.at > max(RECENT, timedelta(seconds=2 * longest)):
        return 0
    passed = (now - endpoint.failing_since).total_seconds() / endpoint.disable_after * 100
    return max((percent for percent in (*WARNINGS, END) if passed >= percent), default=0)


def warned_in_time(endpoint: Endpoint, warned_at: datetime | None, now: datetime) -> bool:
    """Return whether the last warning is long enough ago.  ``warned_at``: when it was stored."""
    return warned_at is not None and (now - warned_at).total_seconds() >= NOTICE * endpoint.disable_after


def disable_reason(endpoint: Endpoint) -> str:
    """Return the reason for disabling the endpoint, one sentence."""
    return f"It has accepted nothing for {_span(endpoint.disable_after)}."


class _Warned(NamedTuple):
    """The last warning about an endpoint."""

    failing: Failing
    event_id: str


class Failures(Observer):
    """A `cdc.model.observer.Observer` that remembers of each endpoint the last failed attempt."""

    def __init__(self) -> None:
        self.last: dict[str, LastFailure] = {}

    def attempted(self, finished: Sequence[tuple[Outcome, str]]) -> None:
        for outcome, endpoint_id in finished:
            if outcome.state is not DeliveryState.DELIVERED and outcome.failed:
                failure = LastFailure(outcome.attempt.started_at, outcome.attempt.error)
                self.last[endpoint_id] = max(failure, self.last.get(endpoint_id, failure))


class AutoDisable:
    """Looks at the endpoints of an outbox every `INTERVAL`.  ``announced``: called when something is to be sent;
    ``disabled``: when an endpoint was, so that its enabling, however soon, is seen to be one."""

    def __init__(
        self,
        store: DispatchStore,
        failures: Failures,
        clock: Clock,
        announced: Callable[[], None],
        disabled: Callable[[], None],
    ) -> None:
        self._store = store
        self._disabled = disabled
        self._failures = failures.last
        self._clock = clock
        self._announced = announced
        self._warned: dict[str, _Warned] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``."""
        pause = 0.0
        while not await self._clock.wait(stop, pause):
            try:
                pause = await self.look()
            except OutboxError as error:
                pause = INTERVAL
                log.error("endpoints not looked at", error=str(error), retry_in=pause)

    async def look(self) -> float:
        """Check all endpoints once; return the seconds until the next check.  Raises `OutboxError`."""
        endpoints = await self._store.endpoints()
        self._forget(endpoints)
        for endpoint in endpoints:
            now = self._clock.now()
            await self._recover(endpoint, now)
            last = self._failures.get(endpoint.id)
            percent = percent_due(endpoint, last, now)
            if percent and last is not None and endpoint.failing_since is not None:
                failing = Failing(endpoint, shown_url(endpoint), endpoint.failing_since, last.error)
                await self._judge(failing, percent, now)
        shortest = min((each.disable_after for each in endpoints if each.disable_after), default=INTERVAL / NOTICE)
        return max(min(INTERVAL, NOTICE * shortest), SHORTEST)

    def _forget(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget removed endpoints, and disabled ones: enabling starts from zero."""
        kept = {endpoint.id for endpoint in endpoints if endpoint.enabled}
        for seen in (self._failures, self._warned):
            for endpoint_id in seen.keys() - kept:
                del seen[endpoint_id]

    async def _judge(self, failing: Failing, percent: int, now: datetime) -> None:
        warning = endpoint_failing(failing, min(percent, WARNINGS[-1]), now)
        warned = await self._store.event(warning.id) if percent == END else None
        if percent < END or not warned_in_time(failing.endpoint, warned.time if warned else None, now):
            await self._warn(failing, warning, now)
            return
        reason = disable_reason(failing.endpoint)
        event = endpoint_disabled(await self._counted(failing), reason, now)
        if await self._store.disable_failing(failing.endpoint.id, failing.since, reason, event, now):
            self._warned.pop(failing.endpoint.id, None)
            log.warning("endpoint disabled", endpoint=failing.endpoint.id, reason=reason)
            self._disabled()
            self._announced()

    async def _warn(self, failing: Failing, event: Event, now: datetime) -> None:
        endpoint_id = failing.endpoint.id
        before = self._warned.get(endpoint_id)
        if before is not None and before.event_id == event.id:
            return
        if await self._announce(endpoint_failing(await self._counted(failing), event.data["percent"], now), now):
            percent, until = event.data["percent"], event.data["disabled_at"]
            log.warning(
                "endpoint failing", endpoint=endpoint_id, percent=percent, disabled_at=until, error=failing.last_error
            )
        self._warned[endpoint_id] = _Warned(failing, event.id)

    async def _counted(self, failing: Failing) -> Failing:
        """Return it with what waits, counted only when that is announced."""
        return failing._replace(waiting=await self._store.unfinished(failing.endpoint.id, MOST_WAITING))

    async def _recover(self, endpoint: Endpoint, now: datetime) -> None:
        """Announce that a failing endpoint works again, if its failing was announced."""
        warned = self._warned.get(endpoint.id)
        if warned is None or warned.failing.since == endpoint.failing_since:
            return
        if await self._announce(endpoint_recovered(warned.failing, now), now):
            log.info("endpoint recovered", endpoint=endpoint.id)
        del self._warned[endpoint.id]

    async def _announce(self, event: Event, now: datetime) -> bool:
        """Return whether it is reported for the first time."""
        stored = await self._store.announce([event], now)
        if stored.deliveries:
            self._announced()
        return bool(stored.events)


def _span(seconds: float) -> str:
    """``5 days``, ``36 hours``, ``90 seconds``."""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size and not seconds % size:
            count = round(seconds / size)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds:g} seconds"


# -- filters -----------------------------------------------------------------------------------------------------------


class FilterGuard:
    """Disables the endpoints of ``exceeded``, and notes on those of ``failed`` that their filters did.  ``disabled``:
    called when an endpoint was, because its announcement is to be sent."""

    def __init__(
        self,
        store: DispatchStore,
        exceeded: FilterProblems,
        failed: FilterProblems,
        clock: Clock,
        disabled: Callable[[], None],
    ) -> None:
        self._store = store
        self._exceeded = exceeded
        self._failed = failed
        self._clock = clock
        self._disabled = disabled
        self._done: set[Filtered] = set()
        self._recalled = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop``."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        ending = asyncio.create_task(_forwarded(stop, woken))
        try:
            wake = partial(loop.call_soon_threadsafe, woken.set)
            with self._exceeded.listening(wake), self._failed.listening(wake):
                while not stop.is_set():
                    woken.clear()
                    pause = await self._check_once()
                    if not stop.is_set():
                        await self._clock.wait(woken, pause)
        finally:
            ending.cancel()

    async def _check_once(self) -> float | None:
        """Seconds to the next look; None when nothing has exceeded a limit."""
        try:
            await self.look()
        except OutboxError as error:
            log.error("endpoints not looked at", error=str(error), retry_in=INTERVAL)
        return INTERVAL if self._exceeded.reasons or self._failed.reasons else None

    async def look(self) -> None:
        """Disable the endpoints whose filters exceeded a limit, and note those that failed.  Raises `OutboxError`."""
        if not self._recalled:
            await self._recall()
        for which, reason in list(self._failed.reasons.items()):
            await self._store.note_filter(which.endpoint, which.filter, reason)
            self._failed.forget(which)
            log.info("filter problem noted", endpoint=which.endpoint, reason=reason)
        reasons = dict(self._exceeded.reasons)
        if not reasons:
            return
        endpoints = {Filtered(each.id, each.condition): each for each in await self._store.endpoints()}
        for which, reason in reasons.items():
            endpoint = endpoints.get(which)
            if endpoint is None or (endpoint.enabled and which in self._done):
                self._exceeded.forget(which)  # it was removed, or changed, or enabled again
                self._done.discard(which)
            elif endpoint.enabled:
                await self._disable(endpoint, reason)
                self._done.add(which)

    async def _recall(self) -> None:
        """Note the endpoints that were disabled by a former process: their filters are not tried in full again."""
        for each in await self._store.endpoints():
            which = Filtered(each.id, each.condition)
            if each.condition and not each.enabled and self._exceeded.explains(each.disabled_reason):
                self._done.add(which)
                self._exceeded.add(which, each.disabled_reason)
        self._recalled = True

    async def _disable(self, endpoint: Endpoint, reason: str) -> None:
        now = self._clock.now()
        waiting = await self._store.unfinished(endpoint.id, MOST_WAITING)
        event = endpoint_disabled(Failing(endpoint, shown_url(endpoint), now, reason, waiting), reason, now)
        if await self._store.disable_filtered(endpoint.id, endpoint.condition, reason, event, now):
            log.warning("endpoint disabled", endpoint=endpoint.id, reason=reason)
            self._disabled()


async def _forwarded(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()
