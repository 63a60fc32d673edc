"""The oracle: every row change that was committed, in the order in which its row locks were taken.

A writer appends an entry while it holds the lock of the row, and locks are held until the transaction ends: entries of
one record are in commit order, however the transactions overlap.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Row = Mapping[str, Any]
Key = int | str
#: A record: its table and its key.
Record = tuple[str, Key]
#: Transactions of the ledger that no event shows: rows of before the run; what faults did to rows.
BASELINE, SILENT = "", "-"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row change.  ``old`` and ``new``: the key before and after it; None: the row did not or does not exist."""

    number: int
    table: str
    old: Key | None
    new: Key | None
    before: Row | None
    after: Row | None


@dataclass(frozen=True, slots=True)
class Version:
    """The merged change of one record by one transaction."""

    number: int
    transaction: str
    table: str
    old: Key | None
    new: Key | None
    before: Row | None
    after: Row | None

    @property
    def operation(self) -> str:
        if self.before is None:
            return "created"
        return "deleted" if self.after is None else "updated"

    @property
    def records(self) -> list[Record]:
        """One record, or two where the key was changed."""
        keys = {key: None for key in (self.old, self.new) if key is not None}
        return [(self.table, key) for key in keys]


def changed_columns(before: Row, after: Row) -> dict[str, Any]:
    """Former values of the columns that differ."""
    return {name: value for name, value in before.items() if name not in after or not same(value, after[name])}


def same(one: Any, other: Any) -> bool:
    """Equal values of equal JSON types: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def same_row(one: Row, other: Row) -> bool:
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())


def merged(transaction: str, entries: Iterable[Entry]) -> list[Version]:
    """One version for each record that differs at the end of the transaction."""
    found: list[Entry] = []
    by_key: dict[Record, int] = {}  # record → its place in `found`, under the key that it has now
    for entry in entries:
        former = entry.old if entry.old is not None else entry.new  # deleted and inserted again: an update
        place = by_key.pop((entry.table, _key(former)), None)
        if place is None:
            place = len(found)
            found.append(entry)
        else:
            first = found[place]
            found[place] = replace(entry, old=first.old, before=first.before)
        by_key[entry.table, _key(entry.new if entry.new is not None else entry.old)] = place
    return [
        Version(each.number, transaction, each.table, each.old, each.new, each.before, each.after)
        for each in found
        if not _nothing(each)
    ]


def _key(key: Key | None) -> Key:
    assert key is not None
    return key


def _nothing(entry: Entry) -> bool:
    if entry.before is None or entry.after is None:
        return entry.before is entry.after
    return entry.old == entry.new and same_row(entry.before, entry.after)


@dataclass
class Ledger:
    """Committed transactions, from several threads.  ``revoked``: those that a fault took back; their
    events may arrive, and need not."""

    versions: list[Version] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: int = 0

    def number(self) -> int:
        """The next entry's number; call it while the row is locked."""
        with self._lock:
            self._last += 1
            return self._last

    def commit(self, transaction: str, entries: Sequence[Entry]) -> None:
        found = merged(transaction, entries)
        with self._lock:
            self.versions += found

    def revoke(self, held: set[str]) -> None:
        """``held``: all transactions that the database still holds."""
        with self._lock:
            self.revoked |= {version.transaction for version in self.versions} - held - {BASELINE, SILENT}

    def last(self, table: str) -> dict[Key, Row]:
        """The rows of a table after all committed transactions."""
        rows: dict[Key, Row] = {}
        for version in self.in_order():
            if version.table != table:
                continue
            if version.old is not None:
                rows.pop(version.old, None)
            if version.new is not None and version.after is not None:
                rows[version.new] = version.after
        return rows

    def in_order(self) -> list[Version]:
        with self._lock:
            return sorted(self.versions, key=lambda version: version.number)

    def dump(self) -> str:
        """JSON lines, to judge a failed run again."""
        return "".join(json.dumps([getattr(v, name) for name in _FIELDS]) + "\n" for v in self.in_order())

    @staticmethod
    def load(text: str) -> list[Version]:
        return [Version(*json.loads(line)) for line in text.splitlines()]


_FIELDS = ("number", "transaction", "table", "old", "new", "before", "after")
