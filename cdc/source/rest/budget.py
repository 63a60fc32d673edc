"""How often the API may be asked.  Pure but for waiting on a clock."""

from __future__ import annotations

import asyncio

from cdc.clock import Clock


class Budget:
    """At most ``per_minute`` requests begin within any minute: a sixth of them may come at once, the others evenly."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._burst = max(per_minute // 6, 1)
        self._rate = (per_minute - self._burst) / 61  # a second: a minute is a little longer on other clocks
        self._tokens = float(self._burst)
        self._counted_at = clock.monotonic()

    @property
    def pause(self) -> float:
        """Seconds until a request may begin."""
        return self._missing() / self._rate

    async def take(self) -> None:
        """Wait until a request may begin."""
        while (missing := self._missing()) > 0:
            await self._clock.wait(asyncio.Event(), max(missing / self._rate, 0.001))
        self._tokens -= 1

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long: the server asks for it."""
        self._missing()
        self._tokens = min(self._tokens, 1 - seconds * self._rate)

    def _missing(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self._rate, self._burst)
        self._counted_at = now
        return 1 - self._tokens if self._tokens < 1 - 1e-9 else 0.0
