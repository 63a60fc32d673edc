"""Notifies operators of stalled sources, once a stall, of their recovery, of failed components and a clock that is set.

The outbox remembers the announcements: a process that restarts, or takes over as a standby, continues from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from cdc.model.clock import Clock, ClockWatch
from cdc.model.errors import OutboxError
from cdc.model.event import Event
from cdc.model.operation import clock_sentence, clock_set, component_failed, source_resumed, source_stalled
from cdc.outbox.base import LogStore
from cdc.web.health import HealthLimits, Stall, failed_components, stalls
from cdc.web.monitor import INTERVAL, Monitor

#: Announcements are searched among so many of the newest events: while a source is stalled, few come.
LOOKED_BACK: Final = 20_000

log = structlog.get_logger()


class Alarm:
    """``announced``: called when something is to be sent."""

    def __init__(
        self, monitor: Monitor, bounds: HealthLimits, store: LogStore, clock: Clock, announced: Callable[[], None]
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
                await self.look()
            except OutboxError as error:
                log.error("sources not looked at", error=str(error), retry_in=INTERVAL)

    async def look(self) -> None:
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
