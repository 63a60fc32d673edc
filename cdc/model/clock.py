"""Time as the product sees it: injected everywhere, so that tests can move it; and growing pauses between tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
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
        """Wait until ``event`` is set (True) or ``seconds`` of this clock have passed (False); None waits for ever.

        True also when both happen at once: who clears the event then must not miss it."""
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
            return event.is_set()
        return True


class ClockWatch:
    """Notices that the wall clock was set: since the last call it moved by another time than the monotonic clock."""

    def __init__(self, clock: Clock, least: float = 60.0) -> None:
        self._clock = clock
        self._least = least
        self._offset = self._present()

    def _present(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def jump(self) -> float:
        """Return by how many seconds it was set forward (or back, negative) since the last call; 0 for less than
        ``least``."""
        before, self._offset = self._offset, self._present()
        jump = self._offset - before
        return jump if abs(jump) >= self._least else 0.0


class Backoff:
    """Doubles from ``first`` to ``most`` seconds; each pause is shortened by up to a quarter at random, so that many
    clients of one server do not come back together."""

    def __init__(self, first: float, most: float, rand: Callable[[], float] = random.random) -> None:
        self._first = first
        self._most = most
        self._rand = rand
        self._next = first

    def next(self) -> float:
        pause = self._next
        self._next = min(pause * 2, self._most)
        return pause * (1 - self._rand() / 4)

    def reset(self) -> None:
        self._next = self._first
