"""Events of a server's log: a cursor that checks each step, so that no input reads past the end of an event, and the
kinds and contents of events without rows.  Pure.

Every event has a header: seconds since 1970 (4 bytes), kind (1), server id (4), length with header (4), position of the
next event (4, so it wraps at 4 GB), flags (2).  Bodies come without header and checksum.

MariaDB compresses single events (zlib), MySQL whole transactions (zstandard).  Every length that the log claims is a
limit, so that damaged bytes take no more memory than the event states.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from struct import Struct
from zlib import crc32

from cdc.capture.binlog.charset import charset_of, text_decoder
from cdc.extras import zstandard
from cdc.model.errors import MalformedEvent

#: First byte of a length-encoded integer → bytes that follow it; smaller first bytes are the number itself.
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_LARGEST_SINGLE = 0xFA


class EventCursor:
    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    @property
    def left(self) -> int:
        return len(self._data) - self.position

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._data):
            raise MalformedEvent("An event of the log ends before its content does.")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def integer(self, width: int) -> int:
        """Little-endian, unsigned."""
        return int.from_bytes(self.take(width), "little")

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.integer(1)
        if first <= _LARGEST_SINGLE:
            return first
        if first not in _WIDTHS:
            raise MalformedEvent("An event of the log holds an invalid length.")
        return self.integer(_WIDTHS[first])

    def text(self, length: int) -> str:
        """A name: the server writes them in UTF-8."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise MalformedEvent("An event of the log holds a name that is not text.") from error


class UnreadBytes:
    """Received pieces that are joined once, so that a long event in small pieces is not copied for each of them."""

    __slots__ = ("_have", "_need", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = self._need = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def keep(self, data: bytes, need: int) -> None:
        """``need``: bytes, with these, without which no more can be done."""
        if data:
            self._pieces.append(data)
        self._have, self._need = len(data), need

    def joined(self, chunk: bytes) -> bytes:
        """Return the stored bytes and ``chunk``; nothing as long as that is not enough."""
        if not self._pieces:
            return chunk
        self._pieces.append(chunk)
        self._have += len(chunk)
        if self._have < self._need:
            return b""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


HEADER_BYTES = 19
CHECKSUM_BYTES = 4
#: Flag of an event that a reader who does not know it may skip.
IGNORABLE = 0x80


class LogEventType(IntEnum):
    """MySQL's and MariaDB's numbers; they share those up to 32."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    INTVAR = 5
    APPEND_BLOCK = 9
    DELETE_FILE = 11
    RAND = 13
    USER_VAR = 14
    FORMAT_DESCRIPTION = 15
    XID = 16
    BEGIN_LOAD_QUERY = 17
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    WRITE_ROWS_1 = 23
    UPDATE_ROWS_1 = 24
    DELETE_ROWS_1 = 25
    INCIDENT = 26
    HEARTBEAT = 27
    IGNORABLE = 28
    ROWS_QUERY = 29
    WRITE_ROWS = 30
    UPDATE_ROWS = 31
    DELETE_ROWS = 32
    # MySQL
    GTID = 33
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    TRANSACTION_CONTEXT = 36
    VIEW_CHANGE = 37
    PARTIAL_UPDATE_ROWS = 39
    TRANSACTION_PAYLOAD = 40
    HEARTBEAT_2 = 41
    GTID_TAGGED = 42
    # both
    XA_PREPARE = 38
    # MariaDB
    ANNOTATE_ROWS = 160
    BINLOG_CHECKPOINT = 161
    MARIADB_GTID = 162
    GTID_LIST = 163
    START_ENCRYPTION = 164
    QUERY_COMPRESSED = 165
    WRITE_ROWS_COMPRESSED_1 = 166
    UPDATE_ROWS_COMPRESSED_1 = 167
    DELETE_ROWS_COMPRESSED_1 = 168
    WRITE_ROWS_COMPRESSED = 169
    UPDATE_ROWS_COMPRESSED = 170
    DELETE_ROWS_COMPRESSED = 171


_VERSION = 4
_FORMAT = Struct("<H50s4xB")
_QUERY = Struct("<8xBxxH")
_XA_PREPARE = Struct("<BIII")
_LONGEST_XID_PART = 64
_CRC32 = 1
_FILE_NAME, _FILE_OFFSET = 1, 2  # kinds of fields that name a place in the log
_SCHEMA_END = 1  # a zero byte


def body_without_checksum(event: bytes) -> bytes:
    """Return the body of an event that the server made up for its reader: whether such a one ends in a checksum is
    nowhere said."""
    end = len(event) - CHECKSUM_BYTES
    has_checksum = end >= HEADER_BYTES and crc32(memoryview(event)[:end]) == int.from_bytes(event[end:], "little")
    return event[HEADER_BYTES:end] if has_checksum else event[HEADER_BYTES:]


def has_checksums(body: bytes) -> bool:
    """Return whether the other events end in a checksum, from a FORMAT_DESCRIPTION with its own checksum, which it
    always has."""
    if len(body) < _FORMAT.size + CHECKSUM_BYTES + 1:
        raise MalformedEvent("The log begins with a format description that is too short.")
    version, _, header = _FORMAT.unpack_from(body)
    if version != _VERSION or header != HEADER_BYTES:
        raise MalformedEvent(f"The log is in format {version} with headers of {header} bytes, which is not known here.")
    algorithm = body[-CHECKSUM_BYTES - 1]
    if algorithm > _CRC32:
        raise MalformedEvent(f"The log has checksums of the unknown kind {algorithm}.")
    return algorithm == _CRC32


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in a server's log."""

    file: str
    offset: int


def parse_rotate(body: bytes) -> LogPlace:
    reader = EventCursor(body)
    offset = reader.integer(8)
    return LogPlace(reader.text(reader.left), offset)


def parse_heartbeat_2(body: bytes) -> LogPlace:
    """Fields of a kind, a length and a value; those of unknown kind are skipped."""
    reader, place = EventCursor(body), LogPlace("", 0)
    while reader.left:
        kind = reader.packed()
        if kind == 0:
            break
        value = EventCursor(reader.take(reader.packed()))
        if kind == _FILE_NAME:
            place = LogPlace(value.text(value.left), place.offset)
        elif kind == _FILE_OFFSET:
            place = LogPlace(place.file, value.packed())
    return place


@dataclass(frozen=True, slots=True)
class Query:
    """``database``: the default one of the session."""

    database: str
    statement: bytes
    charset: str

    def text(self) -> str:
        decode = text_decoder(self.charset)
        return decode(self.statement) if decode else self.statement.decode("utf-8", "replace")


def parse_query(body: bytes, post_header: int = 13) -> Query:
    """``post_header``: 13 bytes, 13 more in EXECUTE_LOAD_QUERY."""
    if len(body) < post_header:
        raise MalformedEvent("A statement's event in the log is too short.")
    database_bytes, variables_bytes = _QUERY.unpack_from(body)
    reader = EventCursor(body, post_header)
    charset = _client_charset(reader.take(variables_bytes))
    database = reader.take(database_bytes).decode("utf-8", "replace")
    reader.take(_SCHEMA_END)
    return Query(database, reader.take(reader.left), charset)


#: Status variables that stand before the character sets, and their bytes; the length of a catalogue's name is its own.
_VARIABLES = {0: 4, 1: 8, 3: 4}
_CATALOGUE, _CHARSETS = 6, 4


def _client_charset(variables: bytes) -> str:
    """The character set that the statement is in; most are in one of UTF-8's, which is assumed when it is not said."""
    reader = EventCursor(variables)
    while reader.left:
        kind = reader.integer(1)
        if kind == _CHARSETS:
            return charset_of(reader.integer(2)) or "utf8mb4"
        if kind == _CATALOGUE:
            reader.take(reader.integer(1))
        elif kind in _VARIABLES:
            reader.take(_VARIABLES[kind])
        else:
            break
    return "utf8mb4"


@dataclass(frozen=True, slots=True)
class XaPrepare:
    """``xid``: as the servers write it in XA statements, in lower case: ``x'67747269',x'627175',1``.
    ``one_phase``: it commits."""

    xid: str
    one_phase: bool


def parse_xa_prepare(body: bytes) -> XaPrepare:
    if len(body) < _XA_PREPARE.size:
        raise MalformedEvent("An XA PREPARE in the log is too short.")
    one_phase, form, global_bytes, branch_bytes = _XA_PREPARE.unpack_from(body)
    if max(global_bytes, branch_bytes) > _LONGEST_XID_PART:
        raise MalformedEvent("An XA PREPARE in the log has a name that is too long.")
    reader = EventCursor(body, _XA_PREPARE.size)
    parts = reader.take(global_bytes).hex(), reader.take(branch_bytes).hex()
    return XaPrepare(f"x'{parts[0]}',x'{parts[1]}',{form}", bool(one_phase))


def parse_incident(body: bytes) -> str:
    """Return the server's message; may be empty."""
    reader = EventCursor(body)
    reader.integer(2)
    return reader.take(reader.integer(1)).decode("utf-8", "replace") if reader.left else ""


#: Words in front of which a data change may stand in comments and brackets; possessive, so that no text takes long.
_FIRST_WORD = re.compile(r"(?:\s|/\*!\d*|/\*.*?\*/|--[^\n]*\n|#[^\n]*\n|\()*+(\w*)", re.DOTALL)
_DATA_CHANGES = frozenset(
    ("INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "CALL", "WITH", "SELECT", "DO", "VALUES", "TABLE", "EXECUTE")
)


#: MariaDB: settings or an analysis in front of a data change, which is executed.
_PREFIXED = re.compile(
    r"(?:SET\s+STATEMENT\b.*?\bFOR|ANALYZE(?:\s+FORMAT\s*=\s*\w+)?)\s+(?:INSERT|UPDATE|DELETE|REPLACE|LOAD|CALL|WITH)\b",
    re.IGNORECASE | re.DOTALL,
)


def changes_rows(statement: str) -> bool:
    """Return whether it is a data change in statement format."""
    word = _FIRST_WORD.match(statement)
    return word is not None and (
        word[1].upper() in _DATA_CHANGES or _PREFIXED.match(statement, word.start(1)) is not None
    )


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
_LONGEST = 1 << 30
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
    return body[: reader.position] + _inflated(body, reader.position)


def plain_statement(data: bytes) -> bytes:
    return _inflated(data, 0)


def _inflated(data: bytes, start: int) -> bytes:
    """A byte with the kind of compression and the length's length, the length before compression, zlib's stream."""
    reader = EventCursor(data, start)
    head = reader.integer(1)
    width, kind = head & 7, head >> 4 & 7
    length = int.from_bytes(reader.take(width), "big")
    if kind != 0 or length > _LONGEST:
        raise MalformedEvent("A compressed event of the log is compressed in an unknown way.")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(memoryview(data)[reader.position :], length + 1)
    except zlib.error as error:
        raise MalformedEvent("A compressed event of the log is damaged.") from error
    if len(plain) != length:
        raise MalformedEvent("A compressed event of the log does not have the length that it states.")
    return plain


_END, _SIZE, _ALGORITHM, _PLAIN_SIZE = range(4)
_ZSTANDARD, _NONE = 0, 255
#: Decompressed bytes at a time.
_STEP = 1 << 20


def payload(body: bytes) -> Iterator[bytes]:
    """Yield the events inside a TRANSACTION_PAYLOAD, as bytes cut anywhere, a chunk at a time."""
    reader = EventCursor(body)
    fields = {_ALGORITHM: _NONE, _PLAIN_SIZE: _LONGEST}
    while (kind := reader.packed()) != _END:
        value = EventCursor(reader.take(reader.packed()))
        if kind in (_ALGORITHM, _PLAIN_SIZE):
            fields[kind] = value.packed()
    if fields[_ALGORITHM] == _NONE:
        yield body[reader.position :]
    elif fields[_ALGORITHM] == _ZSTANDARD:
        yield from _decompressed(body[reader.position :], fields[_PLAIN_SIZE])
    else:
        raise MalformedEvent("A transaction of the log is compressed in an unknown way.")


def _decompressed(data: bytes, length: int) -> Iterator[bytes]:
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
