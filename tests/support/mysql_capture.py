"""An installed journal on a database of one test, and what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from cdc.capture.journal.database import JournalRow
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.triggers.mysql import LockTries, MySQLInstaller
from cdc.model.column import Capture
from support.database import Database

T = TypeVar("T")
IMPATIENT = LockTries(seconds=1, attempts=2)


def installer(database: Database) -> MySQLInstaller:
    return MySQLInstaller(database.info, IMPATIENT)


def install(database: Database, *captures: Capture | str) -> MySQLInstaller:
    """Triggers for these tables (with their secrets, when given as captures)."""
    there = installer(database)
    there.apply(there.plan_install([Capture(c) if isinstance(c, str) else c for c in captures]), lambda _: None)
    return there


def uninstall(database: Database) -> None:
    there = installer(database)
    there.apply(there.plan_uninstall(), lambda _: None)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def _drain(database: Database) -> list[JournalRow]:
    journal = MySQLJournal(database.info)
    await journal.connect()
    try:
        assert await journal.try_lock(5)
        rows = await journal.peek(100_000)
        await journal.delete(list(dict.fromkeys(row.token for row in rows)))
        assert await journal.peek(1) == []
        return rows
    finally:
        await journal.disconnect()


def drain(database: Database) -> list[JournalRow]:
    """All visible rows; the journal is empty afterwards."""
    return run(_drain(database))


def brief(rows: Sequence[JournalRow], *columns: str) -> list[tuple[Any, ...]]:
    """(operation, table, before, after) of each row, images cut to these columns; a gap as its words."""

    def cut(image: Any) -> Any:
        return None if image is None else tuple(image[column] for column in columns if column in image)

    return [
        ("gap", row.change.operation.value, row.change.table)
        if row.gap
        else (row.change.operation.value, row.change.table, cut(row.change.before), cut(row.change.after))
        for row in rows
    ]
