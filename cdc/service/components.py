"""Keeps the components of a process apart: one that breaks off is begun again, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from cdc.backoff import Backoff
from cdc.clock import Clock
from cdc.errors import CdcError, OutboxLost, UsageError, as_told, first_of
from cdc.observer import Observer

log = structlog.get_logger()

#: What a component does until the event is set.
Work = Callable[[asyncio.Event], Awaitable[None]]
#: Seconds after which a component that breaks off is begun again as if it had not done so before.
_WORKED = 60.0


@dataclass
class Components:
    """``observer``: told whenever one begins or breaks off."""

    clock: Clock
    observer: Observer
    _begun: set[str] = field(default_factory=set)

    async def keep(self, name: str, work: Work, stop: asyncio.Event) -> None:
        """Do ``work`` until ``stop``, again after a growing pause whenever an error ends it.

        Raises `OutboxLost`, without which nothing of the process can do its work, and the `UsageError` of a component
        that begins for the first time: whoever started the process must read it."""
        backoff = Backoff(first=0.5, most=30.0)
        while not stop.is_set():
            begun = self.clock.monotonic()
            self.observer.component_begun(name)
            try:
                await work(stop)
            except Exception as raised:  # a bulkhead: told, counted, and begun again
                error = first_of(raised)
                if isinstance(error, OutboxLost) or (isinstance(error, UsageError) and name not in self._begun):
                    raise
                if self.clock.monotonic() - begun > _WORKED:
                    backoff.reset()
                await self._broke_off(name, error, backoff.next(), stop)
            else:
                return
            finally:
                self._begun.add(name)

    async def _broke_off(self, name: str, error: Exception, delay: float, stop: asyncio.Event) -> None:
        told = as_told(error)
        self.observer.component_failed(name, told)
        trace = None if isinstance(error, CdcError) else error
        log.error("component failed", component=name, error=str(told), retry_in=round(delay, 1), exc_info=trace)
        await self.clock.wait(stop, delay)
