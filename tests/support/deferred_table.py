"""A model of a table whose rows may share a key until the transaction ends."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Self

from hypothesis import strategies as st

from cdc.model.change import Row, RowChange, Value
from support.row_changes import delete, insert, update

#: (kind, which row, key, value): insert, delete, update, rename.
_STEP = st.tuples(st.sampled_from("iduurrr"), st.integers(0, 9), st.integers(0, 5), st.integers(0, 3))
STEPS = st.lists(_STEP, max_size=25)
#: The number of the first row that is inserted.
_NEW = 100


class DeferredTable:
    """A table whose primary key is checked at the end of the transaction.  ``telling``: all rows have a number."""

    def __init__(self, keys: Iterable[int], *, telling: bool) -> None:
        self.telling = telling
        self.rows = {number: self._row(number, key, 0) for number, key in enumerate(sorted(keys))}
        self.before = dict(self.rows)
        self.changes: list[RowChange] = []
        self._numbers = count(_NEW)

    def _row(self, number: int, key: int, value: Value) -> Row:
        return {"id": key, "v": value, "row": number if self.telling or number >= _NEW else 0}

    @classmethod
    def played(cls, keys: Iterable[int], steps: Iterable[tuple[str, int, int, int]], *, telling: bool) -> Self:
        """Return the table after a transaction of these steps."""
        table = cls(keys, telling=telling)
        for step in steps:
            table._play(*step)
        table._commit()
        return table

    def _play(self, kind: str, which: int, key: int, value: int) -> None:
        if kind == "i":
            number = next(self._numbers)
            self.rows[number] = self._row(number, key, value)
            self.changes.append(insert("t", self.rows[number]))
        elif self.rows:
            number = list(self.rows)[which % len(self.rows)]
            row = self.rows.pop(number)
            if kind == "d":
                if not self.telling and any(row == other for other in self.rows.values()):
                    self.rows[number] = row  # its deletion could be one reported twice
                    return
                self.changes.append(delete("t", row))
                return
            self.changes.append(update("t", row, v=value) if kind == "u" else update("t", row, id=key))
            self.rows[number] = self.changes[-1].after or {}

    def _commit(self) -> None:
        """Rename rows until no two have the same key."""
        free = iter(sorted(set(range(100)) - {row["id"] for row in self.rows.values()}))
        taken: set[Value] = set()
        for number, row in list(self.rows.items()):
            if row["id"] in taken:
                self.rows[number] = {**row, "id": next(free)}
                self.changes.append(update("t", row, id=self.rows[number]["id"]))
            taken.add(self.rows[number]["id"])

    def expected(self) -> set[tuple[str, str]]:
        """The pairs of images before and after: a row that was deleted and another one that has its key are one."""
        pairs = {number: (self.before.get(number), self.rows.get(number)) for number in {*self.before, *self.rows}}
        dead = {row["id"]: number for number, row in self.before.items() if number not in self.rows}
        for number in self.rows.keys() - self.before.keys():
            if (former := dead.get(self.rows[number]["id"])) is not None:
                pairs[former] = self.before[former], pairs.pop(number)[1]
        return {(repr(before), repr(after)) for before, after in pairs.values() if before != after}
