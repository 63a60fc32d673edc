"""Assembly of journal rows: transactions in order, parts that are read together, the next ones while those before them
are mapped and stored; and how acknowledged ones are deleted beside that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from cdc.capture.base import JournalLimits
from cdc.capture.journal.database import JournalRow, Marker, TransactionHead
from cdc.model.change import Gap, RowChange

#: Transactions that are read together, by their tokens, or a huge one.
Part = list[str] | TransactionHead

_ordinal = attrgetter("change.ordinal")


def parts(heads: Iterable[TransactionHead], limits: JournalLimits) -> Iterator[Part]:
    """Tokens of transactions that are read together, about ``batch`` rows; a huge transaction by itself."""
    tokens: list[str] = []
    rows = 0
    for head in heads:
        huge = head.rows > limits.huge
        if tokens and (huge or rows + head.rows > limits.batch):
            yield tokens
            tokens, rows = [], 0
        if huge:
            yield head
        else:
            tokens.append(head.token)
            rows += head.rows
    if tokens:
        yield tokens


def by_transaction(rows: Iterable[JournalRow]) -> dict[str, list[JournalRow]]:
    """Token → rows by ordinal; the transactions by their greatest one."""
    grouped: dict[str, list[JournalRow]] = {}
    for row in rows:
        grouped.setdefault(row.token, []).append(row)
    for group in grouped.values():
        group.sort(key=_ordinal)
    return dict(sorted(grouped.items(), key=lambda item: _ordinal(item[1][-1])))


def changes_of(rows: Iterable[JournalRow]) -> tuple[RowChange, ...]:
    """A gap is one, too, if it says which record is gone."""
    return tuple([row.change for row in rows if not row.gap or row.change.before is not None])


def gaps_of(rows: Iterable[JournalRow]) -> tuple[Gap, ...]:
    return tuple(Gap(row.change.table, row.change.operation, row.change.time) for row in rows if row.gap)


def marked(parts: Iterator[tuple[int, list[int]]]) -> Iterator[tuple[int, list[int], bool]]:
    """Yield each part, and whether it is the last."""
    part = next(parts, None)
    while part is not None:
        following = next(parts, None)
        yield *part, following is None
        part = following


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
        """Return the rows of the next part, or a huge transaction: nothing after that one is read before it is emitted.
        None after the last part."""
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


#: Seconds that a deletion under way is given when the source is closed: what it leaves is deleted at the next opening.
_CLOSING = 2.0


class RowDeletion:
    """``delete``: of these transactions, by their tokens, and notes the marker.  One deletion is under way at a
    time."""

    def __init__(self, delete: Callable[[Sequence[str], Marker], Coroutine[Any, Any, None]]) -> None:
        self._delete = delete
        self._task: asyncio.Task[None] | None = None
        self._tokens: tuple[str, ...] = ()

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Transactions that the journal may still hold: a position must name them."""
        return () if self._task is None or _succeeded(self._task) else self._tokens

    async def begin(self, tokens: Sequence[str], marker: Marker) -> None:
        """Begin as soon as the previous deletion has ended, without the rows that it deleted."""
        await self.settle()
        gone = frozenset(self._tokens)
        self._tokens = tuple(token for token in tokens if token not in gone)
        if self._tokens:
            self._task = asyncio.create_task(self._delete(self._tokens, marker))

    async def settle(self) -> None:
        """Wait for the deletion under way and raise its error.  Cancelling the wait does not end the deletion."""
        task = self._task
        if task is not None:
            await asyncio.shield(task)
            if self._task is task:
                self._task = None

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait({task}, timeout=_CLOSING)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # how it ended matters to nobody


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
