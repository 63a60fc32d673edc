"""Events → items: transactions, statements, XA, table maps and rows; common to both flavours.  Pure.

The rows of the open transaction are in memory up to a bound and beyond it in a nameless file.  Handlers read the bytes
in place: ``data``, ``at`` (where the event's header begins) and ``end`` (of the event without its checksum).  They
return items, mostly none.  The code for each event and each transaction is written for speed; the code for rare ones
is not.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from struct import Struct
from typing import ClassVar
from zlib import crc32

from cdc.capture.binlog.event import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    IGNORABLE,
    EventCursor,
    LogEventType,
    LogPlace,
    Query,
    body_without_checksum,
    changes_rows,
    has_checksums,
    parse_heartbeat_2,
    parse_incident,
    parse_query,
    parse_rotate,
    parse_table_map,
    parse_xa_prepare,
)
from cdc.capture.binlog.item import (
    Idle,
    Item,
    JournalRows,
    Layouts,
    LogRows,
    LogTransaction,
    Missed,
    SchemaChange,
    TransactionRows,
)
from cdc.capture.binlog.layout import LogLayout, UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.database.mysql_connection import Flavour
from cdc.extras import zstandard
from cdc.model.errors import MalformedEvent, SourceUnavailable

#: Compressed kinds of events → the plain ones that they become.
PLAIN: dict[int, int] = {
    int(compressed): int(plain)
    for compressed, plain in (
        (LogEventType.WRITE_ROWS_COMPRESSED_1, LogEventType.WRITE_ROWS_1),
        (LogEventType.UPDATE_ROWS_COMPRESSED_1, LogEventType.UPDATE_ROWS_1),
        (LogEventType.DELETE_ROWS_COMPRESSED_1, LogEventType.DELETE_ROWS_1),
        (LogEventType.WRITE_ROWS_COMPRESSED, LogEventType.WRITE_ROWS),
        (LogEventType.UPDATE_ROWS_COMPRESSED, LogEventType.UPDATE_ROWS),
        (LogEventType.DELETE_ROWS_COMPRESSED, LogEventType.DELETE_ROWS),
    )
}
#: No server writes an event that is longer.
_LONGEST_EVENT = 1 << 30
_POST_HEADER = 8
_MOST_COLUMNS = 4096


def plain_rows(kind: int, body: bytes) -> bytes:
    """Return the body of the plain event: only the images are compressed, not the bytes before them."""
    reader = EventCursor(body, _POST_HEADER)
    plain = PLAIN[kind]
    if plain in (LogEventType.WRITE_ROWS, LogEventType.UPDATE_ROWS, LogEventType.DELETE_ROWS):
        reader.take(max(2, reader.integer(2)) - 2)
    columns = reader.packed()
    if columns > _MOST_COLUMNS:
        raise MalformedEvent("A compressed rows event of the log has more columns than any table.")
    bitmaps = 2 if plain in (LogEventType.UPDATE_ROWS, LogEventType.UPDATE_ROWS_1) else 1
    reader.take(bitmaps * ((columns + 7) // 8))
    return body[: reader.position] + inflated(body, reader.position)


def inflated(data: bytes, start: int) -> bytes:
    """Return the bytes that are compressed from ``start`` on.

    Before them: a byte with the kind of compression and the length's length, then the length before compression.
    """
    reader = EventCursor(data, start)
    head = reader.integer(1)
    width, kind = head & 7, head >> 4 & 7
    length = int.from_bytes(reader.take(width), "big")
    if kind != 0 or length > _LONGEST_EVENT:
        raise MalformedEvent("A compressed event of the log is compressed in an unknown way.")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(memoryview(data)[reader.position :], length + 1)
    except zlib.error as error:
        raise MalformedEvent("A compressed event of the log is damaged.") from error
    if len(plain) != length:
        raise MalformedEvent("A compressed event of the log does not have the length that it states.")
    return plain


_END, _FIELD_SIZE, _ALGORITHM, _PLAIN_SIZE = range(4)
_ZSTANDARD, _NONE = 0, 255
#: Decompressed bytes at a time.
_STEP = 1 << 20


def payload(body: bytes) -> Iterator[bytes]:
    """Yield the events inside a TRANSACTION_PAYLOAD, as bytes cut anywhere, a chunk at a time."""
    reader = EventCursor(body)
    fields = {_ALGORITHM: _NONE, _PLAIN_SIZE: _LONGEST_EVENT}
    while (kind := reader.packed()) != _END:
        value = EventCursor(reader.take(reader.packed()))
        if kind in (_ALGORITHM, _PLAIN_SIZE):
            fields[kind] = value.packed()
    data, length = body[reader.position :], fields[_PLAIN_SIZE]
    if fields[_ALGORITHM] == _NONE:
        yield data
        return
    if fields[_ALGORITHM] != _ZSTANDARD:
        raise MalformedEvent("A transaction of the log is compressed in an unknown way.")
    library = zstandard()
    stream = library.ZstdDecompressor().stream_reader(BytesIO(data), read_across_frames=True)
    total = 0
    while True:
        try:
            plain = stream.read(_STEP)
        except library.ZstdError as error:
            raise MalformedEvent("A compressed transaction of the log is damaged.") from error
        if not plain:
            break
        total += len(plain)
        if total > length:
            break
        yield plain
    if total != length:
        raise MalformedEvent("A compressed transaction of the log does not have the length that it states.")


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
_QUERY_LENGTHS = Struct("<27xBxxH")
_QUERY_FIXED = HEADER_BYTES + 13 + 1  # with the zero byte behind the database's name
_LOG_POS = Struct("<13xI")
_LOAD_POST_HEADER = 26
_2_GB, _4_GB = 1 << 31, 1 << 32
_SKIPPED = (
    *(LogEventType.STOP, LogEventType.INTVAR, LogEventType.APPEND_BLOCK, LogEventType.DELETE_FILE, LogEventType.RAND),
    *(LogEventType.USER_VAR, LogEventType.BEGIN_LOAD_QUERY, LogEventType.IGNORABLE, LogEventType.ROWS_QUERY),
)


class LogReader(ABC):
    """A reader of events: it knows its place in the log, which tables were announced, which transaction is open and
    which are prepared.

    ``handlers``: by kind of event.  ``checksum_bytes``: at the end of each event.  ``unplaced``: bytes that came since
    the last place in the log that is certain.
    """

    flavour: ClassVar[Flavour]

    def __init__(self, layouts: Layouts, start: LogPosition, server: str, spill_bytes: int) -> None:
        self._layouts = layouts
        self._spill_bytes = spill_bytes
        #: Body of a table map → table id, layout.
        self._known: dict[bytes, tuple[bytes, LogLayout | UnreadableTable | JournalRows | None]] = {}
        self._tables: dict[bytes, LogLayout | UnreadableTable | JournalRows | None] = {}
        self._rows: TransactionRows | None = None
        self._server = server
        self._file, self._offset, self._begun = start.file, start.offset, start.begun
        #: Where a file that was announced begins: it is this file once its first event has said when it was begun.
        self._announced: LogPlace | None = None
        #: Until the first file is known: its GTIDs alone say where reading begins, also in another file of that name.
        self._by_gtids = bool(start.gtids)
        #: Until the first group of events ends.  A server that is asked by GTIDs begins earlier in the file.
        self._start: LogPosition | None = start
        self.unplaced = 0
        self._open = False
        #: Name of an XA transaction that is prepared → where reading stood before it, its rows.
        self._prepared: dict[str, tuple[LogPosition, TransactionRows | None]] = {}
        self._moved = False
        #: Where the compressed transaction that is being read ends.
        self._outer = 0
        self.checksum_bytes = 0
        self.handlers: list[Handler] = [self._unknown] * 256
        for kinds, handler in (
            (_SKIPPED, self._nothing),
            ([LogEventType.TABLE_MAP], self._table_map),
            (_ROWS, self._row_changes),
            (PLAIN, self._compressed_rows),
            ([LogEventType.PARTIAL_UPDATE_ROWS], self._partial_rows),
            ([LogEventType.XID], self._commit),
            ([LogEventType.QUERY], self._query),
            ([LogEventType.EXECUTE_LOAD_QUERY], self._load_query),
            ([LogEventType.XA_PREPARE], self._xa_prepare),
            ([LogEventType.FORMAT_DESCRIPTION], self._format),
            ([LogEventType.ROTATE], self._rotate),
            ([LogEventType.HEARTBEAT, LogEventType.HEARTBEAT_2], self._heartbeat),
            ([LogEventType.INCIDENT], self._incident),
        ):
            self._handle(kinds, handler)

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
        known = self._known.get(body)
        if known is None:
            self._verify(data, at, end)
            if len(self._known) >= _MOST_TABLES:
                self._known.clear()
            layout = self._layouts(parse_table_map(body, self.flavour))
            known = self._known[body] = body[: _TABLE_ID_END - _BODY], layout
        self._tables[known[0]] = known[1]
        return ()

    def _row_changes(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        try:
            layout = self._tables[data[at + _BODY : at + _TABLE_ID_END]]
        except KeyError:
            if data[at + _BODY : at + _TABLE_ID_END] != _NO_TABLE:
                raise MalformedEvent("The log has rows of a table that it did not announce.") from None
            return ()
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

    # The position of reading

    @abstractmethod
    def gtids(self) -> str:
        """Return the GTIDs of everything read so far; empty when they are not known."""

    def reached(self) -> LogPosition:
        if self._start is not None:
            return self._start._replace(gtids=self.gtids(), begun=self._begun)
        return LogPosition(self._file, self._offset, self.gtids(), self._begun)

    def position(self) -> LogPosition:
        """Return the position from which reading can continue without a gap."""
        if not self._prepared:
            return self.reached()
        return next(iter(self._prepared.values()))[0]

    def has_passed(self, start: LogPosition) -> bool:
        return self._file != start.file or self._offset > start.offset

    def pause(self) -> Iterable[Item]:
        """Return the items for the end of the received bytes."""
        if not self._moved:
            return ()
        self._moved = False
        return (Idle(self.position(), self.reached()),)

    def _place_token(self, micros: int) -> str:
        """The time is in it because files get the same names again after a RESET."""
        return f"{self._server}/{self._file}:{self._offset}@{micros}"

    # Groups of events: each a transaction, or a statement that commits by itself

    @abstractmethod
    def _name(self, data: bytes, at: int) -> tuple[str, datetime]:
        """Return token and time of the group that has just ended, or of the one that is open."""

    @abstractmethod
    def _count(self) -> None:
        """Add the open group's GTID to those that have been read."""

    def _end_group(self, data: bytes, at: int) -> None:
        self._count()
        log_pos = self._outer or _LOG_POS.unpack_from(data, at)[0]
        if self.unplaced > _2_GB or not log_pos:
            # the group is too long for the lower 32 bits, which the log has; or the log does not say (0)
            if log_pos:
                step = (log_pos - self._offset) % _4_GB
                self._offset += step + max(0, (self.unplaced - step + _2_GB) // _4_GB) * _4_GB
            self.unplaced = 0
        else:
            self._offset += (log_pos - self._offset) % _4_GB
            self.unplaced = 0
        self._moved, self._open, self._start = True, False, None

    def _commit(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        self._end_group(data, at)
        rows = self._rows
        if rows is None:
            return ()
        self._rows = None
        return self._committed(rows, data, at)

    def _committed(self, rows: TransactionRows, data: bytes, at: int) -> Iterable[Item]:
        taken = rows.taken()
        return (LogTransaction(*self._name(data, at), self.position(), taken),) if taken else ()

    # XA transactions

    def _xa_prepare(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        prepare = parse_xa_prepare(data[at + HEADER_BYTES : end])
        if prepare.one_phase:
            return self._commit(data, at, end)
        before, rows, self._rows = self.reached(), self._rows, None
        self._end_group(data, at)
        self._prepared.pop(prepare.xid, None)
        self._prepared[prepare.xid] = before, rows
        return ()

    # Statements

    def _query(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        database_bytes, variables_bytes = _QUERY_LENGTHS.unpack_from(data, at)
        if data[at + _QUERY_FIXED + database_bytes + variables_bytes : end] == b"BEGIN":
            self._open = True
            return ()
        self._verify(data, at, end)
        return self._other_query(parse_query(data[at + HEADER_BYTES : end]), data, at)

    def _load_query(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        """Return the items of a LOAD DATA in statement format."""
        return self._statement(parse_query(data[at + HEADER_BYTES : end], _LOAD_POST_HEADER), data, at)

    def _other_query(self, query: Query, data: bytes, at: int) -> Iterable[Item]:
        """Return the items of a statement about transactions, which the server words itself, or of another one."""
        words = query.statement.rstrip(b"\0; ").split(None, 2)
        match [word.upper() for word in words[:2]]:
            case [b"BEGIN"]:
                self._open = True
            case [b"COMMIT"]:
                return self._commit(data, at, at)
            case [b"ROLLBACK"]:
                # the log has such a transaction for what a roll-back does not undo: no rows
                self._rows = None
                self._end_group(data, at)
            case [b"XA", verb] if words[2:]:
                xid = words[2].decode("ascii", "replace").strip("\0; ").lower()
                if verb in (b"START", b"BEGIN"):
                    self._open = True
                elif verb in (b"COMMIT", b"ROLLBACK"):  # END says nothing of interest
                    prepared = self._prepared.pop(xid, None)
                    self._end_group(data, at)
                    if verb == b"COMMIT" and prepared is None:
                        reason = "An XA transaction that was prepared before reading began was committed."
                        return (Missed(*self._name(data, at), self.position(), reason),)
                    if verb == b"COMMIT" and prepared is not None and prepared[1] is not None:
                        return self._committed(prepared[1], data, at)
            case [b"SAVEPOINT", _]:
                if self._rows is not None:
                    self._rows.savepoint(b" ".join(words[1:]).lower())
            case [b"ROLLBACK", b"TO"]:
                if self._rows is not None:
                    self._rows.roll_back_to(b" ".join(words[2:]).lower())
            case [b"RELEASE", b"SAVEPOINT"]:
                pass
            case _:
                return self._statement(query, data, at)
        return ()

    def _statement(self, query: Query, data: bytes, at: int) -> Iterable[Item]:
        self._known.clear()
        self._tables.clear()
        if not self._open:
            self._rows = None
            self._end_group(data, at)
        text = query.text()
        position, reached = self.position(), self.reached()
        return (SchemaChange(query.database, text, position, reached, *self._name(data, at), changes_rows(text)),)

    # The log itself

    def _event(self, data: bytes, at: int) -> bytes:
        return data[at : at + _SIZE.unpack_from(data, at)[0]]

    def _format(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        """A file begins.  A group that is open was cut off when the server fell over."""
        self.checksum_bytes = CHECKSUM_BYTES if has_checksums(self._event(data, at)[HEADER_BYTES:]) else 0
        place, self._announced = self._announced, None
        if place is not None:
            if place.file != self._file:
                self._moved, self._start, self._begun = True, None, 0
            self._file, self._offset, self.unplaced = place.file, place.offset, 0
        begun = int.from_bytes(data[at : at + 4], "little")
        if self._begun not in (0, begun):
            if not self._by_gtids:
                raise SourceUnavailable(
                    f"Log file {self._file} was started again since it was read: the log was reset."
                )
            self._start = None
        self._by_gtids = False
        if begun != self._begun:
            self._moved, self._begun = True, begun
        self._rows, self._open = None, False  # a group without an end did not happen
        return ()

    def _rotate(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        """The server also makes one up at the beginning, to say where it begins.  A format description follows."""
        self._announced = parse_rotate(body_without_checksum(self._event(data, at)))
        self._tables.clear()
        return ()

    def _heartbeat(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        body = body_without_checksum(self._event(data, at))
        if data[at + 4] == LogEventType.HEARTBEAT_2:
            place = parse_heartbeat_2(body)
        else:
            step = (_LOG_POS.unpack_from(data, at)[0] - self._offset) % _4_GB
            place = LogPlace(body.decode("utf-8", "replace"), self._offset + step if step < _2_GB else 0)
        if place.file == self._file and place.offset > self.reached().offset and not self._open:
            self._offset, self.unplaced, self._start = place.offset, 0, None
        self._moved = False
        return (Idle(self.position(), self.reached()),)

    def _incident(self, data: bytes, at: int, end: int) -> Iterable[Item]:
        words = parse_incident(data[at + HEADER_BYTES : end])
        self._rows, self._open = None, False  # a group without an end did not happen
        self._end_group(data, at)
        _, time = self._name(data, at)
        reason = f"The server says that changes are missing in its log ({words})."
        return (Missed(self._place_token(int(time.timestamp())), time, self.position(), reason),)

    def _unknown(self, data: bytes, at: int, _end: int) -> Iterable[Item]:
        if int.from_bytes(data[at + 17 : at + HEADER_BYTES], "little") & IGNORABLE:
            return ()
        raise MalformedEvent(
            f"The log has an event of the unknown kind {data[at + 4]}.", "The server is newer than this version knows."
        )


def moment(micros: int) -> datetime:
    try:
        return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    except (OverflowError, ValueError, OSError) as error:
        raise MalformedEvent("A transaction in the log has an invalid time.") from error
