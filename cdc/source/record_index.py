"""Groups the rows of one huge transaction by record, in bounded memory.

Merging needs all changes of a record together, and they may lie anywhere in the transaction.  A first pass notes which
ordinals belong to which record; a second one fetches them record by record.  The notes live in a temporary SQLite file
that its connection owns and the system removes, so a million rows cost disk, not memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from cdc import sqlfile


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
        self._database.close()

    def add(self, ordinal: int, name: str, former_name: str | None = None) -> None:
        """Note a change of the record called ``name`` (``former_name`` before this very change renamed it)."""
        record = self._number(former_name or name)
        if former_name is not None:
            self._database.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (name, record))
        self._database.execute("INSERT INTO change VALUES (?, ?)", (record, ordinal))

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
                "SELECT record, ordinal FROM change WHERE record > ? ORDER BY record, ordinal", (behind,)
            ),
            size,
        )


def _cut(changes: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, list[int]]]:
    ordinals: list[int] = []
    last = 0
    for record, ordinal in changes:
        if record != last and len(ordinals) >= size:
            yield last, sorted(ordinals)
            ordinals = []
        ordinals.append(ordinal)
        last = record
    if ordinals:
        yield last, sorted(ordinals)
