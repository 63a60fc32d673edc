"""The lines and receipts that an event carries, as of its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cdc.change import Operation, Row, Value
from cdc.mapping.entity import Child
from cdc.mapping.merge import MergedChange

Key = tuple[Value, ...]


def children_of(
    owner: Value, child: Child, live: Iterable[Row], changes: Iterable[MergedChange], *, deleted: bool
) -> list[Row]:
    """``live``: the rows of ``owner`` as they are now; ``changes``: those that its transaction made to the table.

    Of an owner that was deleted, the rows that went with it.  In primary key order.
    """
    changes = [change for change in changes if change.table == child.table]
    if deleted:
        return [
            change.before
            for change in changes
            if change.operation is Operation.DELETE and change.before and change.before.get(child.column) == owner
        ]
    images = [change for change in changes if change.operation not in (Operation.READ, Operation.TRUNCATE)]
    if not images:
        return list(live)
    columns = tuple(images[0].key)
    rows: dict[Key, Row] = {_key(row, columns): row for row in live}
    for change in images:
        if change.before is not None:
            rows.pop(_key(change.before, columns), None)
        rows.pop(_key(change.key, columns), None)
        if change.after is not None and change.after.get(child.column) == owner:
            rows[_key(change.after, columns)] = change.after
    return [rows[key] for key in sorted(rows, key=_sortable)]


def _key(row: Mapping[str, Value], columns: tuple[str, ...]) -> Key:
    return tuple(row[column] for column in columns)


def _sortable(key: Key) -> tuple[tuple[str, Value], ...]:
    return tuple(("number" if isinstance(value, int | float) else "text", value) for value in key)
