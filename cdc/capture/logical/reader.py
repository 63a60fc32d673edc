"""The messages of a slot, in chunks of whole transactions, and how they arrive: pushed over a replication connection,
or asked for by SQL functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cdc.capture.logical.decode import Begin, Commit, decode
from cdc.capture.logical.layout import SlotTables
from cdc.capture.logical.position import StoredCommit
from cdc.capture.logical.transaction import Assembler, SlotTransaction


class LogStream(Protocol):
    """A stream of a slot's messages.  All methods raise `SourceUnavailable` when the connection is gone; then only
    ``close`` may be called."""

    async def open(self, start: int) -> None:
        """Messages of transactions that commit behind the LSN ``start``.  Raises `LogPurged` when they are not
        there."""
        ...

    def take(self) -> bytes | None:
        """The next message, if it is here already."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until `take` may have something again, or ``seconds`` at most."""
        ...

    @property
    def progress(self) -> int:
        """Return the LSN before which every commit was taken, while `take` has nothing and no transaction is under way;
        0 when it is not known yet."""
        ...

    async def confirm(self, lsn: int) -> None:
        """Confirm that everything that committed before ``lsn`` is stored: the server may forget it."""
        ...

    async def close(self) -> None: ...


#: Messages read before others get a turn.
_SLICE = 100
#: Bytes of the messages of one chunk: rows may be long.
_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SlotChunk:
    """``transactions`` are small ones in commit order; ``huge`` comes behind them.  ``progress``: without either,
    everything that committed before this LSN has been read.  ``caught_up``: there is no more for now."""

    transactions: Sequence[SlotTransaction]
    huge: SlotTransaction | None
    progress: int
    caught_up: bool


class SlotReader:
    """``batch``: changes of a chunk; ``huge``: changes that one transaction may have in memory; ``seen``: what
    committed before this LSN is stored already."""

    def __init__(self, stream: LogStream, tables: SlotTables, batch: int, huge: int, seen: int) -> None:
        self._stream = stream
        self._batch = batch
        self._assembler = Assembler(tables.layout, huge, seen)
        self._reached = self._said = seen

    def close(self) -> None:
        self._assembler.close()

    async def holds(self, last: StoredCommit, seconds: float) -> bool:
        """`holds`, with all that was read until then."""
        return await holds(self._stream, last, seconds, self._add)

    async def next(self, seconds: float) -> SlotChunk:
        """Return as soon as there is something, if only that the log has been read further; else after ``seconds``."""
        chunk = await self._next(seconds)
        self._said = max(self._said, chunk.progress)
        return chunk

    async def _next(self, seconds: float) -> SlotChunk:
        found: list[SlotTransaction] = []
        rows = size = taken = 0
        waited = False
        while rows < self._batch and size < _BYTES:
            data = self._stream.take()
            if data is None:
                if found or waited or self._progress() > self._said:
                    return SlotChunk(found, None, self._progress(), caught_up=True)
                await self._stream.wait(seconds)
                waited = True
                continue
            waited = False
            taken += 1
            if taken % _SLICE == 0:
                await asyncio.sleep(0)
            size += len(data)
            done = await self._add(data)
            if done is not None and done.spool is not None:
                return SlotChunk(found, done, 0, caught_up=False)
            if done is not None and (done.changes or done.gaps):
                found.append(done)
                rows += done.rows
        return SlotChunk(found, None, self._progress(), caught_up=False)

    async def _add(self, data: bytes) -> SlotTransaction | None:
        message = decode(data)
        if message is None:
            return None
        done = await self._assembler.add(message, len(data))
        if done is not None:
            self._reached = max(self._reached, done.end)
        return done

    def _progress(self) -> int:
        if self._assembler.under_way:
            return 0
        return max(self._reached, self._stream.progress)


async def holds(
    stream: LogStream, last: StoredCommit, seconds: float, add: Callable[[bytes], Awaitable[object]]
) -> bool:
    """Return whether the slot sends the transaction ``last`` where it was: no other one commits there, or after it
    without it.  ``seconds``: how long to wait at a time.  ``add``: takes each message."""
    under_way = False
    while True:
        data = stream.take()
        if data is None:
            if not under_way and stream.progress > last.lsn:
                return False
            await stream.wait(seconds)
            continue
        await add(data)
        message = decode(data)
        if isinstance(message, Begin) and message.lsn >= last.lsn:
            return StoredCommit.of(message) == last
        under_way = isinstance(message, Begin) or (under_way and not isinstance(message, Commit))
