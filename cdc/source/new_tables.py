"""Tables that a pattern means and that appear while a source is read: met, and captured where that is allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from cdc.clock import Clock
from cdc.column import Capture
from cdc.errors import CdcError

#: Which of these tables are captured because a pattern means them.
Matching = Callable[[Iterable[str]], Sequence[Capture]]

log = structlog.get_logger()


class Extend(Protocol):
    """Captures a table beside what is installed; the steps that it took, in words.  ``read``: notes that its rows are
    to be read, since some may be older than that.  Raises a `CdcError` when it may not or cannot."""

    def __call__(self, capture: Capture, *, read: bool) -> Awaitable[Sequence[str]]: ...


@dataclass(frozen=True, slots=True)
class Patterns:
    """``extend``: None where somebody else installs, by ``command``."""

    matching: Matching
    extend: Extend | None
    command: str = "cdc install-triggers"
    pause: timedelta = timedelta(seconds=5)


class NewTables:
    """Called by who holds the consumer lock.  Reading goes on meanwhile.

    Tables that are there when reading begins are captured from then on; what appears later is also read once, since
    rows may have been written before it was seen.  ``retry``: before a table that could not be captured is tried again.
    """

    def __init__(
        self, source: str, patterns: Patterns | None, clock: Clock, retry: timedelta = timedelta(minutes=1)
    ) -> None:
        self._source = source
        self._patterns = patterns
        self._clock = clock
        self._retry = retry
        self._look_at = datetime.min.replace(tzinfo=UTC)
        self._retry_at = self._look_at
        self._met: dict[str, Capture] | None = None
        self._left: dict[str, bool] = {}  # tables that are to be captured, and whether to be read
        self._told: dict[str, str] = {}
        self._under_way: asyncio.Task[bool] | None = None
        self._again = False  # something is left that was not tried yet
        self._extended = False

    def due(self) -> bool:
        """Whether it is time to look at which tables there are."""
        return self._patterns is not None and self._clock.now() >= self._look_at

    def meet(self, names: Iterable[str]) -> list[Capture]:
        """Those of the tables of now that were not met before and that a pattern means; what is to be done about them
        begins."""
        assert self._patterns is not None, "due"
        first = self._met is None
        self._look_at = self._clock.now() + self._patterns.pause
        there = {capture.table: capture for capture in self._patterns.matching(names)}
        new = [capture for table, capture in there.items() if self._met is None or table not in self._met]
        if gone := sorted((self._met or {}).keys() - there.keys()):
            log.info("tables gone", source=self._source, tables=gone)
        self._met = there
        self._left = {table: read for table, read in self._left.items() if table in there}
        self._left |= {capture.table: not first for capture in new}
        if new and not first:
            log.info("new tables", source=self._source, tables=[capture.table for capture in new])
        self._go_on(bool(new))
        return new

    def extended(self) -> bool:
        """Whether anything was captured since this was last asked."""
        self._collect()
        extended, self._extended = self._extended, False
        return extended

    async def close(self) -> None:
        """Give up what is under way; all tables are met anew."""
        task, self._under_way = self._under_way, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # how it ended matters to nobody

    def _collect(self) -> None:
        if self._under_way is not None and self._under_way.done():
            self._extended |= self._under_way.result()
            self._under_way = None

    def _go_on(self, new: bool) -> None:
        self._collect()
        now = self._clock.now()
        self._again |= new
        if self._left and self._under_way is None and (self._again or now >= self._retry_at):
            self._again = False
            self._retry_at = now + self._retry
            self._under_way = asyncio.create_task(self._capture_all())

    async def _capture_all(self) -> bool:
        done = False
        for table in list(self._left):
            done |= await self._capture(table)
        return done

    async def _capture(self, table: str) -> bool:
        """Whether anything was done.  A failure is said once."""
        patterns, met = self._patterns, self._met
        assert patterns is not None, "met"
        assert met is not None, "met"
        if table not in met:
            return False
        if patterns.extend is None:
            if self._left.pop(table):
                self._say(table, f"It is new, and nothing is repaired here. Run {patterns.command}.")
            return False
        try:
            steps = await patterns.extend(met[table], read=self._left.get(table, False))
        except CdcError as error:
            self._say(table, str(error))
            return False
        self._left.pop(table, None)
        self._told.pop(table, None)
        if steps:
            log.info("table captured", source=self._source, table=table, steps=list(steps))
        return bool(steps)

    def _say(self, table: str, why: str) -> None:
        if self._told.get(table) != why:
            log.warning("table not captured", source=self._source, table=table, reason=why)
            self._told[table] = why
