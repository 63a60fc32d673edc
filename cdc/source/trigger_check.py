"""Mending, now and then, what no gap tells of: an added column, a trigger that somebody dropped, a lost DEFINER."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from cdc.clock import Clock
from cdc.errors import CdcError

#: Brings every trigger that needs it to the wanted state again; what it did, in words; raises a `CdcError` when it may
#: not or cannot.
Check = Callable[[], Awaitable[Sequence[str]]]

log = structlog.get_logger()


class TriggerCheck:
    """Called by who holds the consumer lock, so that no other repair of this database is under way.  Reading goes on
    meanwhile.

    ``pause``: between two looks.
    """

    def __init__(self, source: str, check: Check | None, pause: timedelta, clock: Clock) -> None:
        self._source = source
        self._check = check
        self._pause = pause
        self._clock = clock
        self._not_before = -math.inf
        self._failure = ""
        self._under_way: asyncio.Task[bool] | None = None

    def mended(self) -> bool:
        """Whether anything was mended since this was last asked.  When it is time, the next look begins."""
        done = False
        if self._under_way is not None and self._under_way.done():
            done, self._under_way = self._under_way.result(), None
        now = self._clock.monotonic()
        if self._check is not None and self._under_way is None and now >= self._not_before:
            self._not_before = now + self._pause.total_seconds()
            self._under_way = asyncio.create_task(self._look(self._check))
        return done

    async def close(self) -> None:
        """Give up a look that is under way."""
        task, self._under_way = self._under_way, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # how it ended matters to nobody

    async def _look(self, check: Check) -> bool:
        """A failure is said once."""
        done: Sequence[str] = ()
        failure = ""
        try:
            done = await check()
        except CdcError as error:
            failure = str(error)
            if failure != self._failure:
                log.warning("triggers not checked", source=self._source, error=failure)
        if done:
            log.warning("triggers repaired", source=self._source, steps=list(done))
        self._failure = failure
        return bool(done)
