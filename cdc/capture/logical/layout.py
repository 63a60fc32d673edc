"""Decoding of one table's rows, by its last definition in the log: their names, types, key and secrets.

`SlotTables` adds what only the database knows: primary keys and names of types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from cdc.capture.logical.decode import Cells, Delete, Insert, RelationMessage, Unchanged, Update
from cdc.capture.postgres_catalogue import zone_of
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_types import Convert, PostgresType, Zone, converter, type_of
from cdc.database.sqlfile import load
from cdc.model.change import Operation, Row, RowChange, Value
from cdc.model.column import Capture, Table
from cdc.model.errors import MalformedEvent

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
    """``table``: the one that a partition belongs to.  ``names``: of all columns in order.  ``key``: names of the
    primary key's columns; None when it is not known for the table as it was.  ``shown``: positions of the columns that
    are not secret, in the table's order.  ``converts``: position → function.  ``leaves``: of a partition, as in
    `Parent`."""

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
        """``known``: position → value that is converted already; what is converted here is added."""
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
        if Unchanged.UNCHANGED in cells:
            raise UnknownRow
        return cells  # type: ignore[return-value]  # the check above leaves no UNCHANGED in it, which mypy cannot conclude

    def _count(self, cells: Cells) -> None:
        if len(cells) != len(self.names):
            raise MalformedEvent(
                f"A row of table {self.table} in the log has {len(cells)} values instead of {len(self.names)}."
            )


@dataclass(frozen=True, slots=True)
class Names:
    """Names that only the database knows.  ``types``: by OID.  ``zone``: its local time."""

    types: Mapping[int, PostgresType]
    zone: Zone


def layout_of(
    relation: RelationMessage,
    key: tuple[str, ...] | None,
    secrets: frozenset[str],
    known: Names,
    parent: Parent | None = None,
) -> SlotLayout:
    """``key``: the table's primary key as far as it is known; it is of no use when the table had no such columns.
    ``parent``: of a partition, which may have its columns in another order."""
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
    """``schema``: the one that has the ERP's tables."""

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
        await self._learn_types(relation)
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

    async def _learn_types(self, relation: RelationMessage) -> None:
        unknown = sorted({column.type for column in relation.columns} - self._types.keys())
        if unknown:
            records = await self._lookup.link.query(load("postgres/read/type_names.sql"), [unknown])
            self._types |= {oid: type_of(name, category) for oid, name, category in records}
