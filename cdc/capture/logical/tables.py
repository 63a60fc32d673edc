"""The layouts of tables in the log, completed with what only the database knows: primary keys and names of types."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from cdc.capture.logical.decode import Relation
from cdc.capture.logical.layout import Names, Parent, SlotLayout, layout_of
from cdc.capture.postgres_catalogue import zone_of
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_types import PostgresType, type_of
from cdc.model.column import Capture
from cdc.sqlfile import load

log = structlog.get_logger()


class SlotTables:
    """``schema``: the one that has the ERP's tables."""

    def __init__(self, lookup: PostgresLookup, captures: Mapping[str, Capture], schema: str) -> None:
        self._lookup = lookup
        self._captures = captures
        self._schema = schema
        self._types: dict[int, PostgresType] = {}
        self._keys: dict[int, tuple[str, ...]] = {}

    async def layout(self, relation: Relation) -> SlotLayout | None:
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

    async def _parent(self, relation: Relation) -> Parent | None:
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

    def _key(self, relation: Relation, table: str) -> tuple[str, ...] | None:
        now = self._lookup.catalogue.layouts.get(table)
        key = now.table.key if now is not None else ()
        known = bool(key) and {column.name for column in relation.columns}.issuperset(key)
        return key if known else self._keys.get(relation.oid)

    async def _learn_types(self, relation: Relation) -> None:
        unknown = sorted({column.type for column in relation.columns} - self._types.keys())
        if unknown:
            records = await self._lookup.link.query(load("postgres/read/type_names.sql"), [unknown])
            self._types |= {oid: type_of(name, category) for oid, name, category in records}
