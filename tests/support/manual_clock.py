"""A clock that does not run until the test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)


class ManualClock:
    """`cdc.model.clock.Clock` for tests."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._step = timedelta()
        self._timers: list[tuple[datetime, asyncio.Future[object]]] = []
        #: Set when a task begins to wait for a time.
        self.begun = asyncio.Event()

    def now(self) -> datetime:
        return self._now + self._step

    def monotonic(self) -> float:
        return (self._now - START).total_seconds()

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock forward (or back): nobody who waits notices."""
        self._step += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        """Move the clock, and wake tasks whose time has come."""
        self._now += timedelta(seconds=seconds)
        for deadline, timer in self._timers:
            if deadline <= self._now and not timer.done():
                timer.set_result(None)

    def next_wake(self) -> datetime | None:
        """The earliest time, not come yet, that somebody waits for; None when nobody waits for any."""
        return min((deadline for deadline, timer in self._timers if not timer.done()), default=None)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if event.is_set():
            return True
        timer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if seconds is not None:
            self._timers.append((self._now + timedelta(seconds=seconds), timer))
            self.begun.set()
        waiting: asyncio.Task[object] = asyncio.create_task(event.wait())
        try:
            await asyncio.wait([waiting, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            timer.cancel()
            self._timers = [entry for entry in self._timers if entry[1] is not timer]
        return event.is_set()
