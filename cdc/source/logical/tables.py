"""The layouts of tables as the log tells of them, with what only the database knows: primary keys and names of
types."""

from __future__ import annotations

from cdc.column import Capture
from cdc.source.logical.layout import Layout, layout_of
from cdc.source.logical.message import Relation
from cdc.source.logical.value import TypeName
from cdc.source.postgres_catalogue import zone_of
from cdc.source.postgres_lookup import PostgresLookup
from cdc.sqlfile import load


class LogTables:
    """``schema``: the one that has the ERP's tables."""

    def __init__(self, lookup: PostgresLookup, captures: dict[str, Capture], schema: str) -> None:
        self._lookup = lookup
        self._captures = captures
        self._schema = schema
        self._types: dict[int, TypeName] = {}
        self._keys: dict[int, tuple[str, ...]] = {}

    async def layout(self, relation: Relation) -> Layout | None:
        """None for a table that is not wanted.

        The key is the primary key of now.  Where the table had no such columns at this place of the log (one was
        renamed further on), it is the key that the table had when it was last told of; else it is not known.
        """
        capture = self._captures.get(relation.table)
        if capture is None or relation.schema != self._schema:
            return None
        await self._lookup.read_catalogue()
        await self._learn_types(relation)
        names = {column.name for column in relation.columns}
        now = self._lookup.catalogue.layouts.get(relation.table)
        key = now.table.key if now is not None else None
        if not key or not names.issuperset(key):
            key = self._keys.get(relation.oid)
        layout = layout_of(relation, key, capture.secrets, self._types, lambda: zone_of(self._lookup.zone))
        if layout.key is not None:
            self._keys[relation.oid] = layout.key
        return layout

    async def _learn_types(self, relation: Relation) -> None:
        unknown = sorted({column.type for column in relation.columns} - self._types.keys())
        if unknown:
            records = await self._lookup.link.query(load("postgres/read/type_names.sql"), [unknown])
            self._types |= {oid: TypeName(name, category) for oid, name, category in records}
