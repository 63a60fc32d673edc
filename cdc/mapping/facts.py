"""Facts that mapping needs beyond the changes themselves: rows as they are in the database now.

The request is computed from a batch (pure), gathered here, and handed to mapping (pure).  What can be read is how rows
are now, when all transactions of the batch, and perhaps more, have happened.  `History` goes back from there to each
transaction: it undoes the changes of the batch's later transactions, and puts those of the transaction itself on top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Protocol

from cdc.mapping.catalogue import MEMBERS_TABLE
from cdc.mapping.merge import MergedChange
from cdc.mapping.rule import STATE_COLUMN, STATE_TABLE, TRANSFORMATIONS, Child, Path, linked
from cdc.model.change import Operation, Row, Value
from cdc.model.column import Table

#: How many values one look-up names at most.
CHUNK = 500


class FactLookup(Protocol):
    """Rows as they are now, in normal form, secret columns absent, in primary key order."""

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]: ...

    async def all_rows(self, table: str) -> list[Row]: ...

    async def tables(self) -> Mapping[str, Table]: ...


@dataclass(slots=True)
class FactsRequest:
    """``states``: document states by id; ``members``: all rows of ``roles_users``; ``children``: of which keys the
    rows; ``documents``: table → keys (of one column) of the rows; ``paths``: way to related records → keys of the first
    table on it; ``models``: model of a document → its table, where the rows of `TRANSFORMATIONS` lead to more."""

    states: set[Value] = field(default_factory=set)
    members: bool = False
    children: defaultdict[Child, set[Value]] = field(default_factory=partial(defaultdict, set))
    documents: defaultdict[str, set[Value]] = field(default_factory=partial(defaultdict, set))
    paths: defaultdict[Path, set[Value]] = field(default_factory=partial(defaultdict, set))
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """``states``: id → row; ``members``: rows of ``roles_users``, None where they were not read; ``children``: child →
    owner's key → rows; ``documents``: table → its key column and, by key, its rows."""

    states: Mapping[Value, Row] = field(default_factory=dict)
    members: list[Row] | None = None
    children: Mapping[Child, Mapping[Value, list[Row]]] = field(default_factory=dict)
    documents: Mapping[str, tuple[str, Mapping[Value, Row]]] = field(default_factory=dict)


NO_FACTS = Facts()


async def gather_facts(request: FactsRequest, lookup: FactLookup, keys: dict[str, str]) -> Facts:
    """Read the facts.  ``keys``: table → its key column, remembered from call to call."""
    states = await _rows(lookup, STATE_TABLE, STATE_COLUMN, request.states)
    # Children in the same column are read at once.
    owners: defaultdict[tuple[str, str], set[Value]] = defaultdict(set)
    for child, values in request.children.items():
        owners[child.table, child.column] |= values
    read = {place: await _rows(lookup, *place, values) for place, values in owners.items()}
    children: dict[Child, dict[Value, list[Row]]] = {}
    for child in request.children:
        groups = children[child] = {}
        for row in read[child.table, child.column]:
            groups.setdefault(child.owner_of(row), []).append(row)
    steps: dict[Path, set[Value]] = {path: set(values) for path, values in request.paths.items()}
    for table, values in request.documents.items():
        steps.setdefault((("", table),), set()).update(values)
    for child, groups in children.items() if request.models else ():
        for row in (row for rows in groups.values() for row in rows if child.table == TRANSFORMATIONS):
            for table, key in filter(None, (linked(row, side, request.models) for side in "12")):
                steps.setdefault((("", table),), set()).add(key)
    return Facts(
        states={row[STATE_COLUMN]: row for row in states},
        members=await lookup.all_rows(MEMBERS_TABLE) if request.members else None,
        children=children,
        documents=await _records(steps, lookup, keys),
    )


async def _records(
    steps: dict[Path, set[Value]], lookup: FactLookup, keys: dict[str, str]
) -> dict[str, tuple[str, Mapping[Value, Row]]]:
    """Read the records on these ways, a step of all ways at a time.  Tables that are gone or not captured, or whose key
    has several columns, are left out."""
    if {table for path in steps for _, table in path} - keys.keys():
        keys |= {name: table.key[0] for name, table in (await lookup.tables()).items() if len(table.key) == 1}
    found: dict[str, tuple[str, dict[Value, Row]]] = {}
    while steps:
        asked: defaultdict[str, set[Value]] = defaultdict(set)
        for path, values in steps.items():
            asked[path[0][1]] |= values - {None}
        for table, values in asked.items():
            if table in keys:
                column, known = found.setdefault(table, (keys[table], {}))
                known |= {row[column]: row for row in await _rows(lookup, table, column, values - known.keys())}
        following: defaultdict[Path, set[Value]] = defaultdict(set)
        for path, values in steps.items():
            _, known = found.get(path[0][1], ("", {}))
            if path[1:]:
                column = path[1][0]
                following[path[1:]] |= {known[value].get(column) for value in values if value in known}
        steps = following
    return dict(found)


async def _rows(lookup: FactLookup, table: str, column: str, values: Iterable[Value]) -> list[Row]:
    asked = sorted(values, key=lambda value: (str(type(value)), value))
    rows: list[Row] = []
    for start in range(0, len(asked), CHUNK):
        rows += await lookup.rows(table, column, asked[start : start + CHUNK])
    return rows


Key = tuple[Value, ...]
Dated = tuple[int, MergedChange]


class History:
    """The merged changes of a batch, one sequence a transaction; the index of a transaction is its time."""

    def __init__(self, batch: Sequence[Sequence[MergedChange]]) -> None:
        self._batch = batch
        self._changes: dict[Child, dict[Value, list[Dated]]] = {}
        self._records: dict[str, dict[Value, list[Dated]]] = {}

    def rows(self, time: int, child: Child, owner: Value, live: Iterable[Row], *, committed: bool = True) -> list[Row]:
        """Return the owner's rows when transaction ``time`` had committed, or began; in primary key order if it had any
        changes."""
        changes = self._of(child, owner)
        if not changes:
            return list(live)
        columns = tuple(changes[0][1].key)
        rows: dict[Key, Row] = {tuple(row[column] for column in columns): row for row in live}
        for when, dated in groupby(reversed(changes), key=itemgetter(0)):
            if when < time:
                continue
            # The rows become what they were before this transaction, or after it; it may have exchanged keys.
            images = [(change.before, change.after) for _, change in dated]
            for image in chain.from_iterable(images):
                if image is not None:
                    rows.pop(tuple(image[column] for column in columns), None)
            for before, after in images:
                image = after if when == time and committed else before
                if image is not None and child.owner_of(image) == owner:
                    rows[tuple(image[column] for column in columns)] = image
        return [rows[key] for key in sorted(rows, key=lambda key: [(not isinstance(v, int | float), v) for v in key])]

    def record(self, time: int, table: str, key: Value, *, gone: bool = False) -> tuple[str, Row | None] | None:
        """Return the key column of ``table``, and the row with this key when transaction ``time`` had committed (None:
        there was none), as far as the batch shows it; None where the batch does not change the record.  ``gone``: of a
        row that the transaction itself deleted, the row as it was."""
        if table not in self._records:
            keys = self._records[table] = {}
            for when, changes in enumerate(self._batch):
                for change in changes:
                    if change.table == table and len(change.key) == 1 and change.operation is not Operation.READ:
                        for each in {*(change.former_key or change.key).values(), *change.key.values()}:
                            keys.setdefault(each, []).append((when, change))
        dated = self._records[table].get(key, [])
        if not dated:
            return None
        column = next(iter(dated[0][1].key))
        latest = max((when for when, _ in dated if when <= time), default=None)
        first = dated[0][0]
        images = [
            change.before if latest is None else change.after
            for when, change in dated
            if when == (first if latest is None else latest)
        ]
        images += [change.before for when, change in dated if when == time] if gone else []
        return column, next((image for image in images if image is not None and image.get(column) == key), None)

    def deleted(self, time: int, child: Child, owner: Value) -> list[Row]:
        """Return the owner's rows that transaction ``time`` deleted, as they were."""
        changes = (change for when, change in self._of(child, owner) if when == time)
        gone = (change.before for change in changes if change.operation is Operation.DELETE)
        return [row for row in gone if row is not None and child.owner_of(row) == owner]

    def _of(self, child: Child, owner: Value) -> list[Dated]:
        """Return the changes of rows that were, or became, the owner's."""
        if child not in self._changes:
            owners = self._changes[child] = {}
            for time, changes in enumerate(self._batch):
                for change in changes:
                    if change.table == child.table and change.operation not in (Operation.READ, Operation.TRUNCATE):
                        images = [image for image in (change.before, change.after) if image is not None]
                        for each in dict.fromkeys(map(child.owner_of, images)):
                            owners.setdefault(each, []).append((time, change))
        return self._changes[child].get(owner, [])
