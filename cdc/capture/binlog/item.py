"""The items that reading a log yields, in the order of the log."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from cdc.capture.binlog.journal_rows import JournalRows
from cdc.capture.binlog.layout import LogLayout, UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.table_map import TableMap

#: How rows of a table are read; None for a table of no interest.
Layouts = Callable[[TableMap], LogLayout | UnreadableTable | JournalRows | None]


class LogRows(NamedTuple):
    """One event of row changes: ``layout.rows(body, event_type)`` decodes it, unless the layout is `UnreadableTable` or
    `JournalRows`.

    ``event_type``: WRITE, UPDATE or DELETE_ROWS, version 1 or 2, never compressed.  ``body``: without header and
    checksum.  ``begun``: when its statement began, seconds since 1970.  A tuple for speed, as the next one.
    """

    layout: LogLayout | UnreadableTable | JournalRows
    event_type: int
    body: bytes
    begun: int = 0


class LogTransaction(NamedTuple):
    """A transaction with rows of ours.

    ``token``: its GTID, else server, file, offset and time; the same whenever it is read again.
    ``time``: of the commit, UTC; microseconds on MySQL, seconds on MariaDB.
    ``position``: behind it, or before the oldest XA transaction that is prepared and not yet ended.
    ``rows``: iterate as often as needed; those of a huge transaction are on disk until this is garbage.
    """

    token: str
    time: datetime
    position: LogPosition
    rows: Collection[LogRows]


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A statement that the log holds as text, of whatever database and table.  The consumer refreshes its schema before
    it pulls the next item: layouts are asked for again.

    ``database``: the session's default one; the statement may name another.  ``position``: behind the statement, or
    before its transaction when it is within one.
    ``reached``: the same place whatever XA transaction is prepared: what the schema is behind the statement, it is from
    there on.
    ``changes_rows``: a data change in statement format (INSERT, UPDATE, CALL …); its rows are nowhere in the log.
    """

    database: str
    statement: str
    position: LogPosition
    reached: LogPosition
    token: str
    time: datetime
    changes_rows: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """The log says that there were changes, but not which: an incident on the server, or the end of an XA transaction
    that was prepared before reading began.  ``reason``: a sentence."""

    token: str
    time: datetime
    position: LogPosition
    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """The end of the received bytes: the next item needs bytes from the server.  Comes at heartbeats, and at the end of
    each chunk read in which any transaction was committed, ours or not.

    ``position``: as in `LogTransaction`.  ``reached``: after the last transaction seen, prepared or not.
    """

    position: LogPosition
    reached: LogPosition


Item = LogTransaction | SchemaChange | Missed | Idle
