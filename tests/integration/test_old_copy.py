"""The database server is put back to an older copy of its files, read by triggers: what went back is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from cdc.capture.base import JournalLimits
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.journal.source import JournalSource
from cdc.capture.triggers.mysql import MySQLInstaller
from cdc.capture.triggers.postgres import PostgresInstaller
from cdc.model.change import Operation, Position
from cdc.model.column import Capture
from support.database import Database
from support.waiting import HANG_SECONDS

CAPTURES = [Capture("articulos")]
LIMITS = JournalLimits(idle=0.1, reread_pause=timedelta(0))


Seen = tuple[Operation, Any]


async def _read(database: Database, position: Position | None, last: Seen) -> tuple[Position | None, list[Seen]]:
    """Read until this comes, and all that was read is deleted; return (operation, key) of each change."""
    postgres = database.flavour == "postgresql"
    journal = PostgresJournal(database.info, CAPTURES) if postgres else MySQLJournal(database.info, CAPTURES)

    async def no_repair(tables: Any) -> Any:
        raise AssertionError(tables)

    source = JournalSource("main", journal, no_repair, LIMITS)
    seen: list[Seen] = []
    try:
        await source.open(position)
        first = await source.begin()
        batches = source.batches()
        async with asyncio.timeout(HANG_SECONDS):
            while last not in seen or database.execute(journal_rows(database)) != [(0,)]:
                batch = first or await anext(batches)
                first, position = None, batch.position
                await source.acknowledge(position)
                seen += [(each.operation, each.key.get("id")) for one in batch.transactions for each in one.changes]
    finally:
        await source.close()
    return position, seen


def journal_rows(database: Database) -> str:
    return f"SELECT COUNT(*) FROM {'cdc.' if database.flavour == 'postgresql' else ''}cdc_journal"


@pytest.mark.parametrize("flavour", ["mariadb", "mysql", "postgresql"])
async def test_records_of_an_older_copy_are_read_again(flavour: str, own_server: Callable[..., Database]) -> None:
    """Not on PostgreSQL (docs/sources.md), where only what is written from then on is seen."""
    database = own_server(flavour)
    database.execute("CREATE TABLE articulos (id INTEGER PRIMARY KEY)")
    there = (PostgresInstaller if flavour == "postgresql" else MySQLInstaller)(database.info)
    await asyncio.to_thread(lambda: there.apply(there.plan_install(CAPTURES), lambda _: None))

    position: Position | None = None

    async def write_and_read(last: int, operation: Operation = Operation.CREATE) -> list[Seen]:
        nonlocal position
        database.execute("INSERT INTO articulos VALUES (%s)", [last])
        position, seen = await _read(database, position, (operation, last))
        return seen

    await write_and_read(1)
    await asyncio.to_thread(_stopped, database, database.server.save)
    for number in range(2, 5):
        assert await write_and_read(number) == [(Operation.CREATE, number)]
    await asyncio.to_thread(_stopped, database, database.server.restore)
    if flavour == "postgresql":
        assert await write_and_read(9) == [(Operation.CREATE, 9)]
    else:
        seen = await write_and_read(9, Operation.READ)
        assert {key for operation, key in seen if operation is Operation.READ} == {1, 9}


def _stopped(database: Database, act: Callable[[], None]) -> None:
    database.close()
    database.server.stop()
    act()
    database.server.start()
