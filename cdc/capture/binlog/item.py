"""The items that reading a log yields, in the order of the log.

Rows that triggers write into the journal are among them.  They name the transaction for both sides (see
`cdc.capture.moving`).  Where the log does not hold the changes that foreign keys make, only these rows do.  Triggers
that journal nothing else say so in each row.  Triggers that journal every change do not: there, a row is a foreign
key's if the transaction has no row event of its own for it.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from struct import Struct
from typing import Any, NamedTuple
from weakref import finalize

from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.layout import WRITE_ROWS, KnownTable, LogLayout, UnreadableTable, layout_of
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.journal.mysql import Images, KnownShape, images_of, secrets_of
from cdc.capture.spool import not_written
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_journal import CASCADE_ONLY, CODES, JOURNAL, OPERATIONS, PROBE_SHAPE
from cdc.database.mysql_types import MySQLColumn
from cdc.model.change import Operation, Row, RowChange, Value
from cdc.model.errors import SchemaMismatch

#: The shape of this number, None when it is gone with the triggers; called in the log's thread.
ShapeOf = Callable[[int], KnownShape | None]
_COLUMNS = (
    MySQLColumn("id", "bigint", "bigint unsigned"),
    MySQLColumn("txn", "bigint", "bigint unsigned"),
    MySQLColumn("at", "datetime", "datetime(6)"),
    MySQLColumn("shape", "int", "int unsigned"),
    MySQLColumn("op", "tinyint", "tinyint unsigned"),
    MySQLColumn("gap", "tinyint", "tinyint unsigned"),
    MySQLColumn("secrets", "text", "text", "utf8mb4"),
    MySQLColumn("image_before", "longtext", "longtext", "utf8mb4"),
    MySQLColumn("image_after", "longtext", "longtext", "utf8mb4"),
)

#: Seconds: both times are of the statement's beginning, one of them without its fraction.
_TOLERANCE = 2
#: What a session's binlog_row_image may leave out of an inserted row.
_DEFAULTS: Mapping[str, Value] = {"gap": 0, "secrets": None, "image_before": None, "image_after": None}


@dataclass(frozen=True, slots=True)
class Cascade:
    """A change that a foreign key made; ``gap``: the trigger could not record it, there are no images, or just the key
    of a row that is gone.

    ``number``: of the row in the journal.  ``table``: empty when it is not known any more.  ``doubtful``: it may also
    be the statement's own change, of which the log has a row event before this row.
    """

    number: int
    table: str
    operation: Operation
    key: Row
    before: Row | None
    after: Row | None
    secrets_changed: frozenset[str]
    gap: bool
    doubtful: bool


class JournalRows:
    """The journal of this product in the captured database, in the place of a layout.  ``only``: whether the log holds
    no changes that foreign keys make."""

    def __init__(self, layout: LogLayout, shape_of: ShapeOf, *, only: bool) -> None:
        self._layout = layout
        self._shape_of = shape_of
        self._least = CODES[Operation.UPDATE] if only else CASCADE_ONLY + 1  # foreign keys insert nothing

    def read(self, body: bytes, event_type: int, begun: int) -> tuple[set[str], list[Cascade]]:
        """Return the tokens under which the journal holds the inserted rows, and those changes among them that foreign
        keys made or may have made.  ``begun``: when the statement began, as triggers note it: rows that are older were
        put back by a dump."""
        names: set[str] = set()
        cascades: list[Cascade] = []
        if event_type not in WRITE_ROWS:  # the consumer forgets
            return names, cascades
        layout = self._layout.present(body, event_type)
        for _, after in layout.rows(body, event_type):
            assert after is not None, "an inserted row has an image"
            row = {**_DEFAULTS, **dict(zip(layout.names, after, strict=True))}
            if row["shape"] == PROBE_SHAPE:
                continue
            names.add(str(row["txn"]))
            if int(str(row["op"])) >= self._least:
                with suppress(ValueError):  # no trigger wrote such a time
                    if datetime.fromisoformat(f"{row['at']}+00:00").timestamp() < begun - _TOLERANCE:
                        continue
                cascades.append(self._cascade(row))
        return names, cascades

    def _cascade(self, row: dict[str, Any]) -> Cascade:
        doubtful = row["op"] <= CASCADE_ONLY
        operation = OPERATIONS[row["op"] if doubtful else row["op"] - CASCADE_ONLY]
        known = self._shape_of(row["shape"])
        if known is None:
            return Cascade(row["id"], "", operation, {}, None, None, frozenset(), gap=True, doubtful=doubtful)
        found = images_of(known, operation, row["image_before"], row["image_after"], gap=bool(row["gap"]))
        if found.gap and doubtful:  # its row event, if there is one, has the operation
            found = Images(operation, {}, None, None, gap=True)
        before, after = (None if image is None else image.row for image in (found.before, found.after))
        secrets = secrets_of(known.shape, row["secrets"])
        table = known.shape.table
        return Cascade(row["id"], table, found.operation, found.key, before, after, secrets, found.gap, doubtful)


class RowEvents:
    """The row events of a transaction for which no row of the journal was found yet: a row of the journal that has
    one is the statement's own change, whose trigger runs right after it."""

    def __init__(self) -> None:
        self._left: Counter[tuple[str, Operation, tuple[Value, ...]]] = Counter()
        self._of_table: Counter[tuple[str, Operation]] = Counter()

    def add(self, changes: Iterable[RowChange]) -> None:
        for change in changes:
            self._left[change.table, change.operation, tuple(change.key.values())] += 1
            self._of_table[change.table, change.operation] += 1

    def take(self, cascade: Cascade) -> bool:
        """Return whether there was one for this row of the journal.  A gap has no key: any of its table will do."""
        of_table, key = (cascade.table, cascade.operation), tuple(cascade.key.values())
        if not self._of_table[of_table] or not (cascade.gap or self._left[*of_table, key]):
            return False
        self._of_table[of_table] -= 1
        if not cascade.gap:
            self._left[*of_table, key] -= 1
            if not self._left[*of_table, key]:
                del self._left[*of_table, key]
        return True


def journal_rows(table_map: TableMap, flavour: Flavour, shape_of: ShapeOf, *, only: bool) -> JournalRows | None:
    """Return None for a table of that name that is none of ours."""
    known = KnownTable(JOURNAL, _COLUMNS, ("id",), flavour)
    try:
        return JournalRows(layout_of(table_map, known, lambda _: 0), shape_of, only=only)
    except SchemaMismatch:
        return None


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
_RECORD = Struct("<IBII")  # number of the layout, kind of event, when its statement began, bytes of its body
_BUFFER = 1 << 20


class SpilledRows(Collection[LogRows]):
    """A collection of rows on disk, in order.  The file is removed with this object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="cdc-", buffering=_BUFFER)  # noqa: SIM115 - open as long as this object; `finalize` closes it
        finalize(self, self._file.close)
        self._layouts: list[LogLayout | UnreadableTable | JournalRows] = []
        self._numbers: dict[int, int] = {}
        self._offsets = array("Q")
        self._end = 0

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, rows: object) -> bool:
        return any(each == rows for each in self)

    def __iter__(self) -> Iterator[LogRows]:
        """Yield the rows; memory holds one at a time, and several iterations may run at once."""
        for offset in self._offsets:
            self._file.seek(offset)
            number, kind, begun, length = _RECORD.unpack(self._file.read(_RECORD.size))
            yield LogRows(self._layouts[number], kind, self._file.read(length), begun)

    def append(self, rows: LogRows) -> None:
        layout = rows.layout
        number = self._numbers.get(id(layout))
        if number is None:
            number = self._numbers[id(layout)] = len(self._layouts)
            self._layouts.append(layout)
        self._file.write(_RECORD.pack(number, rows.event_type, rows.begun, len(rows.body)))
        self._file.write(rows.body)
        self._offsets.append(self._end)
        self._end += _RECORD.size + len(rows.body)

    def flush(self) -> None:
        self._file.flush()

    def cut(self, count: int) -> None:
        """Keep the first ``count``."""
        if count < len(self._offsets):
            self._end = self._offsets[count]
            self._file.seek(self._end)
            self._file.truncate()
            del self._offsets[count:]


class TransactionRows:
    """The rows of the open transaction.  ``limit``: bytes of bodies that stay in memory."""

    __slots__ = ("_bytes", "_limit", "_rows", "_savepoints", "_spilled")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: list[LogRows] = []
        self._bytes = 0
        self._spilled: SpilledRows | None = None
        self._savepoints: list[tuple[bytes, int]] = []

    def __len__(self) -> int:
        return len(self._rows) if self._spilled is None else len(self._spilled)

    def add(self, rows: LogRows) -> None:
        """Raises `SourceUnavailable` when the disk is full."""
        self._bytes += len(rows.body)
        if self._bytes <= self._limit:
            self._rows.append(rows)
            return
        with self._disk():
            if self._spilled is None:
                self._spilled = SpilledRows()
                for each in self._rows:
                    self._spilled.append(each)
                self._rows.clear()
            self._spilled.append(rows)

    def savepoint(self, name: bytes) -> None:
        self._savepoints.append((name, len(self)))

    def roll_back_to(self, name: bytes) -> None:
        """Discard the rows after the savepoint.  A savepoint that is not known stood before all rows."""
        while self._savepoints and self._savepoints[-1][0] != name:
            self._savepoints.pop()
        count = self._savepoints[-1][1] if self._savepoints else 0
        if self._spilled is None:
            del self._rows[count:]
        else:
            self._spilled.cut(count)

    def taken(self) -> Collection[LogRows]:
        """Return all rows.  Raises as `add` does."""
        if self._spilled is None:
            return tuple(self._rows)
        with self._disk():
            self._spilled.flush()
        return self._spilled

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_written(error) from error
