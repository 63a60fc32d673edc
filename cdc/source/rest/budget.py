"""How often the API may be asked, and how often it may refuse.  Pure but for waiting on a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cdc.clock import Clock

#: FacturaScripts bans an address for as long as it made five bad calls within the last 600 s.  A minute more, since its
#: clock is not ours.
BAN_SECONDS: Final = 660.0
#: Bad calls within that time after which only what was allowed before is asked for, and after which nothing is.
_CAREFUL, _SILENT = 2, 3


class Budget:
    """At most ``per_minute`` requests begin within any minute: a sixth of them may come at once, the others evenly."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._burst = max(per_minute // 6, 1)
        self._rate = (per_minute - self._burst) / 61  # a second: a minute is a little longer on other clocks
        self._tokens = float(self._burst)
        self._counted_at = clock.monotonic()

    async def take(self) -> None:
        """Wait until a request may begin."""
        while (missing := self._missing()) > 0:
            await self._clock.wait(asyncio.Event(), max(missing / self._rate, 0.001))
        self._tokens -= 1

    def hold(self, seconds: float) -> None:
        """Nothing for so long: the server asks for it."""
        self._missing()
        self._tokens = min(self._tokens, 1 - seconds * self._rate)

    def _missing(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self._rate, self._burst)
        self._counted_at = now
        return 1 - self._tokens if self._tokens < 1 - 1e-9 else 0.0


class BanGuard:
    """Counts bad calls, so that the API is never near banning this address."""

    def __init__(self) -> None:
        self._refused: list[float] = []  # seconds since 1970: they outlive the process

    @property
    def refused(self) -> tuple[float, ...]:
        return tuple(self._refused)

    def remember(self, refused: Iterable[float]) -> None:
        """What a former life of this process noted."""
        self._refused = sorted({*self._refused, *refused})[-_SILENT:]

    def note(self, now: datetime) -> None:
        """Two at the same time are two: the times tell them apart."""
        after_last = self._refused[-1] + 1e-6 if self._refused else 0.0
        self.remember([max(now.timestamp(), after_last)])

    def free_at(self, now: datetime, *, allowed_before: bool) -> datetime | None:
        """When the next call may be made; None: now.  ``allowed_before``: it is of a kind that the API has answered."""
        most = _SILENT if allowed_before else _CAREFUL
        recent = [each for each in self._refused if each > now.timestamp() - BAN_SECONDS]
        if len(recent) < most:
            return None
        return datetime.fromtimestamp(recent[-most] + BAN_SECONDS, UTC)
