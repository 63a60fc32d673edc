"""A journal in memory: rows become visible when their transaction commits, as in a database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cdc.capture.base import SILENT_SECONDS, LockHolder
from cdc.capture.journal.database import NO_MARKER, JournalPage, JournalRow, Marker, TransactionHead
from cdc.capture.pages import PageRequest, TablePage
from cdc.model.change import Operation, Row, RowChange, Value
from cdc.model.column import Capture, Column, ColumnKind, Table

MOMENT = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
ITEM = Table("item", (Column("id", ColumnKind.INTEGER), Column("value", ColumnKind.INTEGER)), ("id",))


@dataclass
class MemoryJournal:
    """Implements `cdc.capture.journal.database.JournalDatabase`; ``most_rows`` is the largest answer given so far."""

    visible: list[JournalRow] = field(default_factory=list)
    table_rows: list[Row] = field(default_factory=list)
    locked_by_other: bool = False
    most_rows: int = 0
    marked: Marker | None = field(default_factory=Marker)
    noted: int = 0
    defined: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _order: int = 0

    def write(self, token: str, operation: Operation, before: Row | None, after: Row | None) -> JournalRow:
        """A row as a trigger would make it; not visible before `commit`."""
        self._order += 1
        image = after if after is not None else before
        key = {} if image is None else {"id": image["id"]} if "id" in image else {}
        return JournalRow(token, RowChange(operation, "item", key, before, after, MOMENT, self._order))

    def gap(self, token: str) -> JournalRow:
        self._order += 1
        return JournalRow(token, RowChange(Operation.UPDATE, "item", {}, None, None, MOMENT, self._order), gap=True)

    def commit(self, rows: Sequence[JournalRow]) -> None:
        self.visible = sorted([*self.visible, *rows], key=lambda row: row.change.ordinal)
        self.changed.set()

    def _answer(self, rows: list[JournalRow]) -> list[JournalRow]:
        self.most_rows = max(self.most_rows, len(rows))
        return rows

    async def definitions(self) -> object:
        return self.defined

    async def table_names(self) -> list[str]:
        return [ITEM.name]

    async def installed(self) -> list[str]:
        return [ITEM.name]

    def capture(self, captures: Sequence[Capture]) -> None: ...

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def try_lock(self, seconds: float, silent: int = SILENT_SECONDS) -> bool:
        if self.locked_by_other and seconds:
            self.changed.clear()
            await self.changed.wait()
        return not self.locked_by_other

    async def lock_holder(self) -> LockHolder | None:
        return LockHolder("other", "Another", "KILL other") if self.locked_by_other else None

    async def peek(self, limit: int) -> list[JournalRow]:
        return self._answer(self.visible[:limit])

    async def heads(self, limit: int) -> list[TransactionHead]:
        last: dict[str, tuple[int, int]] = {}
        for row in self.visible:
            last[row.token] = (row.change.ordinal, last.get(row.token, (0, 0))[1] + 1)
        ordered = sorted(last.items(), key=lambda item: item[1])
        return [TransactionHead(token, rows) for token, (_, rows) in ordered][:limit]

    async def transaction_rows(self, tokens: Sequence[str]) -> list[JournalRow]:
        return self._answer([row for row in self.visible if row.token in set(tokens)])

    async def rows_after(self, token: str, ordinal: int, limit: int) -> list[JournalRow]:
        return self._answer(
            [row for row in self.visible if row.token == token and row.change.ordinal > ordinal][:limit]
        )

    async def rows_at(self, token: str, ordinals: Sequence[int]) -> list[JournalRow]:
        return self._answer([row for row in self.visible if row.token == token and row.change.ordinal in set(ordinals)])

    async def marker(self) -> Marker | None:
        return self.marked

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        if self.marked is not None and marker.outbox:
            self.marked = marker
            self.noted = marker.batch
        self.visible = [row for row in self.visible if row.token not in set(tokens)]

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        assert wanted.table.name == "item"
        after = wanted.after
        found = [row for row in self.table_rows if after is None or _id(row) > _id(after)][: wanted.most]
        waiting = frozenset(row.token for row in self.visible)
        page = TablePage(found, found[-1] if found else None, len(found))
        return None if len(waiting) > most else JournalPage(page, waiting)

    async def wait(self, seconds: float) -> None:
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.005)):
                await self.changed.wait()

    async def tables(self) -> dict[str, Table]:
        return {"item": ITEM}

    async def rows(self, table: str, column: str, values: Sequence[Value]) -> list[Row]:
        return [row for row in self.table_rows if row[column] in values]

    async def site_url(self) -> str:
        return ""

    async def all_rows(self, table: str) -> list[Row]:
        return self.table_rows


def _id(row: Row) -> int:
    value = row["id"]
    assert isinstance(value, int)
    return value
