"""A dump is restored over a database that is captured: each table that went back is read again, and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.capture.base import JournalLimits
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.source import JournalSource
from cdc.database.mysql_journal import TABLES
from cdc.model.change import Operation, Position
from cdc.model.column import Capture
from cdc.model.errors import SourceError
from cdc.model.finding import Repaired, Severity
from support.database import Database
from support.mysql_capture import install, installer
from support.mysql_dump import dump, restore
from support.waiting import HANG_SECONDS

CAPTURED = ("clientes", "facturas", "pagos")
CAPTURES = [Capture(table) for table in CAPTURED]
#: Definitions have times to the second: what a test does within one is found by the check of everything.
LIMITS = JournalLimits(idle=0.1, check_pause=timedelta(seconds=1), reread_pause=timedelta(0))
#: What is dumped → whether with triggers.
DUMPS: dict[str, tuple[Sequence[str], bool]] = {
    "everything": ((), True),
    "without triggers": ((), False),
    "one table": (("clientes",), True),
    "one table without triggers": (("clientes",), False),
    "without our tables": (CAPTURED, True),
}


class Follower:
    """What a consumer has emitted: the last state of each record, the tables with gaps, and by table and moment the
    names of the transaction."""

    def __init__(self, database: Database, limits: JournalLimits = LIMITS) -> None:
        self.database = database
        self.position: Position | None = None
        self.values: dict[tuple[str, Any], Any] = {}
        self.gaps: set[str] = set()
        self.names: dict[tuple[str, datetime], set[str]] = {}
        self.opened = asyncio.Event()
        journal = MySQLJournal(database.info, CAPTURES)
        checks = {"check": self._repair, "restore": self._again}
        self.source = JournalSource("main", journal, self._repair, limits, **checks)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read as a consumer that may repair, and that is opened again after an error."""
        async with asyncio.timeout(HANG_SECONDS):
            while not enough():
                try:
                    await self.source.open(self.position)
                    self.opened.set()
                    await self._read(enough)
                except SourceError:
                    await asyncio.sleep(0)  # as the relay: opened again at the position that is stored
                finally:
                    await self.source.close()

    async def _read(self, enough: Callable[[], bool]) -> None:
        async for batch in self.source.batches():
            self.gaps |= {gap.table for gap in batch.gaps}
            for transaction in batch.transactions:
                for change in transaction.changes:
                    if change.operation is not Operation.READ:
                        self.names.setdefault((change.table, change.time), set()).add(transaction.token)
                    after = None if change.after is None else dict(change.after)
                    self.values[change.table, change.key["id"]] = None if after is None else after["v"]
            self.position = batch.position
            await self.source.acknowledge(batch.position)
            if enough():
                return

    async def _repair(self, tables: Any = None) -> Repaired:
        return await asyncio.to_thread(installer(self.database).repair, tables)

    async def _again(self) -> Repaired:
        return await asyncio.to_thread(installer(self.database).restore, CAPTURES, "")

    def has(self, table: str, number: int, value: str) -> bool:
        return self.values.get((table, number)) == value


def write(db: Database, value: str) -> None:
    for table in CAPTURED:
        db.execute(f"UPDATE {table} SET v = %s WHERE id = 1", [value])


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("dumped", DUMPS)
async def test_tables_that_a_restored_dump_put_back_are_read_again(db: Database, dumped: str, running: bool) -> None:
    for table in CAPTURED:
        db.script(f"CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO {table} VALUES (1, 'first')")
    there = install(db, *CAPTURES)
    write(db, "older")
    seen = Follower(db)
    await seen.until(lambda: all(seen.has(table, 1, "older") for table in CAPTURED))
    write(db, "old")  # waits in the journal that is dumped
    tables, triggers = DUMPS[dumped]
    back = set(tables or CAPTURED) & set(CAPTURED)
    text = dump(db, tables, triggers=triggers)
    if tables == ("clientes",):  # as a large table, which is locked for longer than a repair waits
        text.insert(text.index("UNLOCK TABLES"), "DO SLEEP(2)")
    write(db, "new")
    await seen.until(lambda: all(seen.has(table, 1, "new") for table in CAPTURED))

    def again() -> bool:
        return seen.gaps >= back and all(seen.has(table, 1, "old") for table in back)

    if running:
        seen.opened.clear()
        following = asyncio.create_task(seen.until(again))
        await seen.opened.wait()
        await asyncio.to_thread(db.execute, "SELECT SLEEP(1)")  # as below
        await asyncio.to_thread(restore, db, text)
        await following
    else:
        db.execute("SELECT SLEEP(1)")  # the server dates the journal by the second: the dump is older
        restore(db, text)
        await seen.until(again)
    write(db, "newer")
    await seen.until(lambda: all(seen.has(table, 1, "newer") for table in CAPTURED))
    assert [names for names in seen.names.values() if len(names) > 1] == []
    if not triggers and not tables:  # the probe's are left to an installation
        there.apply(there.plan_install(CAPTURES), lambda _: None)
    there.repair()  # what the closed consumer's may have left
    assert there.plan_install(CAPTURES).steps == ()
    found = [each for each in there.findings(CAPTURES) if each.check != "backlog"]
    assert {each.severity for each in found} == {Severity.OK}
    assert set(TABLES) <= {name for (name,) in db.execute("SHOW TABLES")}


async def test_changes_that_wait_in_an_altered_journal_are_no_gaps(db: Database) -> None:
    for table in CAPTURED:
        db.script(f"CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO {table} VALUES (1, 'first')")
    install(db, *CAPTURES)
    write(db, "old")
    seen = Follower(db)
    await seen.until(lambda: all(seen.has(table, 1, "old") for table in CAPTURED))
    write(db, "new")
    db.execute("DO SLEEP(1.1)")  # creation has a time to the second
    db.execute("ALTER TABLE cdc_journal ENGINE = InnoDB")
    await seen.until(lambda: all(seen.has(table, 1, "new") for table in CAPTURED))
    assert seen.gaps == set()


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
async def test_huge_transactions_that_a_restored_dump_put_back_come_under_no_other_name(
    db: Database, running: bool
) -> None:
    for table in CAPTURED:
        db.script(f"CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(20))")
    rows = range(1, 4)
    db.script(f"INSERT INTO clientes VALUES {', '.join(f'({row}, 0)' for row in rows)}")
    install(db, *CAPTURES)
    for value in ("1", "2"):  # wait in the journal that is dumped
        db.execute("UPDATE clientes SET v = %s", [value])
    text = dump(db)
    filled = next(at for at, statement in enumerate(text) if statement.startswith("INSERT INTO `cdc_journal`"))
    text.insert(text.index("UNLOCK TABLES", filled) + 1, "DO SLEEP(2)")  # the journal is read before the probe is back
    db.execute("UPDATE clientes SET v = '3'")
    seen = Follower(db, replace(LIMITS, huge=2))
    await seen.until(lambda: all(seen.has("clientes", row, "3") for row in rows))
    db.execute("DO SLEEP(1.1)")  # creation has a time to the second

    def again() -> bool:
        return "clientes" in seen.gaps and all(seen.has("clientes", row, "2") for row in rows)

    if running:
        seen.opened.clear()
        following = asyncio.create_task(seen.until(again))
        await seen.opened.wait()
        await asyncio.to_thread(db.execute, "SELECT SLEEP(1)")  # as below
        await asyncio.to_thread(restore, db, text)
        with capture_logs() as logs:
            await asyncio.to_thread(db.execute, "SELECT SLEEP(1)")  # as below
            await asyncio.to_thread(restore, db, text)
            await following
    else:
        db.execute("SELECT SLEEP(1)")  # the server dates the journal by the second: the dump is older
        restore(db, text)
        with capture_logs() as logs:
            await seen.until(again)
    assert [each for each in logs if each["event"] == "journal row not readable"] == []
    db.execute("UPDATE clientes SET v = '4'")
    await seen.until(lambda: all(seen.has("clientes", row, "4") for row in rows))
    assert len(seen.names) >= 4
    assert [names for names in seen.names.values() if len(names) > 1] == []
