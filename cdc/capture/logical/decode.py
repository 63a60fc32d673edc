"""Bytes of pgoutput (protocol version 1) → messages.  Pure; any input gives messages or `MalformedEvent`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from cdc.model.errors import MalformedEvent


class Unchanged(Enum):
    """A value stored out of line that the change did not touch: the log does not repeat it."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
#: One column of a row: its text, NULL, or not repeated.
Cell = str | Unchanged | None
Cells = list[Cell]


@dataclass(frozen=True, slots=True)
class Begin:
    """``lsn``: of the commit; ``time``: of the commit, UTC."""

    lsn: int
    time: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.  ``end``: the LSN after it, where reading continues."""

    lsn: int
    end: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class RelationMessage:
    """A table as it is from here on."""

    oid: int
    schema: str
    table: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    relation: int
    new: Cells


@dataclass(frozen=True, slots=True)
class Update:
    """``old``: the whole row before, or (``key_only``) nothing but its replica identity; None when that is
    unchanged."""

    relation: int
    old: Cells | None
    key_only: bool
    new: Cells


@dataclass(frozen=True, slots=True)
class Delete:
    relation: int
    old: Cells
    key_only: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    relations: tuple[int, ...]


Change = Insert | Update | Delete | Truncate
Message = Begin | Commit | RelationMessage | Change


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BEGIN = struct.Struct("!QqI")
_COMMIT = struct.Struct("!BQQq")
_COLUMN = struct.Struct("!Ii")
_OID = struct.Struct("!I")
_COUNT = struct.Struct("!H")
_TEXT, _NULL, _UNCHANGED = b"tnu"
_NEW, _KEY, _OLD = b"NKO"


def decode(data: bytes) -> Message | None:
    """Decode a message; None for one that changes no row (type names, origins, messages that programs write into the
    log)."""
    try:
        read = _READERS[data[0]]
        message, end = read(data)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise _malformed() from error
    if end != len(data):
        raise _malformed()
    return message


def _malformed() -> MalformedEvent:
    return MalformedEvent(
        "A message of the replication slot is not what the protocol says.", "Is the server a PostgreSQL, 13 or later?"
    )


def _begin(data: bytes) -> tuple[Message, int]:
    lsn, micros, xid = _BEGIN.unpack_from(data, 1)
    return Begin(lsn, _EPOCH + timedelta(microseconds=micros), xid), 1 + _BEGIN.size


def _commit(data: bytes) -> tuple[Message, int]:
    _, lsn, end, _ = _COMMIT.unpack_from(data, 1)
    return Commit(lsn, end), 1 + _COMMIT.size


def _ignored(data: bytes) -> tuple[None, int]:
    return None, len(data)


def _relation(data: bytes) -> tuple[Message, int]:
    (oid,) = _OID.unpack_from(data, 1)
    schema, position = _name(data, 5)
    table, position = _name(data, position)
    (count,) = _COUNT.unpack_from(data, position + 1)  # behind the replica identity
    position += 3
    columns = []
    for _ in range(count):
        name, position = _name(data, position + 1)  # behind its flags
        type_, _ = _COLUMN.unpack_from(data, position)
        position += _COLUMN.size
        columns.append(RelationColumn(name, type_))
    return RelationMessage(oid, schema or "pg_catalog", table, tuple(columns)), position


def _insert(data: bytes) -> tuple[Message, int]:
    (relation,) = _OID.unpack_from(data, 1)
    new, position = _cells(data, _marked(data, 5, _NEW))
    return Insert(relation, new), position


def _update(data: bytes) -> tuple[Message, int]:
    (relation,) = _OID.unpack_from(data, 1)
    mark, position = data[5], 5
    old: Cells | None = None
    if mark in (_KEY, _OLD):
        old, position = _cells(data, 6)
    new, position = _cells(data, _marked(data, position, _NEW))
    return Update(relation, old, mark == _KEY, new), position


def _delete(data: bytes) -> tuple[Message, int]:
    (relation,) = _OID.unpack_from(data, 1)
    mark = data[5]
    if mark not in (_KEY, _OLD):
        raise _malformed()
    old, position = _cells(data, 6)
    return Delete(relation, old, mark == _KEY), position


def _truncate(data: bytes) -> tuple[Message, int]:
    (count,) = _OID.unpack_from(data, 1)
    position = 6  # behind the options
    if len(data) != position + 4 * count:
        raise _malformed()
    return Truncate(struct.unpack_from(f"!{count}I", data, position)), len(data)


def _marked(data: bytes, position: int, mark: int) -> int:
    if data[position] != mark:
        raise _malformed()
    return position + 1


def _name(data: bytes, position: int) -> tuple[str, int]:
    """A text that ends with a zero byte."""
    end = data.find(0, position)
    if end < 0:
        raise _malformed()
    return data[position:end].decode(), end + 1


def _cells(data: bytes, position: int) -> tuple[Cells, int]:
    (count,) = _COUNT.unpack_from(data, position)
    position += 2
    cells: Cells = []
    append = cells.append
    from_bytes = int.from_bytes
    for _ in range(count):
        mark = data[position]
        if mark == _TEXT:
            start = position + 5
            position = start + from_bytes(data[position + 1 : start], "big")
            append(data[start:position].decode())
        elif mark == _NULL:
            append(None)
            position += 1
        elif mark == _UNCHANGED:
            append(UNCHANGED)
            position += 1
        else:
            raise _malformed()
    if position > len(data):
        raise _malformed()
    return cells, position


_READERS: dict[int, Callable[[bytes], tuple[Message | None, int]]] = {
    ord("B"): _begin,
    ord("C"): _commit,
    ord("R"): _relation,
    ord("I"): _insert,
    ord("U"): _update,
    ord("D"): _delete,
    ord("T"): _truncate,
    ord("Y"): _ignored,
    ord("O"): _ignored,
    ord("M"): _ignored,
}
