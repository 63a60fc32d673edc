"""What mapping must know beyond the changes themselves: rows as they are in the database now.

The request is computed from a batch (pure), gathered here, and handed to mapping (pure), where `cdc.mapping.history`
goes back from now to each transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdc.change import Row, Value
from cdc.mapping.catalogue import MEMBERS_TABLE
from cdc.mapping.entity import Child
from cdc.mapping.rule import STATE_COLUMN, STATE_TABLE

#: How many values one look-up names at most.
CHUNK = 500


class Lookup(Protocol):
    """Rows as they are now, in normal form, secret columns absent, in primary key order."""

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]: ...

    async def all_rows(self, table: str) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """``states``: document states by id; ``roles``: whose members; ``children``: of which keys the rows."""

    states: frozenset[Value] = frozenset()
    roles: frozenset[Value] = frozenset()
    children: Mapping[Child, frozenset[Value]] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.states or self.roles or self.children)


@dataclass(frozen=True, slots=True)
class Facts:
    """``states``: id → row; ``members``: role → rows of ``roles_users``; ``children``: child → owner's key → rows."""

    states: Mapping[Value, Row] = field(default_factory=dict)
    members: Mapping[Value, list[Row]] = field(default_factory=dict)
    children: Mapping[Child, Mapping[Value, list[Row]]] = field(default_factory=dict)


NO_FACTS = Facts()


async def gather_facts(request: FactsRequest, lookup: Lookup) -> Facts:
    """No I/O when nothing is asked."""
    if request.empty:
        return NO_FACTS
    states = await _rows(lookup, STATE_TABLE, STATE_COLUMN, request.states)
    members = await _rows(lookup, MEMBERS_TABLE, "codrole", request.roles)
    children = {
        child: _grouped(await _rows(lookup, child.table, child.column, keys), child.column)
        for child, keys in request.children.items()
    }
    return Facts(
        states={row[STATE_COLUMN]: row for row in states},
        members=_grouped(members, "codrole"),
        children=children,
    )


async def _rows(lookup: Lookup, table: str, column: str, values: Iterable[Value]) -> list[Row]:
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
