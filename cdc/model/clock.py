"""Time as the product sees it: injected everywhere, so that tests can move it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; unlike `now` it never jumps when somebody sets the clock."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Until ``event`` is set (True) or ``seconds`` of this clock have passed (False); None waits for ever."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    monotonic = staticmethod(time.monotonic)  # asked several times for each request: no call around it

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
