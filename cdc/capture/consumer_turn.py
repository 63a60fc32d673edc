"""Becoming the only consumer of a database: what every source does first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

#: Seconds of silence after which the server ends the session that holds the lock.  A consumer queries every few
#: seconds, so a standby takes over within half a minute when a host vanishes.
SILENT_SECONDS = 25


class ConsumerTurn:
    """``awaited``: another consumer reads the database, and we wait for its end."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.awaited = False

    async def take(self, try_lock: Callable[[float], Awaitable[bool]], pause: float) -> bool:
        """Return whether there was another consumer to wait for.  ``try_lock``: tries for so many seconds.  ``pause``:
        seconds of each try while waiting."""
        if await try_lock(0):
            return False
        self.awaited = True
        try:
            log.info("standby", source=self._source, reason="another consumer reads this database")
            while not await try_lock(pause):
                pass
            log.info("took over", source=self._source)
        finally:
            self.awaited = False
        return True
