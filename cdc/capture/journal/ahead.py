"""Reading the next rows of a backlog while those before them are mapped and stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from cdc.capture.journal.batches import Part
from cdc.capture.journal.database import JournalRow, TransactionHead

#: Parts that are read at once: the server answers about one while the rows of the one before are made.
_AT_ONCE = 2


class ReadAhead:
    """``read``: the rows of these transactions, by their tokens."""

    def __init__(self, read: Callable[[Sequence[str]], Coroutine[Any, Any, list[JournalRow]]]) -> None:
        self._read = read
        self._parts: deque[Part] = deque()
        self._begun: deque[asyncio.Task[list[JournalRow]] | TransactionHead] = deque()

    @property
    def under_way(self) -> bool:
        return any(isinstance(each, asyncio.Task) for each in self._begun)

    def begin(self, parts: Iterable[Part]) -> None:
        self._parts = deque(parts)

    async def next(self) -> list[JournalRow] | TransactionHead | None:
        """The rows of the next part, or a huge transaction: nothing behind that one is read before it is told.  None
        behind the last part."""
        self._read_on()
        if not self._begun:
            return None
        first = self._begun[0]
        if isinstance(first, asyncio.Task):
            await asyncio.sleep(0)  # the server begins now, not when the rows that are there are a batch
            rows = await first
            self._begun.popleft()
            return rows
        self._begun.popleft()
        return first

    def _read_on(self) -> None:
        while self._parts and len(self._begun) < _AT_ONCE and not isinstance(self._last, TransactionHead):
            part = self._parts.popleft()
            self._begun.append(part if isinstance(part, TransactionHead) else asyncio.create_task(self._read(part)))

    @property
    def _last(self) -> asyncio.Task[list[JournalRow]] | TransactionHead | None:
        return self._begun[-1] if self._begun else None

    async def drop(self) -> None:
        self._parts.clear()
        begun = [each for each in self._begun if isinstance(each, asyncio.Task)]
        self._begun.clear()
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)  # how they ended matters to nobody
