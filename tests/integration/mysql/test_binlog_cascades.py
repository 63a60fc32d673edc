"""What foreign keys change by themselves is journaled by triggers of parents and read in the binlog with the rest of
its transaction: on MariaDB, and on a MySQL that leaves foreign keys to InnoDB, as all did before 9.6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cdc.capture.binlog.inspector import BinlogInspector
from cdc.capture.binlog.source import BinlogSource
from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.triggers.base import Plan
from cdc.model.change import Operation, RowChange
from cdc.model.column import Capture
from cdc.model.errors import InstallError, JournalMissing
from cdc.model.finding import Repaired, Severity
from support.binlog_capture import QUICK, Reading, images, reading
from support.database import Database, fresh_database
from support.mysql_capture import drain, install, installer, uninstall
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {
    "mariadb": Spec("mariadb", binlog=True),
    "mysql": Spec("mysql", options=("--innodb-native-foreign-keys=ON",)),
}
CAPTURES = [Capture("familias"), Capture("articulos", frozenset({"coste"})), Capture("existencias")]
TABLES = """
CREATE TABLE familias (id INT PRIMARY KEY, nombre VARCHAR(20));
CREATE TABLE articulos (id INT PRIMARY KEY, familia INT, nombre VARCHAR(20), coste INT,
  FOREIGN KEY (familia) REFERENCES familias (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE existencias (id INT PRIMARY KEY, articulo INT,
  FOREIGN KEY (articulo) REFERENCES articulos (id) ON DELETE SET NULL);
INSERT INTO familias VALUES (1, 'Sillas'), (2, 'Mesas');
INSERT INTO articulos VALUES (10, 1, 'Silla', 5), (11, 1, 'Taburete', 6), (20, 2, 'Mesa', 7);
INSERT INTO existencias VALUES (100, 10), (200, 20);
"""


@pytest.fixture(params=SPECS)
def shop(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """Cascades are hidden from its log."""
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        database.script(TABLES)
        yield database


def install_cascades(database: Database) -> None:
    there = installer(database)
    there.apply(there.plan_install(CAPTURES, cascades_only=True), lambda _: None)


def triggers(database: Database) -> set[tuple[str, str]]:
    """(timing, event) of those that there are on tables of the ERP."""
    found = database.execute(
        "SELECT action_timing, event_manipulation FROM information_schema.triggers "
        "WHERE event_object_schema = DATABASE() AND event_object_table <> 'cdc_probe'"
    )
    return {(str(timing), str(event)) for timing, event in found}


async def test_a_cascade_is_part_of_its_transaction(shop: Database) -> None:
    install_cascades(shop)
    assert {timing for timing, _ in triggers(shop)} == {"BEFORE"}
    async with reading(shop, *CAPTURES) as log:
        shop.execute("DELETE FROM familias WHERE id = 1")
        changes = await log.drain()
        assert len(log.tokens) == 1
        told = {(change.table, *each) for change, each in zip(changes, _keyed(changes), strict=True)}
        assert told == {
            ("familias", "delete", 1),
            ("articulos", "delete", 10),
            ("articulos", "delete", 11),
            ("existencias", "update", 100),
        }
        (nulled,) = [change for change in changes if change.table == "existencias"]
        assert (nulled.before, nulled.after) == ({"id": 100, "articulo": 10}, {"id": 100, "articulo": None})
        (gone,) = [change for change in changes if change.key == {"id": 10}]
        assert gone.before == {"id": 10, "familia": 1, "nombre": "Silla"}, "its secret column stays where it is"
        assert len({change.ordinal for change in changes}) == len(changes)
        assert len({change.time for change in changes}) == 1
        shop.execute("UPDATE familias SET id = 3 WHERE id = 2")
        rekeyed = await log.drain()
    assert {(change.table, change.operation) for change in rekeyed} == {
        ("familias", Operation.UPDATE),
        ("articulos", Operation.UPDATE),
    }
    (article,) = [change for change in rekeyed if change.table == "articulos"]
    assert ((article.before or {})["familia"], (article.after or {})["familia"]) == (2, 3)


def _keyed(changes: list[RowChange]) -> list[tuple[str, Any]]:
    return [(change.operation.value, change.key["id"]) for change in changes]


async def test_journal_rows_without_all_columns_show_cascades(shop: Database) -> None:
    """The ERP's session logs what a statement names; the rows of the triggers are its, too."""
    install_cascades(shop)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("SET SESSION binlog_row_image = 'MINIMAL'")
        shop.execute("DELETE FROM familias WHERE id = 1")
        changes = await log.drain()
        assert [gap.table for gap in log.gaps] == ["familias"]
        told = {(change.table, *each) for change, each in zip(changes, _keyed(changes), strict=True)}
        cascades = {("articulos", "delete", 10), ("articulos", "delete", 11), ("existencias", "update", 100)}
        assert told == {*cascades, ("familias", "read", 2)}


async def test_what_a_restored_dump_puts_into_the_journal_is_no_cascade(shop: Database) -> None:
    install_cascades(shop)
    columns = "id, txn, at, shape, op, gap, secrets, image_before, image_after"
    async with reading(shop, *CAPTURES) as log:
        shop.execute("DELETE FROM familias WHERE id = 1")
        shop.script(f"CREATE TABLE dumped (LIKE cdc_journal); INSERT INTO dumped SELECT {columns} FROM cdc_journal")
        assert len(await log.drain()) == 4
        late = "DO SLEEP(4); UPDATE familias SET id = 3 WHERE id = 2;"
        shop.execute(f"CREATE PROCEDURE late() BEGIN {late} END")
        shop.execute("CALL late()")
        shop.script(f"DELETE FROM cdc_journal; INSERT INTO cdc_journal SELECT {columns} FROM dumped")
        changes = await log.drain()
    assert {(change.table, change.operation) for change in changes} == {
        ("familias", Operation.UPDATE),
        ("articulos", Operation.UPDATE),
    }


async def test_what_is_rolled_back_and_what_the_consumer_deletes_is_nothing(shop: Database) -> None:
    install_cascades(shop)
    async with reading(shop, *CAPTURES) as log:
        connection = shop.connect()
        cursor = connection.cursor()
        cursor.execute("DELETE FROM familias WHERE id = 1")
        connection.rollback()
        shop.execute("DELETE FROM articulos WHERE id = 20")
        batch = await log.next()
        while not batch.transactions:
            batch = await log.next()
        (transaction,) = batch.transactions
        assert [change.table for change in transaction.changes] == ["existencias", "articulos"]
        assert transaction.journalled
        shop.execute("DELETE FROM cdc_journal")
        assert await log.drain() == []


async def test_the_same_is_read_again_after_a_crash(shop: Database) -> None:
    install_cascades(shop)
    async with reading(shop, *CAPTURES) as log:
        start = log.position
        shop.execute("DELETE FROM familias WHERE id = 1")
        changes = await log.drain()
    shop.execute("DELETE FROM cdc_journal")
    async with reading(shop, *CAPTURES, position=start) as again:
        assert await again.drain() == changes
    assert again.tokens == log.tokens


async def test_full_triggers_beside_the_log_double_nothing(shop: Database) -> None:
    install(shop, *CAPTURES)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("UPDATE articulos SET nombre = 'x' WHERE id = 10")
        assert images(await log.drain()) == [
            ("update", {"id": 10, "familia": 1, "nombre": "Silla"}, {"id": 10, "familia": 1, "nombre": "x"})
        ]


WORK = """
INSERT INTO familias VALUES (3, 'Camas');
INSERT INTO articulos VALUES (30, 3, 'Cama', 1), (31, 3, 'Litera', 2), (32, 3, 'Cuna', 3);
INSERT INTO existencias VALUES (300, 30), (301, 31), (302, 31);
COMMIT;
BEGIN;
UPDATE articulos SET nombre = CONCAT(nombre, '!') WHERE familia = 3;
UPDATE existencias SET articulo = 30 WHERE id = 302;
DELETE FROM articulos WHERE id = 31;
UPDATE familias SET id = 4 WHERE id = 3;
INSERT INTO articulos VALUES (31, 4, 'Litera', 2) ON DUPLICATE KEY UPDATE nombre = 'x';
DELETE FROM articulos WHERE id = 32;
DELETE FROM familias WHERE id = 4;
COMMIT
"""


@pytest.mark.parametrize("huge", [100, 3], ids=["in memory", "spooled"])
async def test_full_triggers_beside_the_log_show_cascades_once(shop: Database, huge: int) -> None:
    """As after a move from the triggers, before `install-triggers --cascades-only`: with the same rows as these."""
    seen = []
    for installed in (lambda: install(shop, *CAPTURES), lambda: install_cascades(shop)):
        installed()
        async with reading(shop, *CAPTURES, limits=replace(QUICK, huge=huge)) as log:
            shop.script(WORK)
            changes = await log.drain()
            assert log.gaps == []
        assert len({change.ordinal for change in changes[7:]}) == len(changes) - 7
        seen.append([(change.table, *each) for change, each in zip(changes, images(changes), strict=True)])
        shop.execute("DELETE FROM existencias WHERE id >= 300")
        shop.execute("DELETE FROM cdc_journal")
    assert seen[0] == seen[1]
    ends = [(table, operation, (before or {}).get("id")) for table, operation, before, _ in seen[0][7:]]
    assert ends.count(("articulos", "delete", 30)) == 1
    assert ends.count(("existencias", "update", 300)) == 1, "its article is gone"


async def test_replace_beside_full_triggers_is_a_deletion_and_a_new_row(shop: Database) -> None:
    install(shop, *CAPTURES)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("REPLACE INTO existencias VALUES (100, 20)")
        assert _keyed(await log.drain()) == [("delete", 100), ("create", 100)]


async def test_full_triggers_uninstalled_before_the_log_is_read_leave_a_gap(shop: Database) -> None:
    install(shop, *CAPTURES)
    async with reading(shop, *CAPTURES) as log:
        await log.drain()
    shop.execute("DELETE FROM familias WHERE id = 1")
    uninstall(shop)
    async with reading(shop, *CAPTURES, position=log.position) as again:
        changes = await again.drain()
    assert {gap.table for gap in again.gaps} == {"familias", "articulos", "existencias"}
    assert ("familias", Operation.DELETE) in {(change.table, change.operation) for change in changes}
    read = {(change.table, change.key["id"]) for change in changes if change.operation is Operation.READ}
    assert read == {("familias", 2), ("articulos", 20), ("existencias", 100), ("existencias", 200)}


async def test_gap_of_a_full_trigger_is_read_again_only_for_a_cascade(shop: Database) -> None:
    install(shop, *CAPTURES)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("ALTER TABLE articulos DROP COLUMN nombre")
        shop.execute("UPDATE articulos SET coste = 8 WHERE id = 20")
        shop.execute("DELETE FROM articulos WHERE id = 11")
        changes = await log.drain()
        assert log.gaps == []
        assert [change.operation for change in changes] == [Operation.UPDATE, Operation.DELETE]
        shop.execute("DELETE FROM familias WHERE id = 1")
        changes = await log.drain()
        assert {gap.table for gap in log.gaps} == {"articulos"}
        assert {change.key["id"] for change in changes if change.operation is Operation.READ} == {20}


async def test_from_all_triggers_to_cascades_only_and_back(shop: Database) -> None:
    install(shop, *CAPTURES)
    assert len(triggers(shop)) > 2
    async with reading(shop, *CAPTURES) as log:
        shop.execute("DELETE FROM existencias WHERE id = 100")
        install_cascades(shop)
        assert installer(shop).plan_install(CAPTURES, cascades_only=True) == Plan(())
        assert {timing for timing, _ in triggers(shop)} == {"BEFORE"}
        shop.execute("DELETE FROM articulos WHERE id = 20")
        assert _keyed(await log.drain()) == [("delete", 100), ("update", 200), ("delete", 20)]
    with pytest.raises(JournalMissing, match="Only cascades are journaled"):
        await MySQLJournal(shop.info).connect()
    shop.execute("DELETE FROM cdc_journal")
    install(shop, *CAPTURES)
    assert installer(shop).plan_install(CAPTURES) == Plan(())
    shop.execute("DELETE FROM familias WHERE id = 1")
    rows = await asyncio.to_thread(drain, shop)
    assert sorted(row.change.table for row in rows) == ["articulos", "articulos", "familias"]
    uninstall(shop)
    assert triggers(shop) == set()


async def test_a_column_that_is_dropped_leaves_a_gap_until_the_triggers_are_mended(shop: Database) -> None:
    install_cascades(shop)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("ALTER TABLE articulos DROP COLUMN nombre")
        shop.execute("DELETE FROM familias WHERE id = 1")
        changes = await log.drain()
        assert "articulos" in {gap.table for gap in log.gaps}
        assert ("familias", Operation.DELETE) in {(change.table, change.operation) for change in changes}
        assert {change.key["id"] for change in changes if change.operation is Operation.READ} >= {20}
    source = BinlogSource("main", shop.info, CAPTURES, limits=QUICK, check=lambda: _repaired(shop))
    await source.open(log.position)
    again = Reading(shop, source, log.position)
    try:
        shop.execute("INSERT INTO familias VALUES (4, 'Camas')")
        await again.drain()
        while installer(shop).plan_install(CAPTURES, cascades_only=True).steps:
            await again.next()
        await again.drain()  # the gap that was noted once the new triggers were in place
        again.gaps.clear()
        shop.execute("DELETE FROM familias WHERE id = 2")
        told = _keyed(await again.drain())
        assert ("delete", 20) in told
        assert again.gaps == []
    finally:
        await source.close()


async def _repaired(database: Database) -> Repaired:
    return await asyncio.to_thread(installer(database).repair)


async def test_a_lost_trigger_leaves_a_gap_when_it_is_made_again(shop: Database) -> None:
    install_cascades(shop)
    async with reading(shop, *CAPTURES) as log:
        shop.execute("DROP TRIGGER cdc_familias_bd")
        shop.execute("DELETE FROM familias WHERE id = 1")
        assert installer(shop).repair().done
        changes = await log.drain()
    assert {gap.table for gap in log.gaps} == {"articulos", "existencias"}
    read = [(change.table, change.key["id"]) for change in changes if change.operation is Operation.READ]
    assert sorted(read) == [("articulos", 20), ("existencias", 100), ("existencias", 200)]


def findings(database: Database) -> dict[str, Severity]:
    helping = installer(database).cascade_findings(CAPTURES) or []
    found = [*BinlogInspector(database.info).findings(CAPTURES), *helping]
    return {finding.check: finding.severity for finding in found}


def test_the_doctor_looks_at_them(shop: Database) -> None:
    assert findings(shop)["cascades"] is Severity.WARNING
    assert installer(shop).cascade_findings(CAPTURES) is None
    install_cascades(shop)
    found = findings(shop)
    assert (found["cascades"], found["triggers"]) == (Severity.OK, Severity.OK)
    shop.execute("DROP TRIGGER cdc_familias_bd")
    helping = {finding.check: finding for finding in installer(shop).cascade_findings(CAPTURES) or []}
    assert helping["triggers of familias"].severity is Severity.WRONG
    assert helping["triggers of familias"].fix == "cdc install-triggers --cascades-only"
    (check,) = [finding for finding in installer(shop).findings(CAPTURES) if finding.check == "triggers"]
    assert check.severity is Severity.WRONG
    assert check.fix == "cdc install-triggers"


def test_a_mysql_whose_log_holds_cascades_needs_none(mysql_db: Database) -> None:
    mysql_db.script(TABLES)
    plan = installer(mysql_db).plan_install(CAPTURES, cascades_only=True)
    assert plan.steps == ()
    assert "no trigger is needed" in plan.notes[0]


def test_without_a_binlog_it_makes_no_sense(mariadb_db: Database) -> None:
    mariadb_db.script(TABLES)
    with pytest.raises(InstallError, match="writes no binlog"):
        installer(mariadb_db).plan_install(CAPTURES, cascades_only=True)
