"""Deleting from the journal what the outbox holds, while the next rows are read and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cdc.capture.journal.position import Marker

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
        """As soon as the deletion before has ended; what that one deleted need not be deleted again."""
        await self.settle()
        gone = frozenset(self._tokens)
        self._tokens = tuple(token for token in tokens if token not in gone)
        if self._tokens:
            self._task = asyncio.create_task(self._delete(self._tokens, marker))

    async def settle(self) -> None:
        """Nothing is under way any more; raises what the deletion raised.  Who waits may give up, it goes on."""
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
