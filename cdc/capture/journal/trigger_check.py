"""Mending, now and then, what no gap tells of: an added column, a trigger that somebody dropped, a lost DEFINER."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from cdc.model.clock import Clock
from cdc.model.errors import CdcError
from cdc.model.finding import Repaired

#: Brings every trigger that needs it to the wanted state again; raises a `CdcError` when it may not or cannot.
Check = Callable[[], Awaitable[Repaired]]

log = structlog.get_logger()


class TriggerCheck:
    """Called by who holds the consumer lock, so that no other repair of this database is under way.  Reading goes on
    meanwhile.

    ``pause``: between two checks of everything.  ``glance``: between two looks at the tables' definitions, which cost
    next to nothing and show at once what would otherwise be found at the next check: a table that was altered, or
    swapped for another one by RENAME.
    """

    def __init__(
        self, source: str, check: Check | None, pause: timedelta, clock: Clock, glance: timedelta = timedelta(seconds=2)
    ) -> None:
        self._source = source
        self._check = check
        self._pause = pause
        self._clock = clock
        self._not_before = -math.inf
        self._failures: dict[str, str] = {}
        self._under_way: asyncio.Task[bool] | None = None
        self._glance = glance
        self._next_glance = -math.inf
        self._definitions: object = None

    def glances(self) -> bool:
        """Return whether it is time for another look at the definitions."""
        return self._check is not None and self._clock.monotonic() >= self._next_glance

    def saw(self, definitions: object) -> None:
        """Check everything now if the definitions are not those that were seen last."""
        self._next_glance = self._clock.monotonic() + self._glance.total_seconds()
        if definitions != self._definitions:
            self._definitions = definitions
            self._not_before = -math.inf

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
        """A failure is logged once."""
        outcome, failures = Repaired(), dict[str, str]()
        try:
            outcome = await check()
        except CdcError as error:
            failures[""] = str(error)
        failures |= {table: str(error) for table, error in outcome.failed.items()}
        for table, failure in failures.items():
            if failure != self._failures.get(table):
                about = {"table": table} if table else {}
                log.warning("triggers not checked", source=self._source, **about, error=failure)
        if outcome.done:
            log.warning("triggers repaired", source=self._source, steps=list(outcome.done))
        self._failures = failures
        return bool(outcome.done)
