"""Messages of a slot → the row changes of each committed transaction; before that, bytes of pgoutput (protocol version
1) → messages, pure: any input gives messages or `MalformedEvent`.

A table's rows are decoded by its last definition in the log: names, types, key and secrets.  `SlotTables` adds the
parts that only the database knows: primary keys and names of types.

A transaction is emitted whole when it has committed, between its Begin and its Commit.  Small ones are in memory, huge
ones on disk.  Its token names the transaction and the place of its commit; the ordinal of a change is its number among
all the changes of the transaction that the slot sends, captured or not: both depend on nothing but the log."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypeGuard

import structlog

from cdc.capture.logical.position import StoredCommit
from cdc.capture.postgres_catalogue import zone_of
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.capture.spool import Spool
from cdc.database.postgres_types import Convert, PostgresType, Zone, converter, type_of
from cdc.database.sqlfile import load
from cdc.model.change import Gap, Operation, Row, RowChange, Value
from cdc.model.column import Capture, Table
from cdc.model.errors import MalformedEvent


class Unchanged(Enum):
    """A value stored out of line that the change did not touch: the log does not repeat it."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
#: One column of a row: its text, NULL, or not repeated.
Cell = str | Unchanged | None
Cells = list[Cell]


def _is_whole(cells: Cells) -> TypeGuard[list[str | None]]:
    return Unchanged.UNCHANGED not in cells


@dataclass(frozen=True, slots=True)
class Begin:
    """The begin of a transaction.  ``lsn``: of the commit; ``time``: of the commit, UTC."""

    lsn: int
    time: datetime
    xid: int

    @property
    def commit(self) -> StoredCommit:
        """Return what a position holds of the transaction."""
        return StoredCommit(self.xid, self.lsn, round(self.time.timestamp() * 1_000_000))


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.  ``end``: the LSN after it, where reading continues."""

    lsn: int
    end: int


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column of a table.  ``type``: its OID."""

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
    """A new row."""

    relation: int
    new: Cells


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row.  ``old``: the whole row before, or (``key_only``) nothing but its replica identity; None when
    that is unchanged."""

    relation: int
    old: Cells | None
    key_only: bool
    new: Cells


@dataclass(frozen=True, slots=True)
class Delete:
    """A deleted row: whole, or (``key_only``) nothing but its replica identity."""

    relation: int
    old: Cells
    key_only: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    """A statement that emptied these tables."""

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
#: Kinds of messages.  Ignored are names of types, origins, and messages that programs write into the log.
_BEGIN_KIND, _COMMIT_KIND, _RELATION, _TRUNCATE, _INSERT, _DELETE = b"BCRTID"
_ROWS, _IGNORED = b"IUD", b"YOM"


def decode(data: bytes) -> Message | None:
    """Return the message; None for one that changes no row."""
    try:
        message, end = _parse(data)
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise _malformed() from error
    if end != len(data):
        raise _malformed()
    return message


def _malformed() -> MalformedEvent:
    return MalformedEvent(
        "A message of the replication slot is not what the protocol says.", "Is the server a PostgreSQL, 13 or later?"
    )


def _parse(data: bytes) -> tuple[Message | None, int]:
    """Return the message, and where it ends."""
    kind = data[0]
    if kind in _ROWS:
        (relation,) = _OID.unpack_from(data, 1)
        mark, position = data[5], 5
        old: Cells | None = None
        if kind != _INSERT and mark in (_KEY, _OLD):
            old, position = _cells(data, 6)
        if kind == _DELETE:
            if old is None:
                raise _malformed()
            return Delete(relation, old, mark == _KEY), position
        if data[position] != _NEW:
            raise _malformed()
        new, position = _cells(data, position + 1)
        return Insert(relation, new) if kind == _INSERT else Update(relation, old, mark == _KEY, new), position
    if kind == _BEGIN_KIND:
        lsn, micros, xid = _BEGIN.unpack_from(data, 1)
        return Begin(lsn, _EPOCH + timedelta(microseconds=micros), xid), 1 + _BEGIN.size
    if kind == _COMMIT_KIND:
        _, lsn, end, _ = _COMMIT.unpack_from(data, 1)
        return Commit(lsn, end), 1 + _COMMIT.size
    if kind == _RELATION:
        return _relation(data)
    if kind == _TRUNCATE:
        (count,) = _OID.unpack_from(data, 1)
        position = 6  # after the options
        if len(data) != position + 4 * count:
            raise _malformed()
        return Truncate(struct.unpack_from(f"!{count}I", data, position)), len(data)
    if kind in _IGNORED:
        return None, len(data)
    raise _malformed()


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


_NOTHING: frozenset[str] = frozenset()


class UnknownRow(Exception):
    """The log does not hold the whole of a row (its table's replica identity is not FULL), or no key that is known."""


@dataclass(frozen=True, slots=True)
class Parent:
    """The table of which another one is a partition, and the OIDs of all its partitions that hold rows."""

    table: Table
    leaves: frozenset[int]


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """A way to read the rows of a table.  ``table``: the one that a partition belongs to.  ``names``: of all columns
    in order.  ``key``: names of the primary key's columns; None when it is not known for the table as it was.
    ``shown``: positions of the columns that are not secret, in the table's order.  ``converts``: position →
    function.  ``leaves``: of a partition, as in `Parent`."""

    table: str
    names: tuple[str, ...]
    key: tuple[str, ...] | None
    shown: tuple[int, ...]
    secrets: tuple[int, ...]
    converts: tuple[tuple[int, Convert], ...]
    leaves: frozenset[int] = frozenset()

    def change(self, message: Insert | Update | Delete, time: datetime, ordinal: int) -> RowChange | None:
        """Return the row change; None when the row did not change.  Raises `UnknownRow`."""
        if self.key is None:
            raise UnknownRow
        match message:
            case Insert(new=new):
                after = self._row(self._whole(new), {})
                return RowChange(Operation.CREATE, self.table, self._key(after), None, after, time, ordinal)
            case Delete(old=old, key_only=False):
                before = self._row(self._whole(old), {})
                return RowChange(Operation.DELETE, self.table, self._key(before), before, None, time, ordinal)
            case Update(old=list() as old, key_only=False, new=new):
                return self._update(self._whole(old), new, time, ordinal)
        raise UnknownRow

    def deleted(self, message: Delete, time: datetime, ordinal: int) -> RowChange | None:
        """The delete of a row of which the log holds the key only; None when it holds no key that is known."""
        if self.key is None:
            return None
        key = self._key(self._row(self._whole(message.old), {}))
        if any(value is None for value in key.values()):
            return None
        return RowChange(Operation.DELETE, self.table, key, key, None, time, ordinal)

    def _update(self, old: list[str | None], new: Cells, time: datetime, ordinal: int) -> RowChange | None:
        self._count(new)
        whole = [was if now is Unchanged.UNCHANGED else now for was, now in zip(old, new, strict=True)]
        if whole == old:
            return None
        converted: dict[int, Value] = {}
        before = self._row(old, converted)
        same = {place: value for place, value in converted.items() if old[place] == whole[place]}
        after = self._row(whole, same)
        changed = _NOTHING
        if self.secrets:
            changed = frozenset(self.names[place] for place in self.secrets if old[place] != whole[place])
        return RowChange(Operation.UPDATE, self.table, self._key(after), before, after, time, ordinal, changed)

    def _row(self, cells: Sequence[str | None], known: dict[int, Value]) -> dict[str, Value]:
        """Return the row.  ``known``: position → value that is converted already; what is converted here is added."""
        values: list[Value] = list(cells)
        for place, convert in self.converts:
            text = cells[place]
            if text is None:
                continue
            if place not in known:
                known[place] = convert(text)
            values[place] = known[place]
        if not self.secrets and not self.leaves:
            return dict(zip(self.names, values, strict=True))
        return {self.names[place]: values[place] for place in self.shown}

    def _key(self, row: Row) -> Row:
        return {name: row[name] for name in self.key or ()}

    def _whole(self, cells: Cells) -> list[str | None]:
        """Raises `UnknownRow` when a value is not there."""
        self._count(cells)
        if not _is_whole(cells):
            raise UnknownRow
        return cells

    def _count(self, cells: Cells) -> None:
        if len(cells) != len(self.names):
            raise MalformedEvent(
                f"A row of table {self.table} in the log has {len(cells)} values instead of {len(self.names)}."
            )


@dataclass(frozen=True, slots=True)
class Names:
    """The names that only the database knows.  ``types``: by OID.  ``zone``: its local time."""

    types: Mapping[int, PostgresType]
    zone: Zone


def layout_of(
    relation: RelationMessage,
    key: tuple[str, ...] | None,
    secrets: frozenset[str],
    known: Names,
    parent: Parent | None = None,
) -> SlotLayout:
    """Return the layout of a table's rows.  ``key``: the table's primary key as far as it is known; it is of no use
    when the table had no such columns. ``parent``: of a partition, which may have its columns in another order."""
    names = tuple(column.name for column in relation.columns)
    usable = key if key and all(name in names and name not in secrets for name in key) else None
    converts = tuple(
        (place, convert)
        for place, column in enumerate(relation.columns)
        if column.name not in secrets and (convert := converter(known.types.get(column.type), known.zone)) is not None
    )
    order = {column.name: number for number, column in enumerate(parent.table.columns)} if parent is not None else {}
    places = sorted(range(len(names)), key=lambda place: order.get(names[place], len(names)))
    return SlotLayout(
        table=relation.table if parent is None else parent.table.name,
        names=names,
        key=usable,
        shown=tuple(place for place in places if names[place] not in secrets),
        secrets=tuple(place for place in places if names[place] in secrets),
        converts=converts,
        leaves=frozenset() if parent is None else parent.leaves,
    )


log = structlog.get_logger()


class SlotTables:
    """Makes the layouts of tables in the log.  ``schema``: the one that has the ERP's tables."""

    def __init__(self, lookup: PostgresLookup, captures: Mapping[str, Capture], schema: str) -> None:
        self._lookup = lookup
        self._captures = captures
        self._schema = schema
        self._types: dict[int, PostgresType] = {}
        self._keys: dict[int, tuple[str, ...]] = {}

    async def layout(self, relation: RelationMessage) -> SlotLayout | None:
        """Return the table's layout; None for one that is not captured.

        The key is today's primary key.  Where the table had no such columns at this place of the log (one was renamed
        later), it is the last key seen in the log; else it is not known.
        """
        await self._lookup.read_catalogue()
        parent = await self._parent(relation)
        capture = self._captures.get(relation.table if parent is None else parent.table.name)
        if capture is None or (parent is None and relation.schema != self._schema):
            log.warning("not captured", table=relation.table, reason="it is published, but no rule needs it")
            return None
        if unknown := sorted({column.type for column in relation.columns} - self._types.keys()):
            records = await self._lookup.link.query(load("postgres/read/type_names.sql"), [unknown])
            self._types |= {oid: type_of(name, category) for oid, name, category in records}
        names = Names(self._types, lambda: zone_of(self._lookup.zone))
        key = self._key(relation, capture.table)
        hidden = capture.hidden.of([column.name for column in relation.columns], key or ())
        layout = layout_of(relation, key, hidden, names, parent)
        if layout.key is not None:
            self._keys[relation.oid] = layout.key
        return layout

    async def _parent(self, relation: RelationMessage) -> Parent | None:
        """The captured table of which this is a partition."""
        layouts = self._lookup.catalogue.layouts
        if relation.schema == self._schema and relation.table in self._captures:
            return None
        captured = [name for name in layouts if name in self._captures]
        records = await self._lookup.link.query(load("postgres/slot/partitions.sql"), [self._schema, captured])
        of = {oid: table for oid, table, _ in records}
        if relation.oid not in of:
            return None
        table = of[relation.oid]
        leaves = frozenset(oid for oid, name, is_leaf in records if name == table and is_leaf)
        return Parent(layouts[table].table, leaves)

    def _key(self, relation: RelationMessage, table: str) -> tuple[str, ...] | None:
        now = self._lookup.catalogue.layouts.get(table)
        key = now.table.key if now is not None else ()
        known = bool(key) and {column.name for column in relation.columns}.issuperset(key)
        return key if known else self._keys.get(relation.oid)


#: The layout of a table from here on; None when it is not captured.
Layouts = Callable[[RelationMessage], Awaitable[SlotLayout | None]]
#: Bytes of messages that one transaction may have in memory.
_HUGE_BYTES = 16 << 20


@dataclass
class SlotTransaction:
    """One transaction.  ``name``: identifies it.  ``end``: the LSN behind its commit.  ``count`` and ``size``: all the
    changes that the slot sent of it, and the bytes of its messages.  ``spool`` holds the changes of a huge one; its
    reader closes it."""

    token: str
    time: datetime
    name: StoredCommit
    end: int = 0
    changes: list[RowChange] = field(default_factory=list)
    spool: Spool | None = None
    gaps: dict[str, Gap] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    @property
    def rows(self) -> int:
        return len(self.changes) if self.spool is None else self.spool.count


_OPERATIONS = {Insert: Operation.CREATE, Update: Operation.UPDATE, Delete: Operation.DELETE}


class Assembler:
    """Makes transactions of messages.  ``huge``: changes that a transaction may have in memory.  ``seen``: what
    committed before this LSN is passed over."""

    def __init__(self, layouts: Layouts, huge: int, seen: int) -> None:
        self._layouts = layouts
        self._huge = huge
        self._seen = seen
        self._known: dict[int, SlotLayout | None] = {}
        self._open: SlotTransaction | None = None
        self._passing = False

    @property
    def under_way(self) -> bool:
        """Return whether a transaction has begun and not ended."""
        return self._open is not None

    async def add(self, message: Message, size: int) -> SlotTransaction | None:
        """The transaction that this message ends, if it does.  ``size``: of the message, in bytes."""
        if isinstance(message, RelationMessage):
            self._known[message.oid] = await self._layouts(message)
            return None
        current = self._open
        if isinstance(message, Begin) and current is None:
            self._passing = message.lsn < self._seen
            self._open = SlotTransaction(f"{message.xid}.{message.lsn}", message.time, message.commit)
            return None
        if isinstance(message, Begin) or current is None:
            raise MalformedEvent("The replication slot does not send transactions one after the other.")
        if isinstance(message, Commit):
            self._open, current.end = None, message.end
            if self._passing:
                return None
            self._seen = message.end
            return current
        current.size += size
        if not self._passing:
            self._change(message, current)
        return None

    def close(self) -> None:
        if self._open is not None and self._open.spool is not None:
            self._open.spool.close()
        self._open = None

    def _change(self, message: Change, current: SlotTransaction) -> None:
        if isinstance(message, Truncate):
            self._truncate(message, current)
            return
        ordinal = current.count
        current.count += 1
        layout = self._layout(message.relation)
        if layout is None:
            return
        try:
            change = layout.change(message, current.time, ordinal)
        except UnknownRow:
            current.gaps.setdefault(layout.table, Gap(layout.table, _OPERATIONS[type(message)], current.time))
            change = layout.deleted(message, current.time, ordinal) if isinstance(message, Delete) else None
        if change is not None:
            self._keep(change, current)

    def _truncate(self, message: Truncate, current: SlotTransaction) -> None:
        """Add a TRUNCATE.  Where only some of a table's partitions are emptied, the deleted rows are a gap."""
        emptied = set(message.relations)
        handled: set[str] = set()
        for relation in message.relations:
            ordinal = current.count
            current.count += 1
            layout = self._layout(relation)
            if layout is None or layout.table in handled:
                continue
            handled.add(layout.table)
            if layout.leaves <= emptied:
                self._keep(RowChange(Operation.TRUNCATE, layout.table, {}, None, None, current.time, ordinal), current)
            else:
                current.gaps.setdefault(layout.table, Gap(layout.table, Operation.TRUNCATE, current.time))

    def _layout(self, relation: int) -> SlotLayout | None:
        if relation not in self._known:
            raise MalformedEvent("The replication slot sent a row of a table that it did not announce.")
        return self._known[relation]

    def _keep(self, change: RowChange, current: SlotTransaction) -> None:
        if current.spool is not None:
            current.spool.add(change)
            return
        current.changes.append(change)
        if len(current.changes) > self._huge or current.size > _HUGE_BYTES:
            current.spool = Spool()
            for each in current.changes:
                current.spool.add(each)
            current.changes.clear()
