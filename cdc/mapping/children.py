"""The lines and receipts that an event carries, as of its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdc.change import Operation, Row, Value
from cdc.mapping.entity import Child
from cdc.mapping.merge import MergedChange

Key = tuple[Value, ...]


def changes_by_owner(child: Child, changes: Iterable[MergedChange]) -> dict[Value, list[MergedChange]]:
    """What a transaction changed of one kind of children: owner → changes of rows that are, or were, its own."""
    owners: dict[Value, list[MergedChange]] = {}
    for change in changes:
        if change.table == child.table and change.operation not in (Operation.READ, Operation.TRUNCATE):
            images = [image for image in (change.before, change.after) if image is not None]
            for owner in dict.fromkeys(image.get(child.column) for image in images):
                owners.setdefault(owner, []).append(change)
    return owners


def children_of(owner: Value, child: Child, live: Iterable[Row], changes: Sequence[MergedChange]) -> list[Row]:
    """``live``: the rows of ``owner`` as they are now; ``changes``: those that its transaction made to its rows.

    In primary key order.
    """
    if not changes:
        return list(live)
    columns = tuple(changes[0].key)
    rows: dict[Key, Row] = {_key(row, columns): row for row in live}
    for change in changes:
        for image in (change.before, change.after):
            if image is not None:
                rows.pop(_key(image, columns), None)
    for change in changes:
        if change.after is not None and change.after.get(child.column) == owner:
            rows[_key(change.after, columns)] = change.after
    return [rows[key] for key in sorted(rows, key=_sortable)]


def children_gone_with(owner: Value, child: Child, changes: Iterable[MergedChange]) -> list[Row]:
    """The rows of a deleted ``owner`` that were deleted in the same transaction, as they were."""
    gone = (change.before for change in changes if change.operation is Operation.DELETE)
    return [row for row in gone if row is not None and row.get(child.column) == owner]


def _key(row: Mapping[str, Value], columns: tuple[str, ...]) -> Key:
    return tuple(row[column] for column in columns)


def _sortable(key: Key) -> tuple[tuple[str, Value], ...]:
    return tuple(("number" if isinstance(value, int | float) else "text", value) for value in key)
