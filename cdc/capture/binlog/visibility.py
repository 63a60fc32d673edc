"""Whether a snapshot of the database shows what the binlog told of.  Pure.

The server writes a commit to its log first and shows it a moment later, in the same order; it has no statement that
says which commit it showed last.  The rows do: a change that the log told of is shown if its row is not as it was
before.  (While it is not, nobody else can have changed that row; whoever changed it later is shown later.)  And where
the last change is shown, all before it are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cdc.model.change import Operation, Row, RowChange, Transaction


class VisibilityCheck(NamedTuple):
    """The row of ``table`` with this key was ``before`` (None: not there) until a change that the log told of."""

    table: str
    key: Row
    before: Row | None

    def shown(self, row: Row | None) -> bool:
        """``row``: what the snapshot has under the key."""
        return row != self.before


def last_witness(transactions: Sequence[Transaction]) -> VisibilityCheck | None:
    """Of the last change that made a difference; what made none cannot be seen, nor need it be."""
    for transaction in reversed(transactions):
        seen: set[tuple[object, ...]] = set()
        for change in reversed(transaction.changes):
            name = (change.table, *change.key.values())
            if change.operation not in (Operation.READ, Operation.TRUNCATE) and name not in seen:
                seen.add(name)
                visibility = _visibility(change, transaction.changes)
                if visibility is not None:
                    return visibility
    return None


def _visibility(last: RowChange, changes: Sequence[RowChange]) -> VisibilityCheck | None:
    """Of what a transaction did to the key of its change ``last``; None when that is as before."""
    key = last.key
    for change in changes:
        if change.table != last.table:
            continue
        if change.before is not None and _under(change.before, key):
            return None if change.before == last.after else VisibilityCheck(last.table, key, change.before)
        if change.after is not None and _under(change.after, key):
            return None if last.after is None else VisibilityCheck(last.table, key, None)
    return None


def _under(row: Row, key: Row) -> bool:
    return all(row.get(column) == value for column, value in key.items())
