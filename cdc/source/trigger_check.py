"""Mending, now and then, what no gap tells of: an added column, a trigger that somebody dropped, a lost DEFINER."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from cdc.clock import Clock
from cdc.errors import CdcError

#: Brings every trigger that needs it to the wanted state again; what it did, in words; raises a `CdcError` when it may
#: not or cannot.
Check = Callable[[], Awaitable[Sequence[str]]]

log = structlog.get_logger()


class TriggerCheck:
    """Called by who holds the consumer lock, so that no other repair of this database is under way.

    ``pause``: between two looks.
    """

    def __init__(self, source: str, check: Check | None, pause: timedelta, clock: Clock) -> None:
        self._source = source
        self._check = check
        self._pause = pause
        self._clock = clock
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._failure = ""

    async def run(self) -> bool:
        """Whether anything was mended.  A failure is said once."""
        now = self._clock.now()
        if self._check is None or now < self._not_before:
            return False
        self._not_before = now + self._pause
        done: Sequence[str] = ()
        failure = ""
        try:
            done = await self._check()
        except CdcError as error:
            failure = str(error)
            if failure != self._failure:
                log.warning("triggers not checked", source=self._source, error=failure)
        if done:
            log.warning("triggers repaired", source=self._source, steps=list(done))
        self._failure = failure
        return bool(done)
