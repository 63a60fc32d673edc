"""Events of a server's log: a cursor that checks each step, so that no input reads past the end of an event, the kinds
and contents of events without rows, and TABLE_MAP: which table the rows events after it mean, and how its columns are
stored.  Pure.

Every event has a header: seconds since 1970 (4 bytes), kind (1), server id (4), length with header (4), position of the
next event (4, so it wraps at 4 GB), flags (2).  Bodies come without header and checksum."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct
from zlib import crc32

from cdc.capture.binlog.charset import charset_of, text_decoder
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType
from cdc.model.errors import MalformedEvent

#: First byte of a length-encoded integer → bytes that follow it; smaller first bytes are the number itself.
_WIDTHS = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_LARGEST_SINGLE = 0xFA


class EventCursor:
    """A cursor over the bytes of an event, which never reads past their end."""

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
        """Return an unsigned little-endian number of ``width`` bytes."""
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
    """The received pieces that are joined once, so that a long event in small pieces is not copied for each of them."""

    __slots__ = ("_have", "_need", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = self._need = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def keep(self, data: bytes, need: int) -> None:
        """Store bytes.  ``need``: number of bytes, these included, without which no more can be done."""
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
    """The numbers of MySQL and MariaDB; they share those up to 32."""

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
#: Status variables that come before the character sets, and their bytes; the length of a catalogue's name is its own.
_VARIABLES = {0: 4, 1: 8, 3: 4}
_CATALOGUE, _CHARSETS = 6, 4


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
    """Return the place in the log.  The body has fields of a kind, a length and a value; those of unknown kind are
    skipped."""
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
    """A statement.  ``database``: the default one of the session."""

    database: str
    statement: bytes
    charset: str

    def text(self) -> str:
        decode = text_decoder(self.charset)
        return decode(self.statement) if decode else self.statement.decode("utf-8", "replace")


def parse_query(body: bytes, post_header: int = 13) -> Query:
    """Return the statement.  ``post_header``: 13 bytes, 13 more in EXECUTE_LOAD_QUERY."""
    if len(body) < post_header:
        raise MalformedEvent("A statement's event in the log is too short.")
    database_bytes, variables_bytes = _QUERY.unpack_from(body)
    reader = EventCursor(body, post_header)
    # the character set that the statement is in; most are in one of UTF-8's, which is assumed when it is not said
    charset, variables = "utf8mb4", EventCursor(reader.take(variables_bytes))
    while variables.left:
        kind = variables.integer(1)
        if kind == _CATALOGUE:
            variables.take(variables.integer(1))
        elif kind in _VARIABLES:
            variables.take(_VARIABLES[kind])
        else:
            if kind == _CHARSETS:
                charset = charset_of(variables.integer(2)) or charset
            break
    database = reader.take(database_bytes).decode("utf-8", "replace")
    reader.take(_SCHEMA_END)
    return Query(database, reader.take(reader.left), charset)


@dataclass(frozen=True, slots=True)
class XaPrepare:
    """The end of the first phase of an XA transaction.  ``xid``: as the servers write it in XA statements, in lower
    case: ``x'67747269',x'627175',1``. ``one_phase``: it commits."""

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


#: Bytes of metadata in the table map.
_META_BYTES: Mapping[int, int] = {
    **dict.fromkeys((t.value for t in ColumnType), 0),
    **dict.fromkeys((ColumnType.FLOAT, ColumnType.DOUBLE), 1),
    **dict.fromkeys((ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.TIME), 1),
    **dict.fromkeys((ColumnType.BLOB, ColumnType.BLOB_COMPRESSED, ColumnType.JSON, ColumnType.GEOMETRY), 1),
    ColumnType.VECTOR: 1,
    **dict.fromkeys((ColumnType.VARCHAR, ColumnType.VARCHAR_COMPRESSED, ColumnType.VAR_STRING), 2),
    **dict.fromkeys((ColumnType.STRING, ColumnType.ENUM, ColumnType.SET), 2),
    **dict.fromkeys((ColumnType.BIT, ColumnType.DECIMAL), 2),
}
#: Set in the first byte of a STRING's metadata unless the length needs two bits more.
_SHORT_STRING = 0x30
_WITH_FRACTION = (ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.TIME)
#: What metadata may be, of types whose values could not be read with anything else.
_ALLOWED: Mapping[int, Collection[int]] = {
    ColumnType.FLOAT: (4,),
    ColumnType.DOUBLE: (8,),
    ColumnType.ENUM: (1, 2),
    ColumnType.SET: (1, 2, 3, 4, 8),
    ColumnType.BIT: range(1, 65),
    **dict.fromkeys(_WITH_FRACTION, range(7)),
    **dict.fromkeys((ColumnType.BLOB, ColumnType.BLOB_COMPRESSED, ColumnType.JSON), range(1, 5)),
    **dict.fromkeys((ColumnType.GEOMETRY, ColumnType.VECTOR), range(1, 5)),
    ColumnType.DECIMAL: frozenset(digits << 8 | scale for digits in range(1, 66) for scale in range(digits + 1)),
}


class UnknownTypeError(Exception):
    """A table has columns that cannot be read: the length of a value, or even its metadata, is not known."""


def read_meta(code: int, reader: EventCursor) -> tuple[int, int]:
    """Return (type, meta) of a column from its type byte and the metadata at the reader; types hidden in STRING are
    found."""
    width = _META_BYTES.get(code)
    if width is None:
        raise UnknownTypeError(f"it has a column of the unknown type {code}")
    raw = reader.take(width)
    of_type, meta = code, int.from_bytes(raw, "little")
    if code in (ColumnType.STRING, ColumnType.ENUM, ColumnType.SET):
        # the type, and the length, whose two highest bits (inverted) are in two bits of the type
        of_type, meta = raw[0] | _SHORT_STRING, raw[1] | ((raw[0] & _SHORT_STRING) ^ _SHORT_STRING) << 4
    elif code == ColumnType.BIT:
        meta = raw[1] * 8 + raw[0]
    elif code == ColumnType.DECIMAL:
        meta = raw[0] << 8 | raw[1]
    if of_type not in _META_BYTES or meta not in _ALLOWED.get(of_type, (meta,)):
        raise UnknownTypeError(f"it has a column of type {of_type} with the unknown metadata {meta}")
    return of_type, meta


_TABLE_ID_BYTES = 6
_FLAGS_BYTES = 2
#: More columns than any server allows.
_MOST_COLUMNS = 4096
_NUMERIC = frozenset(
    {ColumnType.TINY, ColumnType.SHORT, ColumnType.INT24, ColumnType.LONG, ColumnType.LONGLONG, ColumnType.DECIMAL}
    | {ColumnType.FLOAT, ColumnType.DOUBLE, ColumnType.YEAR, ColumnType.OLD_DECIMAL}
)
_CHARACTER = frozenset(
    {ColumnType.STRING, ColumnType.VAR_STRING, ColumnType.VARCHAR, ColumnType.BLOB, ColumnType.VECTOR}
    | {ColumnType.VARCHAR_COMPRESSED, ColumnType.BLOB_COMPRESSED}
)
#: MariaDB's log has a character set, binary, of geometries, too.
_CHARACTER_OF = {Flavour.MARIADB: _CHARACTER | {ColumnType.GEOMETRY}, Flavour.MYSQL: _CHARACTER}
_LISTS = frozenset({ColumnType.ENUM, ColumnType.SET})
#: Kinds of optional metadata; those that are not here are of no use to a reader of rows.
_SIGNEDNESS = 1
_DEFAULT_CHARSET = 2
_COLUMN_CHARSET = 3
_COLUMN_NAME = 4
_SET_MEMBERS = 5
_ENUM_MEMBERS = 6
_PRIMARY_KEY = 8
_PREFIXED_KEY = 9
_LIST_DEFAULT_CHARSET = 10
_LIST_COLUMN_CHARSET = 11


@dataclass(frozen=True, slots=True)
class LogColumn:
    """One column as the log describes it.  ``None``: the log does not say.

    ``meta``: what `ColumnType` says beside the type.  ``members``: of an ENUM or SET, in order.
    """

    type: int
    meta: int
    nullable: bool
    unsigned: bool | None = None
    name: str | None = None
    collation: int | None = None
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class TableMap:
    """A table as the log describes it before its rows.  ``key``: positions of the primary key's columns, when the log
    says.

    ``problem``: why the columns (none, then) cannot be read; the table's name is right all the same, so that a table of
    no interest may be as strange as it likes.
    """

    table_id: int
    database: str
    table: str
    columns: tuple[LogColumn, ...]
    key: tuple[int, ...] | None = None
    problem: str = ""


def parse_table_map(body: bytes, flavour: Flavour) -> TableMap:
    """Return the description of a table.  ``body``: the event without its header and checksum.  Raises
    `MalformedEvent`."""
    reader = EventCursor(body)
    table_id = reader.integer(_TABLE_ID_BYTES)
    reader.take(_FLAGS_BYTES)
    names = []
    for _ in ("database", "table"):
        names.append(reader.text(reader.integer(1)))
        reader.take(1)  # each name ends with a zero byte
    database, table = names
    count = reader.packed()
    if not 0 < count <= _MOST_COLUMNS:
        raise MalformedEvent(f"A table in the log has {count} columns.")
    codes = reader.take(count)
    meta = EventCursor(reader.take(reader.packed()))
    nullable = reader.take((count + 7) // 8)
    try:
        types = [read_meta(code, meta) for code in codes]
    except UnknownTypeError as error:
        return TableMap(table_id, database, table, (), problem=str(error))
    columns = [LogColumn(code, value, bool(nullable[n // 8] >> n % 8 & 1)) for n, (code, value) in enumerate(types)]
    key = _read_optional(reader, columns, flavour)
    return TableMap(table_id, database, table, tuple(columns), key)


def _read_optional(reader: EventCursor, columns: list[LogColumn], flavour: Flavour) -> tuple[int, ...] | None:
    """Put into the columns what ``binlog_row_metadata`` adds; the primary key when it is there."""
    fields: dict[int, EventCursor] = {}
    while reader.left:
        kind = reader.integer(1)
        fields[kind] = EventCursor(reader.take(reader.packed()))
    if _SIGNEDNESS in fields:  # a bit for each numeric column, the first one in the highest bit; a year's means nothing
        numeric = _positions(columns, _NUMERIC)
        bits = fields[_SIGNEDNESS].take((len(numeric) + 7) // 8)
        for n, index in enumerate(numeric):
            if columns[index].type != ColumnType.YEAR:
                columns[index] = replace(columns[index], unsigned=bool(bits[n // 8] >> 7 - n % 8 & 1))
    _read_collations(fields.get(_DEFAULT_CHARSET), fields.get(_COLUMN_CHARSET), columns, _CHARACTER_OF[flavour])
    _read_collations(fields.get(_LIST_DEFAULT_CHARSET), fields.get(_LIST_COLUMN_CHARSET), columns, _LISTS)
    if (names := fields.get(_COLUMN_NAME)) is not None:
        columns[:] = [replace(column, name=names.text(names.packed())) for column in columns]
    _read_members(fields.get(_SET_MEMBERS), columns, ColumnType.SET)
    _read_members(fields.get(_ENUM_MEMBERS), columns, ColumnType.ENUM)
    key: list[int] = []
    prefixed = _PRIMARY_KEY not in fields
    if (field := fields.get(_PREFIXED_KEY if prefixed else _PRIMARY_KEY)) is not None:
        while field.left:
            key.append(field.packed())
            if prefixed:
                field.packed()  # how much of the column counts, in bytes; 0: all of it
    if any(index >= len(columns) for index in key):
        raise MalformedEvent("A table in the log has a key on a column that it does not have.")
    return tuple(key) if key or names is not None else None


def _read_collations(
    default: EventCursor | None, each: EventCursor | None, columns: list[LogColumn], types: frozenset[int]
) -> None:
    """Read the collations of the columns of these types: either one for each, or the most frequent one and the columns
    that differ."""
    positions = _positions(columns, types)
    if each is not None:
        for index in positions:
            columns[index] = replace(columns[index], collation=each.packed())
    if default is None:
        return
    usual = default.packed()
    for index in positions:
        columns[index] = replace(columns[index], collation=usual)
    while default.left:
        number, collation = default.packed(), default.packed()
        if number >= len(positions):
            raise MalformedEvent("A table in the log has a character set for a column that it does not have.")
        index = positions[number]
        columns[index] = replace(columns[index], collation=collation)


def _read_members(field: EventCursor | None, columns: list[LogColumn], of_type: ColumnType) -> None:
    if field is None:
        return
    for index in _positions(columns, frozenset({of_type})):
        count = field.packed()
        if count > field.left:  # each takes a byte at least
            raise MalformedEvent("A table in the log has more members of an enumeration than bytes for them.")
        members = tuple(field.take(field.packed()) for _ in range(count))
        collation = columns[index].collation
        charset = None if collation is None else charset_of(collation)
        decode = None if charset is None else text_decoder(charset)
        columns[index] = replace(columns[index], members=None if decode is None else tuple(map(decode, members)))


def _positions(columns: Sequence[LogColumn], types: frozenset[int]) -> list[int]:
    return [index for index, column in enumerate(columns) if column.type in types]
