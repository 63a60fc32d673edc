"""The SQL of an engine's journal, as `cdc.capture.journal.source` needs it: one implementation for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

import structlog

from cdc.capture.base import SourceDatabase
from cdc.capture.journal.position import NO_MARKER, Marker
from cdc.capture.pages import PageRequest, TablePage
from cdc.model.change import Operation, RowChange
from cdc.model.errors import reportable_error

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
    """All of them, made while others get a turn; what waits for the connection is sent before that begins."""
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
        """Up to ``limit`` visible rows.  Fewer than ``limit`` means that these are all that is visible in one snapshot,
        hence whole transactions."""
        ...

    async def heads(self, limit: int) -> list[TransactionHead]:
        """Of the transactions visible in one snapshot, the first ``limit`` ordered by their greatest ordinal."""
        ...

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        """All rows of these transactions, each transaction's rows by ordinal."""
        ...

    async def rows_behind(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        """The next rows of one transaction with a greater ordinal (start with -1)."""
        ...

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        """These rows of one transaction, by ordinal."""
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
        """Until something new may be in the journal, or ``seconds`` at most; may return early."""
        ...

    async def definitions(self) -> object:
        """Something that is another one after a captured table was altered, or swapped for another one."""
        ...
