"""TABLE_MAP events: which table the rows events behind them mean, and how its columns are stored.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cdc.capture.binlog.charset import charset_of, text_decoder
from cdc.capture.binlog.event import EventCursor
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType
from cdc.model.errors import MalformedEvent

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
    """Columns of this table cannot be read: how long a value is, or even its metadata, is not known."""


def read_meta(code: int, reader: EventCursor) -> tuple[int, int]:
    """(type, meta) of a column from its type byte and the metadata at the reader; types hidden in STRING are found."""
    width = _META_BYTES.get(code)
    if width is None:
        raise UnknownTypeError(f"it has a column of the unknown type {code}")
    of_type, meta = _meta(code, reader.take(width))
    if of_type not in _META_BYTES or meta not in _ALLOWED.get(of_type, (meta,)):
        raise UnknownTypeError(f"it has a column of type {of_type} with the unknown metadata {meta}")
    return of_type, meta


def _meta(code: int, raw: bytes) -> tuple[int, int]:
    if code in (ColumnType.STRING, ColumnType.ENUM, ColumnType.SET):
        return _string(*raw)
    if code == ColumnType.BIT:
        return code, raw[1] * 8 + raw[0]
    if code == ColumnType.DECIMAL:
        return code, raw[0] << 8 | raw[1]
    return code, int.from_bytes(raw, "little")


def _string(first: int, second: int) -> tuple[int, int]:
    """The type, and the length, whose two highest bits (inverted) are in two bits of the type."""
    if first & _SHORT_STRING != _SHORT_STRING:
        return first | _SHORT_STRING, second | ((first & _SHORT_STRING) ^ _SHORT_STRING) << 4
    return first, second


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
    """``key``: positions of the primary key's columns, when the log says.

    ``problem``: why the columns (none, then) cannot be read; the table's name is right all the same, so that a table
    of no interest may be as strange as it likes.
    """

    table_id: int
    database: str
    table: str
    columns: tuple[LogColumn, ...]
    key: tuple[int, ...] | None = None
    problem: str = ""


def parse_table_map(body: bytes, flavour: Flavour) -> TableMap:
    """``body``: the event without its header and checksum.  Raises `MalformedEvent`."""
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
    _read_signedness(fields.get(_SIGNEDNESS), columns)
    _read_collations(fields.get(_DEFAULT_CHARSET), fields.get(_COLUMN_CHARSET), columns, _CHARACTER_OF[flavour])
    _read_collations(fields.get(_LIST_DEFAULT_CHARSET), fields.get(_LIST_COLUMN_CHARSET), columns, _LISTS)
    _read_names(fields.get(_COLUMN_NAME), columns)
    _read_members(fields.get(_SET_MEMBERS), columns, ColumnType.SET)
    _read_members(fields.get(_ENUM_MEMBERS), columns, ColumnType.ENUM)
    return _read_key(fields, len(columns))


def _read_signedness(field: EventCursor | None, columns: list[LogColumn]) -> None:
    """A bit for each numeric column, the first one in the highest bit; a year's means nothing."""
    if field is None:
        return
    numeric = _positions(columns, _NUMERIC)
    bits = field.take((len(numeric) + 7) // 8)
    for n, index in enumerate(numeric):
        if columns[index].type == ColumnType.YEAR:
            continue
        columns[index] = replace(columns[index], unsigned=bool(bits[n // 8] >> 7 - n % 8 & 1))


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


def _read_names(field: EventCursor | None, columns: list[LogColumn]) -> None:
    if field is None:
        return
    for index, column in enumerate(columns):
        columns[index] = replace(column, name=field.text(field.packed()))


def _read_members(field: EventCursor | None, columns: list[LogColumn], of_type: ColumnType) -> None:
    if field is None:
        return
    for index in _positions(columns, frozenset({of_type})):
        count = field.packed()
        if count > field.left:  # each takes a byte at least
            raise MalformedEvent("A table in the log has more members of an enumeration than bytes for them.")
        members = tuple(field.take(field.packed()) for _ in range(count))
        columns[index] = replace(columns[index], members=_texts(members, columns[index].collation))


def _texts(members: Sequence[bytes], collation: int | None) -> tuple[str, ...] | None:
    """Decode members from the column's own character set; None when that is not known."""
    charset = None if collation is None else charset_of(collation)
    decode = None if charset is None else text_decoder(charset)
    return None if decode is None else tuple(map(decode, members))


def _read_key(fields: Mapping[int, EventCursor], count: int) -> tuple[int, ...] | None:
    key: list[int] = []
    if _PRIMARY_KEY in fields:
        field = fields[_PRIMARY_KEY]
        while field.left:
            key.append(field.packed())
    elif _PREFIXED_KEY in fields:
        field = fields[_PREFIXED_KEY]
        while field.left:
            key.append(field.packed())
            field.packed()  # how much of the column counts, in bytes; 0: all of it
    if any(index >= count for index in key):
        raise MalformedEvent("A table in the log has a key on a column that it does not have.")
    if not key and _COLUMN_NAME not in fields:
        return None
    return tuple(key)


def _positions(columns: Sequence[LogColumn], types: frozenset[int]) -> list[int]:
    return [index for index, column in enumerate(columns) if column.type in types]
