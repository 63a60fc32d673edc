"""The SQL of an engine's journal, as `cdc.capture.journal.source` needs it: one implementation for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

import orjson
import structlog

from cdc.capture.base import SourceDatabase
from cdc.capture.pages import PageRequest, TablePage
from cdc.capture.position import HugePart, SourcePosition, rereads_of, written_by
from cdc.model.change import Operation, Position, RowChange
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
    """``done``: the transactions of the last batch, and those before it whose deletion was under way, all of them
    stored.  Everything before them has been deleted from the journal."""

    done: tuple[str, ...] = ()
    marker: Marker = NO_MARKER

    def next(self, done: tuple[str, ...] = (), huge: HugePart | None = None) -> JournalPosition:
        """Return the position that follows this one."""
        marker = self.marker
        if marker.outbox and marker != MOVED:
            marker = Marker(marker.outbox, marker.batch + 1)
        return JournalPosition(done, marker, huge=huge, rereads=self.rereads)

    def outdated(self, found: Marker) -> bool:
        """Return whether the journal, which holds ``found``, lacks changes that the outbox of this position lacks."""
        return bool(found.outbox) and (found.outbox != self.marker.outbox or found.batch > self.marker.batch)

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
    """``waiting``: the transactions that wait in the journal, by their tokens.  Whatever else the page shows was
    consumed before."""

    page: TablePage
    waiting: frozenset[str]


def heads_of(tokens: str | None, counts: str | None) -> list[TransactionHead]:
    """``tokens``, and how many rows each has, with commas in between; as many as there are of both."""
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
    `JournalMissing`."""

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

    async def rows_behind(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
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
