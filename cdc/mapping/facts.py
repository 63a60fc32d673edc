"""Facts that mapping needs beyond the changes themselves: rows as they are in the database now.

The request is computed from a batch (pure), gathered here, and handed to mapping (pure).  What can be read is how rows
are now, when all transactions of the batch, and perhaps more, have happened.  `History` goes back from there to each
transaction: it undoes the changes of the batch's later transactions, and puts those of the transaction itself on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class FactsRequest:
    """``states``: document states by id; ``members``: all rows of ``roles_users``; ``children``: of which keys the
    rows; ``documents``: table → keys (of one column) of the rows; ``paths``: way to related records → keys of the first
    table on it; ``models``: model of a document → its table, where the rows of `TRANSFORMATIONS` lead to more."""

    states: frozenset[Value] = frozenset()
    members: bool = False
    children: Mapping[Child, frozenset[Value]] = field(default_factory=dict)
    documents: Mapping[str, frozenset[Value]] = field(default_factory=dict)
    paths: Mapping[Path, frozenset[Value]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.states or self.members or self.children or self.documents or self.paths)


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
    children = await _children(request.children, lookup)
    steps: dict[Path, set[Value]] = {path: set(values) for path, values in request.paths.items()}
    for table, values in request.documents.items():
        steps.setdefault((("", table),), set()).update(values)
    for child, owned in children.items() if request.models else ():
        for row in (row for rows in owned.values() for row in rows if child.table == TRANSFORMATIONS):
            for table, key in filter(None, (linked(row, side, request.models) for side in "12")):
                steps.setdefault((("", table),), set()).add(key)
    return Facts(
        states={row[STATE_COLUMN]: row for row in states},
        members=await lookup.all_rows(MEMBERS_TABLE) if request.members else None,
        children=children,
        documents=await _records(steps, lookup, {} if keys is None else keys),
    )


async def _children(
    asked: Mapping[Child, frozenset[Value]], lookup: FactLookup
) -> dict[Child, Mapping[Value, list[Row]]]:
    """Children in the same column are read at once."""
    owners: dict[tuple[str, str], set[Value]] = {}
    for child, values in asked.items():
        owners.setdefault((child.table, child.column), set()).update(values)
    rows = {place: await _rows(lookup, *place, values) for place, values in owners.items()}
    return {child: _grouped(rows[child.table, child.column], child) for child in asked}


async def _records(
    steps: dict[Path, set[Value]], lookup: FactLookup, keys: dict[str, str]
) -> dict[str, tuple[str, Mapping[Value, Row]]]:
    """Read the records on these ways, a step of all ways at a time.  Tables that are gone or not captured, or whose key
    has several columns, are left out."""
    if {table for path in steps for _, table in path} - keys.keys():
        keys |= {name: table.key[0] for name, table in (await lookup.tables()).items() if len(table.key) == 1}
    found: dict[str, tuple[str, dict[Value, Row]]] = {}
    while steps:
        asked: dict[str, set[Value]] = {}
        for path, values in steps.items():
            asked.setdefault(path[0][1], set()).update(values - {None})
        for table, values in asked.items():
            if table in keys:
                column, known = found.setdefault(table, (keys[table], {}))
                known |= {row[column]: row for row in await _rows(lookup, table, column, values - known.keys())}
        following: dict[Path, set[Value]] = {}
        for path, values in steps.items():
            _, known = found.get(path[0][1], ("", {}))
            if path[1:]:
                column = path[1][0]
                rows = (known[value] for value in values if value in known)
                following.setdefault(path[1:], set()).update(row.get(column) for row in rows)
        steps = following
    return dict(found)


async def _rows(lookup: FactLookup, table: str, column: str, values: Iterable[Value]) -> list[Row]:
    wanted = sorted(values, key=lambda value: (str(type(value)), value))
    rows: list[Row] = []
    for start in range(0, len(wanted), CHUNK):
        rows += await lookup.rows(table, column, wanted[start : start + CHUNK])
    return rows


def _grouped(rows: Iterable[Row], child: Child) -> dict[Value, list[Row]]:
    groups: dict[Value, list[Row]] = {}
    for row in rows:
        groups.setdefault(child.owner_of(row), []).append(row)
    return groups


Key = tuple[Value, ...]
Dated = tuple[int, MergedChange]
Mine = Callable[[Row], bool]


class History:
    """The merged changes of a batch, one sequence a transaction; the index of a transaction is its time."""

    def __init__(self, batch: Sequence[Sequence[MergedChange]]) -> None:
        self._batch = batch
        self._changes: dict[Child, dict[Value, list[Dated]]] = {}
        self._records: dict[str, dict[Value, list[Dated]]] = {}

    def rows(self, time: int, child: Child, owner: Value, live: Iterable[Row]) -> list[Row]:
        """The owner's rows when transaction ``time`` had committed; in primary key order if it had any changes."""
        return self._rows(time, child, owner, live, committed=True)

    def rows_before(self, time: int, child: Child, owner: Value, live: Iterable[Row]) -> list[Row]:
        """The owner's rows when transaction ``time`` began."""
        return self._rows(time, child, owner, live, committed=False)

    def _rows(self, time: int, child: Child, owner: Value, live: Iterable[Row], *, committed: bool) -> list[Row]:
        changes = self._of(child, owner)
        if not changes:
            return list(live)
        columns = tuple(changes[0][1].key)
        rows: dict[Key, Row] = {_key(row, columns): row for row in live}

        def mine(row: Row) -> bool:
            return child.owner_of(row) == owner

        for when, dated in groupby(reversed(changes), key=itemgetter(0)):
            if when >= time:
                images = [(change.before, change.after) for _, change in dated]
                _exchange(rows, images, columns, mine, after=when == time and committed)
        return [rows[key] for key in sorted(rows, key=_sortable)]

    def record(self, time: int, table: str, key: Value, *, gone: bool = False) -> tuple[str, Row | None] | None:
        """Return the key column of ``table``, and the row with this key when transaction ``time`` had committed (None:
        there was none), as far as the batch shows it; None where the batch does not change the record.  ``gone``: of a
        row that the transaction itself deleted, the row as it was."""
        if table not in self._records:
            self._records[table] = _by_key(table, self._batch)
        changes = self._records[table].get(key, [])
        if not changes:
            return None
        column = next(iter(changes[0][1].key))
        latest = max((when for when, _ in changes if when <= time), default=None)
        first = changes[0][0]
        images = (
            change.before if latest is None else change.after
            for when, change in changes
            if when == (first if latest is None else latest)
        )
        row = next((image for image in images if image is not None and image.get(column) == key), None)
        if row is None and gone:
            former = (change.before for when, change in changes if when == time)
            row = next((image for image in former if image is not None and image.get(column) == key), None)
        return column, row

    def deleted(self, time: int, child: Child, owner: Value) -> list[Row]:
        """The owner's rows that transaction ``time`` deleted, as they were."""
        changes = (change for when, change in self._of(child, owner) if when == time)
        gone = (change.before for change in changes if change.operation is Operation.DELETE)
        return [row for row in gone if row is not None and child.owner_of(row) == owner]

    def _of(self, child: Child, owner: Value) -> list[Dated]:
        """The changes of rows that were, or became, the owner's."""
        if child not in self._changes:
            self._changes[child] = _by_owner(child, self._batch)
        return self._changes[child].get(owner, [])


def _by_owner(child: Child, batch: Sequence[Sequence[MergedChange]]) -> dict[Value, list[Dated]]:
    owners: dict[Value, list[Dated]] = {}
    for time, changes in enumerate(batch):
        for change in changes:
            if change.table == child.table and change.operation not in (Operation.READ, Operation.TRUNCATE):
                images = [image for image in (change.before, change.after) if image is not None]
                for owner in dict.fromkeys(map(child.owner_of, images)):
                    owners.setdefault(owner, []).append((time, change))
    return owners


def _by_key(table: str, batch: Sequence[Sequence[MergedChange]]) -> dict[Value, list[Dated]]:
    """The changes of records with a key of one column, by each key that they had."""
    keys: dict[Value, list[Dated]] = {}
    for time, changes in enumerate(batch):
        for change in changes:
            if change.table == table and len(change.key) == 1 and change.operation is not Operation.READ:
                for key in {*(change.former_key or change.key).values(), *change.key.values()}:
                    keys.setdefault(key, []).append((time, change))
    return keys


def _exchange(
    rows: dict[Key, Row],
    images: Sequence[tuple[Row | None, Row | None]],
    columns: tuple[str, ...],
    mine: Mine,
    *,
    after: bool,
) -> None:
    """Make the rows what they are before one transaction's changes, or ``after`` them; it may exchange keys."""
    for image in chain.from_iterable(images):
        if image is not None:
            rows.pop(_key(image, columns), None)
    for pair in images:
        image = pair[after]
        if image is not None and mine(image):
            rows[_key(image, columns)] = image


def _key(row: Mapping[str, Value], columns: tuple[str, ...]) -> Key:
    return tuple(row[column] for column in columns)


def _sortable(key: Key) -> tuple[tuple[str, Value], ...]:
    return tuple(("number" if isinstance(value, int | float) else "text", value) for value in key)
