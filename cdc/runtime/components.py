"""Runs the components of a process and restarts each one that fails, without disturbing the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from cdc.model.backoff import Backoff
from cdc.model.clock import Clock
from cdc.model.errors import CdcError, OutboxLost, UsageError, first_error, reportable_error
from cdc.model.observer import Observer

log = structlog.get_logger()

#: The work of a component: it runs until the event is set.
Work = Callable[[asyncio.Event], Awaitable[None]]
#: A component that ran for so many seconds restarts after the shortest delay again.
_WORKED = 60.0


@dataclass
class Components:
    """``observer``: notified whenever a component starts or fails."""

    clock: Clock
    observer: Observer
    _started: set[str] = field(default_factory=set)

    async def keep(self, name: str, work: Work, stop: asyncio.Event) -> None:
        """Run ``work`` until ``stop``; restart it after a growing delay when it raises.

        Raises `OutboxLost`, because no component works without the outbox, and a `UsageError` of the first run, which
        the person who starts the process must read."""
        backoff = Backoff(first=0.5, most=30.0)
        while not stop.is_set():
            started = self.clock.monotonic()
            self.observer.component_started(name)
            try:
                await work(stop)
            except Exception as raised:  # a bulkhead: report, count, restart
                error = first_error(raised)
                if isinstance(error, OutboxLost) or (isinstance(error, UsageError) and name not in self._started):
                    raise
                if self.clock.monotonic() - started > _WORKED:
                    backoff.reset()
                await self._failed(name, error, backoff.next(), stop)
            else:
                return
            finally:
                self._started.add(name)

    async def _failed(self, name: str, error: Exception, delay: float, stop: asyncio.Event) -> None:
        told = reportable_error(error)
        self.observer.component_failed(name, told)
        trace = None if isinstance(error, CdcError) else error
        log.error("component failed", component=name, error=str(told), retry_in=round(delay, 1), exc_info=trace)
        await self.clock.wait(stop, delay)
