"""The rows of a journal: the SQL that reads and deletes them, one implementation for each engine, and their assembly:
transactions in order, parts that are read together, the next ones while those before them are mapped and stored; and
the deletion of acknowledged ones beside that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

import orjson
import structlog

from cdc.capture.base import HugePart, JournalLimits, SourceDatabase, SourcePosition, rereads_of, written_by
from cdc.capture.pages import PageRequest, TablePage
from cdc.model.change import Gap, Operation, Position, RowChange
from cdc.model.errors import reportable_error


class Marker(NamedTuple):
    """The outbox that reads a journal, and how far: the position in the outbox and a table beside the journal both hold
    one.  ``outbox``: a random name; empty: no outbox has acknowledged anything.  ``batch``: grows with each position
    that the outbox stores; beside the journal, the one whose transactions were deleted last."""

    outbox: str = ""
    batch: int = 0


NO_MARKER: Final = Marker()
#: Of a position that names no outbox because the source was read in another way until now: takes over what is found.
MOVED: Final = Marker("*")


@dataclass(frozen=True, slots=True)
class JournalPosition(SourcePosition):
    """The position of a source that reads a journal.  ``done``: the transactions of the last batch, and those before
    it whose deletion was under way, all of them stored.  Everything before them has been deleted from the journal.
    ``noted``: a batch that was certainly noted beside the journal; a database that holds an earlier one was restored
    from an older copy."""

    done: tuple[str, ...] = ()
    marker: Marker = NO_MARKER
    noted: int = 0

    def next(self, done: tuple[str, ...] = (), huge: HugePart | None = None) -> JournalPosition:
        """Return the position that follows this one."""
        marker = self.marker
        if marker.outbox and marker != MOVED:
            marker = Marker(marker.outbox, marker.batch + 1)
        return JournalPosition(done, marker, self.noted, huge=huge, rereads=self.rereads)

    def outdated(self, found: Marker) -> bool:
        """Return whether the journal, which holds ``found``, lacks changes that the outbox of this position lacks."""
        return bool(found.outbox) and (found.outbox != self.marker.outbox or found.batch > self.marker.batch)

    def restored(self, found: Marker) -> bool:
        """Return whether the database, which holds ``found``, is older than what was read of it."""
        return found.outbox in ("", self.marker.outbox) and found.batch < self.noted

    def adopting(self, found: Marker, tables: Iterable[str]) -> JournalPosition:
        """Return the position of an outbox that takes the place of the one that read the journal until ``found``:
        these tables are read again, because changes of all of them may be missing."""
        position = JournalPosition(marker=found, rereads=self.rereads)
        return position.with_gaps(dict.fromkeys(sorted(tables), f"outbox/{found.batch}"))

    def dump(self) -> Position:
        return Position(
            orjson.dumps(
                {
                    "done": self.done,
                    "huge": None if self.huge is None else [self.huge.token, self.huge.records],
                    "rereads": [each.to_json() for each in self.rereads],
                    "marker": list(self.marker),
                    "noted": self.noted,
                }
            ).decode()
        )

    @staticmethod
    def load(position: Position | None) -> JournalPosition:
        if position is None:
            return JournalPosition()
        with written_by("a trigger source"):
            fields: dict[str, Any] = orjson.loads(position)
            huge = fields["huge"]
            return JournalPosition(
                done=tuple(fields["done"]),
                marker=Marker(*fields.get("marker", ())),
                noted=fields.get("noted", 0),
                huge=None if huge is None else HugePart(*huge),
                rereads=rereads_of(fields["rereads"]),
            )


log = structlog.get_logger()

#: Rows made before others get a turn.
_SLICE = 100


class TransactionHead(NamedTuple):
    """A visible transaction that waits in the journal: its token and how many rows it has."""

    token: str
    rows: int


class JournalRow(NamedTuple):
    """One row of the journal: a change, its transaction's token, and whether the trigger could not record it (then
    there are no images, or only the key of a record that is gone as the one before).

    The change's key is the one that the journal knows; the table's may be another one by now.  Its ordinal is
    comparable between all rows of one database; of two transactions that touched the same row, the later one has the
    greater maximum.
    """

    token: str
    change: RowChange
    gap: bool = False


def unreadable(token: str, table: str, time: datetime, ordinal: int, error: Exception) -> JournalRow:
    """Return a gap in place of a journal row that no trigger wrote: the table is read again.

    An account that may write to the journal must not be able to stop a source."""
    log.error("journal row not readable", table=table, ordinal=ordinal, error=reportable_error(error).message)
    return JournalRow(token, RowChange(Operation.UPDATE, table, {}, None, None, time, ordinal), gap=True)


class JournalPage(NamedTuple):
    """A page of a table, read in one snapshot with the journal.  ``waiting``: the transactions that wait in the
    journal, by their tokens.  Whatever else the page shows was consumed before."""

    page: TablePage
    waiting: frozenset[str]


def heads_of(tokens: str | None, counts: str | None) -> list[TransactionHead]:
    """Return the heads of transactions from two texts: ``tokens``, and how many rows each has, with commas in between;
    as many as there are of both."""
    return list(map(TransactionHead, tokens.split(","), map(int, counts.split(",")))) if tokens and counts else []


async def in_slices(rows: Iterator[JournalRow]) -> list[JournalRow]:
    """Return all rows, built in slices between which other tasks run, so that the connection's next query is sent."""
    made: list[JournalRow] = []
    while True:
        await asyncio.sleep(0)
        some = list(islice(rows, _SLICE))
        if not some:
            return made
        made += some


class JournalDatabase(SourceDatabase, Protocol):
    """One connection that holds the consumer lock, reads the journal and deletes from it.  `connect` raises
    `JournalMissing`.

    ``noted``: the batch of the last marker that is certainly, and durably, in the database, over all connections; 0:
    none is known to be."""

    noted: int

    async def peek(self, limit: int) -> list[JournalRow]:
        """Return up to ``limit`` visible rows.  Fewer than ``limit`` means that these are all that is visible in one
        snapshot, hence whole transactions."""
        ...

    async def heads(self, limit: int) -> list[TransactionHead]:
        """Return the first ``limit`` transactions visible in one snapshot, ordered by their greatest ordinal."""
        ...

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        """All rows of these transactions, each transaction's rows by ordinal."""
        ...

    async def rows_after(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        """The next rows of one transaction with a greater ordinal (start with -1)."""
        ...

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        """Return the rows of one transaction with these ordinals."""
        ...

    async def marker(self) -> Marker | None:
        """Return which outbox acknowledged last, and what; None where the database has no place for that, or the
        account may not write it."""
        ...

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        """Forget these transactions; those not there (any more) are passed over.  ``marker``: replaces the one in the
        database before or with the deletion, if it names an outbox and `marker` found a place for it."""
        ...

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        """A page of a table, and what waits in the journal, in one snapshot that can write nothing; None when more than
        ``most`` transactions wait."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait until something new may be in the journal, or ``seconds`` at most; may return early."""
        ...

    async def definitions(self) -> object:
        """Return a value that differs after a captured table was altered, or swapped for another one."""
        ...


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


#: Parts that are read at once: the server answers about one while the rows of the one before are made.
_AT_ONCE = 2


class ReadAhead:
    """Reads the parts of a backlog, the next ones while those before them are mapped and stored.  ``read``: the rows
    of these transactions, by their tokens."""

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
        while self._parts and len(self._begun) < _AT_ONCE:
            if self._begun and isinstance(self._begun[-1], TransactionHead):
                break
            part = self._parts.popleft()
            self._begun.append(part if isinstance(part, TransactionHead) else asyncio.create_task(self._read(part)))
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
    """Deletes acknowledged transactions beside the reading.  ``delete``: of these transactions, by their tokens, and
    notes the marker.  One deletion is under way at a time."""

    def __init__(self, delete: Callable[[Sequence[str], Marker], Coroutine[Any, Any, None]]) -> None:
        self._delete = delete
        self._task: asyncio.Task[None] | None = None
        self._tokens: tuple[str, ...] = ()

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Transactions that the journal may still hold: a position must name them."""
        task = self._task
        ended = task is None or (task.done() and not task.cancelled() and task.exception() is None)
        return () if ended else self._tokens

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
