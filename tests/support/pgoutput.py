"""Writes messages of pgoutput as a server does, from the protocol's description, for tests without a server."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cdc.capture.logical.transaction import UNCHANGED, Cell

INT4, TEXT, BOOL, FLOAT8 = 23, 25, 16, 701


def begin(lsn: int, xid: int = 7, micros: int = 0) -> bytes:
    return b"B" + struct.pack("!QqI", lsn, micros, xid)


def commit(lsn: int, end: int, micros: int = 0) -> bytes:
    return b"C" + struct.pack("!BQQq", 0, lsn, end, micros)


def relation(oid: int, table: str, columns: Sequence[tuple[str, int]], schema: str = "public") -> bytes:
    head = b"R" + struct.pack("!I", oid) + schema.encode() + b"\0" + table.encode() + b"\0f" + _count(columns)
    return head + b"".join(b"\1" + name.encode() + b"\0" + struct.pack("!Ii", type_, -1) for name, type_ in columns)


def insert(oid: int, *new: Cell) -> bytes:
    return b"I" + struct.pack("!I", oid) + b"N" + cells(new)


def update(oid: int, old: Sequence[Cell] | None, new: Sequence[Cell], kind: bytes = b"O") -> bytes:
    before = b"" if old is None else kind + cells(old)
    return b"U" + struct.pack("!I", oid) + before + b"N" + cells(new)


def delete(oid: int, *old: Cell, kind: bytes = b"O") -> bytes:
    return b"D" + struct.pack("!I", oid) + kind + cells(old)


def truncate(*oids: int) -> bytes:
    return b"T" + struct.pack("!IB", len(oids), 0) + struct.pack(f"!{len(oids)}I", *oids)


def cells(values: Sequence[Cell]) -> bytes:
    return _count(values) + b"".join(_cell(value) for value in values)


def _cell(value: Cell) -> bytes:
    if value is None:
        return b"n"
    if value is UNCHANGED:
        return b"u"
    assert isinstance(value, str)
    text = value.encode()
    return b"t" + struct.pack("!I", len(text)) + text


def _count(values: Sequence[object]) -> bytes:
    return struct.pack("!H", len(values))
