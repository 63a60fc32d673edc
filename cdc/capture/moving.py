"""A source whose capture mode may be changed while the ERP writes: nothing lost, nothing emitted twice.

The position in the outbox says which capture mode was used last.  When the configuration names the other one, the
source moves:

*to the log*: the end of the log is noted, the journal is read on until everything before that mark has been seen in
it, and the log is read from the mark; what both hold is passed over the second time;

*to the journal*: with the triggers in place the end of the log is noted, the log is read up to there, and what it holds
is deleted from the journal; what is left there was not read from the log.

Both name a transaction alike (`Bridge`), so that no guess is needed.  Whenever the log is read, what triggers journal
beside it is deleted: a later move finds nothing there that was emitted already.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol

import orjson
import structlog

from cdc.capture.base import NO_BACKFILLS, Source, SourceBackfills
from cdc.capture.journal.database import MOVED, JournalPosition
from cdc.model.change import Batch, Position, Row, Transaction, Value
from cdc.model.column import Table
from cdc.model.errors import SourceError, SourceUnavailable


class CaptureMode(Enum):
    """The way in which changes are captured: by triggers that fill a journal, or out of the server's own log."""

    JOURNAL = "journal"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Overlap:
    """The log is read from ``log`` on; up to ``until`` it may hold transactions that were read from the journal
    already: those are the ``seen``, by name."""

    log: Position
    seen: tuple[str, ...]
    until: Position

    def dump(self) -> Position:
        return Position(orjson.dumps({"overlap": [self.log, self.seen, self.until]}).decode())


def captured(position: Position | None) -> Position | None:
    """Return the position; None for one of a source without a database, which means nothing to these capture modes."""
    return None if position is not None and position.startswith(('{"rest":', '{"nats":')) else position


def read_position(position: Position) -> CaptureMode | Overlap:
    """Return the capture mode that wrote it.  Raises `SourceError` when none did."""
    try:
        fields: dict[str, Any] = orjson.loads(position)
        if "overlap" in fields:
            log, seen, until = fields["overlap"]
            return Overlap(log, tuple(seen), until)
    except (ValueError, TypeError) as error:
        raise SourceError("The position in the outbox was not written by a source of this program.") from error
    if "done" in fields:
        return CaptureMode.JOURNAL
    return CaptureMode.LOG


def log_part(position: Position | None) -> Position | None:
    """The position of the log; None when it is the journal that is read."""
    stored = CaptureMode.JOURNAL if position is None else read_position(position)
    if isinstance(stored, Overlap):
        return stored.log
    return position if stored is CaptureMode.LOG else None


class Watermark(NamedTuple):
    """The end of the log at a moment.  ``settled``: whether everything that the log holds before it can be seen in the
    database by now: a server writes a commit to its log first, and shows it a moment later."""

    position: Position
    settled: Callable[[], Awaitable[bool]]


class Bridge(Protocol):
    """The access to both the journal and the log of one database."""

    async def check_journal(self) -> None:
        """Raises when the triggers are not all in place."""
        ...

    async def mark(self) -> Watermark:
        """Return the end of the log."""
        ...

    def passed(self, position: Position, mark: Position) -> bool:
        """Return whether a position of the log is behind another one, or at it."""
        ...

    async def waiting(self, most: int) -> list[str]:
        """Return the names of transactions that can be seen in the journal, ``most`` at most."""
        ...

    def journal_names(self, position: Position) -> tuple[str, ...]:
        """Return the names of the transactions in a batch of the journal, as `log_names` gives them."""
        ...

    def log_names(self, transaction: Transaction) -> tuple[str, ...]:
        """Return the triggers' names of a transaction in the log; none when they did not see it."""
        ...

    async def forget(self, transactions: Sequence[Transaction]) -> None:
        """Delete from the journal, if there is one, transactions that were read from the log."""
        ...

    def begin_log(self, mark: Position, journal: Position) -> Position:
        """The mark, with what the journal's position still had to do (tables to read again)."""
        ...

    def begin_journal(self, log: Position) -> Position:
        """The beginning of the journal, with what the log's position still had to do."""
        ...

    async def close(self) -> None: ...


log = structlog.get_logger()

#: Transactions emitted after a mark, beyond which a new mark is made: they are stored in the position.
_MOST_SEEN = 5_000
#: Seconds without a batch after which the journal is looked at.
_PAUSE = 0.2


class MovingSource:
    """A `cdc.capture.base.Source`.  ``mode``: the configured capture mode.  ``make``: the two sources, not opened."""

    def __init__(
        self,
        name: str,
        mode: CaptureMode,
        make: Mapping[CaptureMode, Callable[[], Source]],
        bridge: Callable[[], Bridge],
    ) -> None:
        self.name = name
        self._mode = mode
        self._make = make
        self._make_bridge = bridge
        self._opened: Bridge | None = None
        self._current: Source | None = None
        self._position: Position | None = None
        self._read: asyncio.Task[Batch] | None = None

    @property
    def standby(self) -> bool:
        return self._current is not None and self._current.standby

    @property
    def blocked(self) -> str:
        return "" if self._current is None else self._current.blocked

    @property
    def problems(self) -> Sequence[str]:
        return () if self._current is None else self._current.problems

    # -- what every source offers -----------------------------------------------------------------------------------

    async def open(self, position: Position | None) -> None:
        self._opened = self._make_bridge()
        if captured(position) != position:
            log.warning("moving", source=self.name, to=self._mode.value, reason="changes came from the API before")
            position = JournalPosition(marker=MOVED).dump() if self._mode is CaptureMode.JOURNAL else None
        self._position = position
        stored = self._mode if position is None else read_position(position)
        if isinstance(stored, Overlap):
            await self._use(CaptureMode.LOG, stored.log)
            return
        if stored is not self._mode:
            log.info("moving", source=self.name, to=self._mode.value)
        await self._use(stored, position)

    async def _use(self, mode: CaptureMode, position: Position | None) -> None:
        if self._current is not None:
            await self._current.close()
        self._current = self._make[mode]()
        await self._current.open(position)

    async def close(self) -> None:
        await self._drop_read()
        if self._current is not None:
            await self._current.close()
        if self._opened is not None:
            await self._opened.close()

    async def acknowledge(self, position: Position) -> None:
        self._position = position
        stored = read_position(position)
        await self._source.acknowledge(stored.log if isinstance(stored, Overlap) else position)

    @property
    def _bridge(self) -> Bridge:
        if self._opened is None:
            raise SourceUnavailable(f"The source {self.name} is not open.")
        return self._opened

    @property
    def _source(self) -> Source:
        if self._current is None:
            raise SourceUnavailable(f"The source {self.name} is not open.")
        return self._current

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return await self._source.rows(table, column, values)

    async def all_rows(self, table: str) -> list[Row]:
        return await self._source.all_rows(table)

    async def tables(self) -> dict[str, Table]:
        return await self._source.tables()

    async def site_url(self) -> str:
        return await self._source.site_url()

    # -- reading ----------------------------------------------------------------------------------------------------

    async def begin(self) -> Batch | None:
        first = await self._source.begin()
        return None if first is None else await self._without_seen(first, begins=True)

    def batches(self, backfills: SourceBackfills = NO_BACKFILLS) -> AsyncIterator[Batch]:
        """Return the batches of the journal themselves, where nothing moves."""
        stored = self._mode if self._position is None else read_position(self._position)
        if self._mode is CaptureMode.JOURNAL and stored is CaptureMode.JOURNAL:
            return self._source.batches(backfills)
        return self._moved(backfills, stored)

    async def _moved(self, backfills: SourceBackfills, stored: CaptureMode | Overlap) -> AsyncIterator[Batch]:
        """Move the source, then read it.  Backfills wait until it has moved."""
        if self._mode is CaptureMode.JOURNAL:
            async for batch in self._leave_log():
                yield batch
        elif stored is CaptureMode.JOURNAL:
            async for batch in self._leave_journal():
                yield batch
        async for batch in self._source.batches(backfills):
            yield batch if self._mode is CaptureMode.JOURNAL else await self._without_seen(batch)

    async def _without_seen(self, batch: Batch, *, begins: bool = False) -> Batch:
        """Return a batch of the log without transactions that were read from the journal.

        ``begins``: it is where reading begins, which ends no overlap: MySQL sends transactions once more whose commit
        was in the log, and not among its GTIDs yet, when the mark was made.
        """
        await self._bridge.forget(batch.transactions)
        stored = None if self._position is None else read_position(self._position)
        if not isinstance(stored, Overlap):
            return batch
        seen = frozenset(stored.seen)
        kept = tuple(each for each in batch.transactions if seen.isdisjoint(self._bridge.log_names(each)))
        if not begins and self._bridge.passed(batch.position, stored.until):
            log.info("moved", source=self.name, to=CaptureMode.LOG.value)
            return replace(batch, transactions=kept)
        return replace(batch, transactions=kept, position=replace(stored, log=batch.position).dump())

    # -- to the log -------------------------------------------------------------------------------------------------

    async def _leave_journal(self) -> AsyncIterator[Batch]:
        mark = await self._bridge.mark()
        seen: list[str] = []
        left: set[str] | None = None  # what could be seen once the mark had settled, and has not been read
        batches = self._source.batches()
        while left is None or left:
            batch = await self._next(batches)
            if batch is not None and left is not None:
                batch = self._among(batch, left)
            if batch is not None:
                yield batch
                names = self._bridge.journal_names(batch.position)
                seen += names
                if left is not None:
                    left.difference_update(names)
            if len(seen) > _MOST_SEEN:
                mark, seen, left = await self._bridge.mark(), [], None
            elif left is None:
                left = await self._left(mark)
        await self._drop_read()
        assert self._position is not None, "a position of the journal was given"
        begin = self._bridge.begin_log(mark.position, self._position)
        until = (await self._bridge.mark()).position
        await self._use(CaptureMode.LOG, begin)
        yield Batch((), Overlap(begin, tuple(dict.fromkeys(seen)), until).dump())

    def _among(self, batch: Batch, left: set[str]) -> Batch | None:
        """Return the batch with those transactions only that were visible when ``left`` was read; None without any.

        A transaction may have several names, which are visible at once: so all are read from the journal, or none, and
        the log has the rest.
        """
        position = JournalPosition.load(batch.position)
        if position.huge is not None:
            (name,) = self._bridge.journal_names(JournalPosition((position.huge.token,)).dump())
            return batch if name in left else None
        names = self._bridge.journal_names(batch.position)
        if left.isdisjoint(names):
            return None
        deleting = () if self._position is None else self._bridge.journal_names(self._position)
        read = left.union(deleting)
        done = tuple(token for token, name in zip(position.done, names, strict=True) if name in read)
        later = set(position.done).difference(done)
        kept = tuple(each for each in batch.transactions if each.token not in later)
        return replace(batch, transactions=kept, position=replace(position, done=done).dump())

    async def _left(self, mark: Watermark) -> set[str] | None:
        """Return the transactions in the journal, once all that the log holds before the mark can be seen there."""
        if not await mark.settled():
            return None
        waiting = await self._bridge.waiting(_MOST_SEEN)
        if len(waiting) == _MOST_SEEN:
            return None
        deleting = () if self._position is None else self._bridge.journal_names(self._position)
        return set(waiting).difference(deleting)

    async def _next(self, batches: AsyncIterator[Batch]) -> Batch | None:
        """Return the next batch; None when there is none for a while."""
        if self._read is None:
            self._read = asyncio.ensure_future(anext(batches))
        done, _ = await asyncio.wait({self._read}, timeout=_PAUSE)
        if not done:
            return None
        read, self._read = self._read, None
        return read.result()

    async def _drop_read(self) -> None:
        read, self._read = self._read, None
        if read is not None:
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)  # how it ended matters to nobody

    # -- to the journal ---------------------------------------------------------------------------------------------

    async def _leave_log(self) -> AsyncIterator[Batch]:
        await self._bridge.check_journal()
        mark = await self._bridge.mark()
        batches = self._source.batches()
        while not self._bridge.passed(self._log_position(), mark.position):
            batch = await self._next(batches)
            if batch is not None:
                yield await self._without_seen(batch)
        await self._drop_read()
        begin = self._bridge.begin_journal(self._log_position())
        await self._use(CaptureMode.JOURNAL, begin)
        yield Batch((), begin)
        log.info("moved", source=self.name, to=CaptureMode.JOURNAL.value)

    def _log_position(self) -> Position:
        assert self._position is not None, "a position of the log was given"
        stored = read_position(self._position)
        return stored.log if isinstance(stored, Overlap) else self._position
