"""Metadata of columns in table maps, by type."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdc.capture.binlog.cursor import EventCursor
from cdc.database.mysql_types import ColumnType

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
