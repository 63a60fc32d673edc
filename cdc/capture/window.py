"""A page of a table, updated by the stream's changes until the page itself is emitted.  Pure.

A page is a snapshot; the stream is somewhere before or behind it.  So the page is held until the stream has emitted
everything that the snapshot shows, and follows the changes that are emitted until then: a changed row takes the newest
image, a deleted one is removed.  The row that is emitted in the end is its state at this very place of the stream:
never older than an image emitted before, and no later change is part of it already.

The reader of the page guarantees two conditions: what the stream emitted *before* the page was read is visible in it;
and the page is emitted only after everything that is visible in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cdc.model.change import Operation, Row, RowChange, Transaction, Value
from cdc.model.image import opened

Key = tuple[Value, ...]


class Window:
    """``rows``: the page.  ``key``: the primary key's columns."""

    def __init__(self, table: str, key: Sequence[str], rows: Iterable[Row]) -> None:
        self._table = table
        self._columns = tuple(key)
        self._rows: dict[Key, Row] = {self._key(row): row for row in rows}
        #: Keys that are the page's: those it began with, and those that its rows were given.
        self._ours = set(self._rows)

    def _key(self, row: Row) -> Key:
        return tuple([row.get(column) for column in self._columns])

    def follow(self, transactions: Iterable[Transaction]) -> None:
        """Apply transactions that the stream emits."""
        for transaction in transactions:
            for change in transaction.changes:
                if change.table == self._table:
                    self._follow(change)

    def _follow(self, change: RowChange) -> None:
        if change.operation is Operation.TRUNCATE:
            self._rows.clear()
        elif change.operation is not Operation.READ:
            former = None if change.before is None else self._key(change.before)
            key = None if change.after is None else self._key(change.after)
            if former in self._ours or key in self._ours:
                self._replace(former, key, change.after)

    def _replace(self, former: Key | None, key: Key | None, row: Row | None) -> None:
        if former is not None and former != key:
            self._rows.pop(former, None)
        if key is not None and row is not None:
            self._rows[key] = opened(row)
            self._ours.add(key)

    def rows(self) -> list[Row]:
        """Return the rows as they are at this place of the stream."""
        return list(self._rows.values())
