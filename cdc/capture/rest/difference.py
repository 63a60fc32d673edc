"""The differences between two looks at rows: transactions of one change each, and the rows to store.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from cdc.capture.rest.reader import SeenRow
from cdc.capture.rest.resource import Resource, differ, key_value, unpack
from cdc.model.change import Operation, Row, RowChange, SnapshotRow, Transaction


@dataclass(frozen=True, slots=True)
class RowDifference:
    """``changes`` in the order of the rows, then what is gone.  ``written``, ``gone``: as in `KeptChange`."""

    changes: tuple[Transaction, ...] = ()
    written: tuple[SnapshotRow, ...] = ()
    gone: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A comparison of rows of one resource.  ``round``: of its `Progress`; ``time``: UTC."""

    resource: Resource
    round: int
    time: datetime

    def changed(
        self, seen: Iterable[SeenRow], before: Mapping[bytes, SnapshotRow], gone: Iterable[bytes] = ()
    ) -> RowDifference:
        """``before``: what is kept of the rows ``seen`` and of those that are ``gone``; a row of which nothing is kept
        is new."""
        changes: list[Transaction] = []
        written: list[SnapshotRow] = []
        for row, now in seen:
            known = before.get(now.key)
            if known is not None and known.digest == now.digest:
                continue
            written.append(now)
            former = None if known is None else unpack(known.row)
            if former is None or differ(former, row):
                operation = Operation.CREATE if former is None else Operation.UPDATE
                changes.append(self._change(operation, now.key, (former, row), (known, now)))
        lost = tuple(key for key in gone if key in before)
        changes += [
            self._change(Operation.DELETE, key, (unpack(before[key].row), None), (before[key], None)) for key in lost
        ]
        return RowDifference(tuple(changes), tuple(written), lost)

    def first_sight(self, seen: Iterable[SeenRow], *, emit: bool) -> RowDifference:
        """Return the changes for rows that there is nothing to compare with; ``emit``: as rows that were read."""
        rows = tuple(seen)
        read = (self._change(Operation.READ, now.key, (None, row), (None, now)) for row, now in rows if emit)
        return RowDifference(tuple(read), tuple(now for _, now in rows))

    def _change(
        self,
        operation: Operation,
        key: bytes,
        images: tuple[Row | None, Row | None],
        kept: tuple[SnapshotRow | None, SnapshotRow | None],
    ) -> Transaction:
        """Return a change as a transaction.  Its token holds everything that the event ids depend on: a comparison that
        is repeated after a crash, in the same round, gives the same ids, and a row that changes back and forth gives
        new ones."""
        digests = b"\0".join(b"" if each is None else each.digest for each in kept)
        named = b"%s\0%d\0%d\0%s%s" % (self.resource.table.encode(), self.round, len(key), key, digests)
        change = RowChange(operation, self.resource.table, {self.resource.key: key_value(key)}, *images, self.time, 0)
        return Transaction(f"rest/{blake2b(named, digest_size=12).hexdigest()}", (change,), observed=True)
