"""Disables endpoints whose filters exceed a limit, and says why; their deliveries wait.

An event for which a filter took too long is delivered (its delivery is made, and waits): nothing is lost.  Whoever
enables the endpoint again has the filter tried anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from cdc.dispatch.address import public_url
from cdc.model.clock import Clock
from cdc.model.endpoint import Endpoint
from cdc.model.errors import OutboxError
from cdc.model.exceeded_filters import ExceededFilters, Filtered
from cdc.model.operation import Failing, endpoint_disabled
from cdc.outbox.base import OutboxStore

#: Seconds between two looks for endpoints that were enabled again, and after a failure of the outbox.
INTERVAL: Final = 30.0

log = structlog.get_logger()


class FilterGuard:
    """``disabled``: called when an endpoint was, because its announcement is to be sent."""

    def __init__(
        self, store: OutboxStore, filters: ExceededFilters, clock: Clock, disabled: Callable[[], None]
    ) -> None:
        self._store = store
        self._filters = filters
        self._clock = clock
        self._disabled = disabled
        self._done: set[Filtered] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``."""
        woken = asyncio.Event()
        loop = asyncio.get_running_loop()
        ending = asyncio.create_task(_forwarded(stop, woken))
        try:
            with self._filters.listening(lambda: loop.call_soon_threadsafe(woken.set)):
                while not stop.is_set():
                    woken.clear()
                    pause = await self._looked()
                    if not stop.is_set():
                        await self._clock.wait(woken, pause)
        finally:
            ending.cancel()

    async def _looked(self) -> float | None:
        """Seconds to the next look; None when nothing has exceeded a limit."""
        try:
            await self.look()
        except OutboxError as error:
            log.error("endpoints not looked at", error=str(error), retry_in=INTERVAL)
        return INTERVAL if self._filters.reasons else None

    async def look(self) -> None:
        """Disable the endpoints whose filters exceeded a limit.  Raises `OutboxError`."""
        reasons = dict(self._filters.reasons)
        if not reasons:
            return
        endpoints = {Filtered(each.id, each.condition): each for each in await self._store.endpoints()}
        for which, reason in reasons.items():
            endpoint = endpoints.get(which)
            if endpoint is None or (endpoint.enabled and which in self._done):
                self._filters.forget(which)  # it was removed, or changed, or enabled again
                self._done.discard(which)
            elif endpoint.enabled:
                await self._disable(endpoint, reason)
                self._done.add(which)

    async def _disable(self, endpoint: Endpoint, reason: str) -> None:
        now = self._clock.now()
        event = endpoint_disabled(Failing(endpoint, public_url(endpoint.url), now, reason), reason, now)
        if await self._store.disable_filtered(endpoint.id, endpoint.condition, reason, event, now):
            log.warning("endpoint disabled", endpoint=endpoint.id, reason=reason)
            self._disabled()


async def _forwarded(stop: asyncio.Event, woken: asyncio.Event) -> None:
    await stop.wait()
    woken.set()
