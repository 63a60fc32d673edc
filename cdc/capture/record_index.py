"""Groups the rows of one huge transaction by record, in bounded memory.

Merging needs all changes of a record together, and they may lie anywhere in the transaction.  A first pass notes which
ordinals belong to which record; a second one fetches them record by record.  The notes live in a temporary SQLite file
that its connection owns and the system removes, so a million rows cost disk, not memory.
An ordinal is whatever orders the changes and finds them again: a row's number in the journal, an offset in a file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from cdc import sqlfile
from cdc.model.change import Value


class RecordIndex:
    """Records are numbered from 1 in the order of their first change: the numbers are the same on every reading."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(sqlfile.load("sqlite/record_index.sql"))
        self._database.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def add(self, ordinal: int, name: str, former_name: str | None = None, weight: int = 1) -> None:
        """Note a change of the record called ``name`` (``former_name`` before this very change renamed it), which
        counts as ``weight`` changes."""
        record = self._number(former_name or name)
        if former_name is not None:
            self._database.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (name, record))
        self._database.execute("INSERT INTO change VALUES (?, ?, ?)", (record, ordinal, weight))

    def _number(self, name: str) -> int:
        found = self._database.execute("SELECT number FROM record WHERE name = ?", (name,)).fetchone()
        if found is not None:
            return int(found[0])
        (number,) = self._database.execute(
            "INSERT INTO record SELECT ?, coalesce(max(number), 0) + 1 FROM record RETURNING number", (name,)
        ).fetchone()
        return int(number)

    def parts(self, behind: int, size: int) -> Iterator[tuple[int, list[int]]]:
        """(number of the last record, ordinals in order) of successive parts: whole records numbered above ``behind``,
        about ``size`` changes each (more only when a single record has more)."""
        return _cut(
            self._database.execute(
                "SELECT record, ordinal, weight FROM change WHERE record > ? ORDER BY record, ordinal", (behind,)
            ),
            size,
        )


def record_names(table: str, key: Sequence[Value], former_key: Sequence[Value] | None) -> tuple[str, str | None]:
    """What `RecordIndex.add` calls the record with this key, and its former name when this very change renames it
    (``former_key``: of the before image, if there is one).  A change of no record (truncate) is its table's."""
    if not key:
        return table, None
    name = f"{table}:{list(key)!r}"
    former = name if former_key is None else f"{table}:{list(former_key)!r}"
    return name, None if former == name else former


def _cut(changes: Iterable[tuple[int, int, int]], size: int) -> Iterator[tuple[int, list[int]]]:
    ordinals: list[int] = []
    last = total = 0
    for record, ordinal, weight in changes:
        if record != last and total >= size:
            yield last, sorted(ordinals)
            ordinals, total = [], 0
        ordinals.append(ordinal)
        total += weight
        last = record
    if ordinals:
        yield last, sorted(ordinals)
