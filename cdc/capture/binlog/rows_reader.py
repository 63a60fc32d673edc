"""Table maps and rows events: which rows are kept for the transaction that is open, in memory up to a bound and
beyond it in a nameless file."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from struct import Struct
from typing import ClassVar
from weakref import finalize
from zlib import crc32

from cdc.capture.binlog.compressed import PLAIN, plain_rows
from cdc.capture.binlog.event import CHECKSUM_BYTES, HEADER_BYTES, LogEventType
from cdc.capture.binlog.item import Item, Layouts, LogRows
from cdc.capture.binlog.journal_rows import JournalRows
from cdc.capture.binlog.layout import LogLayout, UnreadableTable
from cdc.capture.binlog.table_map import parse_table_map
from cdc.capture.temporary import not_written
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import MalformedEvent

_RECORD = Struct("<IBII")  # number of the layout, kind of event, when its statement began, bytes of its body
_BUFFER = 1 << 20


class SpilledRows(Collection[LogRows]):
    """Rows on disk, in order.  The file is removed with this object."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="cdc-", buffering=_BUFFER)  # noqa: SIM115 - the file lives as long as this object; the finalizer in the next line closes it
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
    """``limit``: bytes of bodies that stay in memory."""

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
            self._spill(rows)

    def _spill(self, rows: LogRows) -> None:
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


#: ``data``, where the event's header begins in it, where the event without its checksum ends.
Handler = Callable[[bytes, int, int], Iterable[Item]]

_BODY, _TABLE_ID_END = HEADER_BYTES, HEADER_BYTES + 6
_SIZE = Struct("<9xI")
#: Of the rows event that only closes tables.
_NO_TABLE = b"\xff\xff\xff\x00\x00\x00"
#: Different table maps that are remembered.
_MOST_TABLES = 10_000
_PARTS_OF_JSON = (
    "The log has only parts of its JSON values. SET GLOBAL binlog_row_value_options = '', which applies to new "
    "connections."
)
_ROWS = (
    *(LogEventType.WRITE_ROWS_1, LogEventType.UPDATE_ROWS_1, LogEventType.DELETE_ROWS_1),
    *(LogEventType.WRITE_ROWS, LogEventType.UPDATE_ROWS, LogEventType.DELETE_ROWS),
)


class RowsReader:
    """``handlers``: by kind of event.  ``checksum_bytes``: at the end of each event."""

    flavour: ClassVar[Flavour]

    def __init__(self, layouts: Layouts, spill_bytes: int) -> None:
        self._layouts = layouts
        self._spill_bytes = spill_bytes
        #: Body of a table map → table id, layout.
        self._known: dict[bytes, tuple[bytes, LogLayout | UnreadableTable | JournalRows | None]] = {}
        self._tables: dict[bytes, LogLayout | UnreadableTable | JournalRows | None] = {}
        self._rows: TransactionRows | None = None
        self.checksum_bytes = 0
        self.handlers: list[Handler] = [self._nothing] * 256
        self._handle([LogEventType.TABLE_MAP], self._table_map)
        self._handle(_ROWS, self._row_changes)
        self._handle(PLAIN, self._compressed_rows)
        self._handle([LogEventType.PARTIAL_UPDATE_ROWS], self._partial_rows)

    def _handle(self, kinds: Iterable[int], handler: Handler) -> None:
        for kind in kinds:
            self.handlers[kind] = handler

    def wants(self, event: bytes) -> bool:
        """Return whether an event is of use, from its first bytes."""
        if len(event) < _TABLE_ID_END:
            return True
        handler = self.handlers[event[4]]
        if handler in (self._row_changes, self._compressed_rows, self._partial_rows):
            return self._tables.get(event[_BODY:_TABLE_ID_END]) is not None
        return handler != self._nothing

    def whole(self, event: bytes) -> Iterable[Item]:
        """An event that came in parts."""
        if len(event) < HEADER_BYTES or _SIZE.unpack_from(event)[0] != len(event):
            raise MalformedEvent("A long event of the log does not have the length that it states.")
        return self.handlers[event[4]](event, 0, len(event) - self.checksum_bytes)

    def _nothing(self, _data: bytes, _at: int, _end: int) -> Iterable[Item]:
        return ()

    def _table_map(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        body = data[at + _BODY : end]
        known = self._known.get(body) or self._new_table(body, data, at, end)
        self._tables[known[0]] = known[1]
        return ()

    def _new_table(
        self, body: bytes, data: bytes, at: int, end: int
    ) -> tuple[bytes, LogLayout | UnreadableTable | JournalRows | None]:
        self._verify(data, at, end)
        if len(self._known) >= _MOST_TABLES:
            self._known.clear()
        known = self._known[body] = body[: _TABLE_ID_END - _BODY], self._layouts(parse_table_map(body, self.flavour))
        return known

    def _row_changes(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        try:
            layout = self._tables[data[at + _BODY : at + _TABLE_ID_END]]
        except KeyError:
            return self._unknown_table(data, at)
        if layout is not None:
            self._verify(data, at, end)
            begun = int.from_bytes(data[at : at + 4], "little")
            self._keep(LogRows(layout, data[at + 4], data[at + _BODY : end], begun))
        return ()

    def _compressed_rows(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        layout = self._tables.get(data[at + _BODY : at + _TABLE_ID_END])
        if layout is not None:
            self._verify(data, at, end)
            kind, begun = data[at + 4], int.from_bytes(data[at : at + 4], "little")
            self._keep(LogRows(layout, PLAIN[kind], plain_rows(kind, data[at + _BODY : end]), begun))
        return ()

    def _partial_rows(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        """Updates that hold parts of JSON values; the journal has none."""
        layout = self._tables.get(data[at + _BODY : at + _TABLE_ID_END])
        if isinstance(layout, LogLayout | UnreadableTable):
            self._keep(LogRows(UnreadableTable(layout.table, _PARTS_OF_JSON, None), data[at + 4], b""))
        return ()

    def _keep(self, rows: LogRows) -> None:
        if self._rows is None:
            self._rows = TransactionRows(self._spill_bytes)
        self._rows.add(rows)

    def _unknown_table(self, data: bytes, at: int) -> Iterable[Item]:
        if data[at + _BODY : at + _TABLE_ID_END] != _NO_TABLE:
            raise MalformedEvent("The log has rows of a table that it did not announce.")
        return ()

    def _verify(self, data: bytes, at: int, end: int) -> None:
        """Verify the checksum of events whose content is used: a log may be damaged on the server's disk, and the
        server does not look."""
        if self.checksum_bytes:
            stored = int.from_bytes(data[end : end + CHECKSUM_BYTES], "little")
            if crc32(data[at:end]) != stored:
                raise MalformedEvent(
                    "An event of the log does not have the checksum that it should.",
                    "The server's log is damaged: check its disk, and read the tables again.",
                )
