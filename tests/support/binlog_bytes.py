"""TABLE_MAP and rows events of our own making: what servers write, for tables and rows that tests think up."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cdc.capture.binlog.event import LogColumn
from cdc.database.mysql_types import ColumnType

#: A value as stored, its length in front where it has one; None is NULL.
Stored = bytes | None
_META_BYTES = {
    **dict.fromkeys((ColumnType.FLOAT, ColumnType.DOUBLE, ColumnType.BLOB, ColumnType.JSON, ColumnType.GEOMETRY), 1),
    **dict.fromkeys((ColumnType.TIMESTAMP, ColumnType.DATETIME, ColumnType.TIME, ColumnType.VECTOR), 1),
    **dict.fromkeys((ColumnType.BLOB_COMPRESSED,), 1),
    **dict.fromkeys((ColumnType.VARCHAR, ColumnType.VARCHAR_COMPRESSED, ColumnType.VAR_STRING), 2),
}


def packed(number: int) -> bytes:
    """Return a number as a length-encoded integer."""
    if number <= 250:
        return bytes([number])
    return b"\xfc" + struct.pack("<H", number)


def bits(flags: Sequence[bool], rest: bool = False) -> bytes:
    """The first one in the lowest bit; ``rest``: what the bits are that stand for nothing."""
    filled = [*flags, *[rest] * (-len(flags) % 8)]
    return sum(1 << number for number, flag in enumerate(filled) if flag).to_bytes(len(filled) // 8, "little")


def _meta(column: LogColumn) -> tuple[int, bytes]:
    """(type byte, metadata)."""
    if column.type in (ColumnType.ENUM, ColumnType.SET):
        return ColumnType.STRING, bytes([column.type, column.meta])
    if column.type == ColumnType.STRING:
        return column.type, bytes([column.type ^ (column.meta >> 8 & 3) << 4, column.meta & 0xFF])
    if column.type == ColumnType.DECIMAL:
        return column.type, column.meta.to_bytes(2, "big")
    if column.type == ColumnType.BIT:
        return column.type, bytes([column.meta % 8, column.meta // 8])
    return column.type, column.meta.to_bytes(_META_BYTES.get(ColumnType(column.type), 0), "little")


def field(kind: int, content: bytes) -> bytes:
    """A part of the optional metadata."""
    return bytes([kind]) + packed(len(content)) + content


def table_map(columns: Sequence[LogColumn], optional: bytes = b"", *, database: str = "db", table: str = "t") -> bytes:
    types, metas = zip(*map(_meta, columns), strict=True)
    names = b"".join(bytes([len(name.encode())]) + name.encode() + b"\0" for name in (database, table))
    meta = b"".join(metas)
    nullable = bits([column.nullable for column in columns])
    return (
        b"\x07\0\0\0\0\0\x01\0"
        + names
        + packed(len(columns))
        + bytes(types)
        + packed(len(meta))
        + meta
        + nullable
        + optional
    )


def image(values: Sequence[Stored], rest: bool = False) -> bytes:
    return bits([value is None for value in values], rest) + b"".join(value for value in values if value is not None)


def rows(
    images: Sequence[Sequence[Stored]],
    count: int,
    *,
    version: int,
    update: bool = False,
    rest: bool = False,
    extra: bytes = b"",
) -> bytes:
    """``images``: in an update those before and after in turn.  ``extra``: the additional data of version 2."""
    head = b"\x07\0\0\0\0\0\x01\0" + (struct.pack("<H", 2 + len(extra)) + extra if version == 2 else b"")
    present = bits([True] * count, rest)
    return head + packed(count) + present * (2 if update else 1) + b"".join(image(values, rest) for values in images)
