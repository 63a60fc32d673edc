"""What mapping must know beyond the changes themselves: rows as they are in the database now.

The request is computed from a batch (pure), gathered here, and handed to mapping (pure), where `cdc.mapping.history`
goes back from now to each transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdc.mapping.catalogue import MEMBERS_TABLE
from cdc.mapping.entity import Child
from cdc.mapping.rule import STATE_COLUMN, STATE_TABLE
from cdc.model.change import Row, Value
from cdc.model.column import Table

#: How many values one look-up names at most.
CHUNK = 500


class FactLookup(Protocol):
    """Rows as they are now, in normal form, secret columns absent, in primary key order."""

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]: ...

    async def all_rows(self, table: str) -> list[Row]: ...

    async def tables(self) -> Mapping[str, Table]: ...


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """``states``: document states by id; ``members``: all rows of ``roles_users``; ``children``: of which keys the
    rows; ``documents``: table → keys (of one column) of the rows."""

    states: frozenset[Value] = frozenset()
    members: bool = False
    children: Mapping[Child, frozenset[Value]] = field(default_factory=dict)
    documents: Mapping[str, frozenset[Value]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.states or self.members or self.children or self.documents)


@dataclass(frozen=True, slots=True)
class Facts:
    """``states``: id → row; ``members``: rows of ``roles_users``, None where they were not read; ``children``: child →
    owner's key → rows; ``documents``: table → its key column and, by key, its rows."""

    states: Mapping[Value, Row] = field(default_factory=dict)
    members: list[Row] | None = None
    children: Mapping[Child, Mapping[Value, list[Row]]] = field(default_factory=dict)
    documents: Mapping[str, tuple[str, Mapping[Value, Row]]] = field(default_factory=dict)


NO_FACTS = Facts()


async def gather_facts(request: FactsRequest, lookup: FactLookup, keys: dict[str, str] | None = None) -> Facts:
    """No I/O when nothing is asked.  ``keys``: table → its key column, remembered from call to call."""
    if request.empty:
        return NO_FACTS
    states = await _rows(lookup, STATE_TABLE, STATE_COLUMN, request.states)
    children = {
        child: _grouped(await _rows(lookup, child.table, child.column, owners), child.column)
        for child, owners in request.children.items()
    }
    return Facts(
        states={row[STATE_COLUMN]: row for row in states},
        members=await lookup.all_rows(MEMBERS_TABLE) if request.members else None,
        children=children,
        documents=await _documents(request.documents, lookup, {} if keys is None else keys),
    )


async def _documents(
    wanted: Mapping[str, frozenset[Value]], lookup: FactLookup, keys: dict[str, str]
) -> dict[str, tuple[str, Mapping[Value, Row]]]:
    """Tables that are gone, or whose key has several columns, are left out."""
    if wanted.keys() - keys.keys():
        keys |= {name: table.key[0] for name, table in (await lookup.tables()).items() if len(table.key) == 1}
    found: dict[str, tuple[str, Mapping[Value, Row]]] = {}
    for table, values in wanted.items():
        if table in keys:
            rows = await _rows(lookup, table, keys[table], values)
            found[table] = keys[table], {row[keys[table]]: row for row in rows}
    return found


async def _rows(lookup: FactLookup, table: str, column: str, values: Iterable[Value]) -> list[Row]:
    wanted = sorted(values, key=lambda value: (str(type(value)), value))
    rows: list[Row] = []
    for start in range(0, len(wanted), CHUNK):
        rows += await lookup.rows(table, column, wanted[start : start + CHUNK])
    return rows


def _grouped(rows: Iterable[Row], column: str) -> dict[Value, list[Row]]:
    groups: dict[Value, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups
