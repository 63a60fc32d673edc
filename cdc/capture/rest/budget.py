"""How often the API may be asked.  Pure but for waiting on a clock."""

from __future__ import annotations

import asyncio

from cdc.model.clock import Clock


class Budget:
    """At most ``per_minute`` requests begin within any minute: a sixth of them may come at once, the others evenly."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._clock = clock
        self._burst = max(per_minute // 6, 1)
        self._rate = (per_minute - self._burst) / 61  # a second: a minute is a little longer on other clocks
        self._tokens = float(self._burst)
        self._counted_at = self._held_until = clock.monotonic()

    @property
    def held(self) -> float:
        """Seconds for which no request may begin because the server asked for it."""
        return max(self._held_until - self._clock.monotonic(), 0.0)

    async def take(self) -> None:
        """Wait until a request may begin."""
        while (seconds := max(self._missing() / self._rate, self.held)) > 0:
            await self._clock.wait(asyncio.Event(), max(seconds, 0.001))
        self._tokens -= 1

    def hold(self, seconds: float) -> None:
        """Let no request begin for so long: the server asks for it."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)

    def _missing(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self._rate, self._burst)
        self._counted_at = now
        return 1 - self._tokens if self._tokens < 1 - 1e-9 else 0.0
