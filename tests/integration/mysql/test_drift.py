"""Tables that are altered or swapped, and a journal that is lost, while the ERP writes: what was missed is read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pymysql
import pytest

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.source import JournalSource
from cdc.model.change import Operation, Position, RowChange, Value
from cdc.model.column import Capture
from cdc.model.errors import InstallError, LockTimeout
from cdc.model.finding import Repaired, Severity
from support.database import Database
from support.mysql_capture import brief, drain, install, installer, run, uninstall
from support.waiting import HANG_SECONDS

ITEM = (
    "CREATE TABLE item (id INT PRIMARY KEY, code VARCHAR(20) NOT NULL, name VARCHAR(50), size INT, note TEXT) "
    "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
)
OTHER = "CREATE TABLE other (id INT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
#: What is done to the table, and what is written before its triggers are repaired.
ALTERATIONS = {
    "add": ("ADD COLUMN more INT", "UPDATE item SET more = 9 WHERE id = 2"),
    "drop": ("DROP COLUMN note", "UPDATE item SET name = 'x' WHERE id = 2"),
    "rename": ("RENAME COLUMN note TO remark", "UPDATE item SET remark = 'x' WHERE id = 2"),
    "modify": ("MODIFY COLUMN size VARCHAR(20)", "UPDATE item SET size = 'huge' WHERE id = 2"),
    "key column renamed": ("RENAME COLUMN id TO number", "UPDATE item SET name = 'x' WHERE number = 2"),
    "another key": ("DROP PRIMARY KEY, ADD PRIMARY KEY (code)", "UPDATE item SET name = 'x' WHERE code = 'c2'"),
}
#: In these the trigger cannot name a deleted record by the key that the table has now.
NAMELESS = {"key column renamed"}


def item(database: Database, *others: str) -> None:
    database.execute(ITEM)
    install(database, "item", *others)
    for number in range(1, 5):
        database.execute("INSERT INTO item VALUES (%s, %s, 'a', 1, 'n')", (number, f"c{number}"))


class Copy:
    """What a receiver knows of a table that it followed: a row by its code, which never changes in these tests."""

    def __init__(self) -> None:
        self.rows: dict[Value, Mapping[str, Value]] = {}
        self.codes: dict[Value, Value] = {}

    def follow(self, change: RowChange) -> None:
        if change.operation is Operation.DELETE:
            (key,) = change.key.values()
            self.rows.pop(key if isinstance(key, str) else self.codes.pop(key, None), None)
            return
        assert change.after is not None
        code = change.after["code"]
        self.rows[code] = dict(change.after)
        self.codes[next(iter(change.after.values()))] = code


async def _follow(
    database: Database, copy: Copy, enough: Callable[[], bool], position: Position | None = None
) -> Position | None:
    """Until it is enough, as a consumer that may repair; where it is then."""

    async def repair(tables: Any = None) -> Repaired:
        return await asyncio.to_thread(installer(database).repair, tables)

    source = JournalSource("main", MySQLJournal(database.info, [Capture("item")]), repair, check=repair)
    await source.open(position)
    try:
        async with asyncio.timeout(90):
            batches = source.batches()
            while not enough():
                batch = await anext(batches)
                for transaction in batch.transactions:
                    for change in transaction.changes:
                        copy.follow(change)
                position = batch.position
                await source.acknowledge(position)
    finally:
        await source.close()
    return position


def _rows(database: Database) -> dict[Value, Mapping[str, Value]]:
    names = [name for (name, *_) in database.execute("SHOW COLUMNS FROM item")]
    rows = [dict(zip(names, row, strict=True)) for row in database.execute("SELECT * FROM item")]
    return {row["code"]: row for row in rows}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_writes_between_alteration_and_repair_reach_the_consumer(db: Database, name: str) -> None:
    item(db)
    copy = Copy()
    position = run(_follow(db, copy, lambda: len(copy.rows) == 4))
    alteration, update = ALTERATIONS[name]
    db.execute(f"ALTER TABLE item {alteration}")
    db.execute(update)
    key = "number" if name == "key column renamed" else "id"
    db.execute(f"INSERT INTO item ({key}, code, name) VALUES (5, 'c5', 'new')")
    if name not in NAMELESS:
        db.execute("DELETE FROM item WHERE code = 'c3'")
    run(_follow(db, copy, lambda: copy.rows == _rows(db), position))


@pytest.mark.parametrize("alteration", ["DROP COLUMN note", "RENAME COLUMN note TO remark"])
def test_delete_that_cannot_be_recorded_names_its_record(db: Database, alteration: str) -> None:
    item(db)
    drain(db)
    db.execute(f"ALTER TABLE item {alteration}")
    db.execute("DELETE FROM item WHERE id = 3")
    db.execute("UPDATE item SET id = 40 WHERE id = 4")
    deleted, moved = drain(db)
    assert (deleted.gap, deleted.change.operation, deleted.change.key) == (True, Operation.DELETE, {"id": 3})
    assert dict(deleted.change.before or {}) == {"id": 3}
    assert (moved.change.operation, moved.change.key) == (
        Operation.DELETE,
        {"id": 4},
    )  # no record has that key any more


def test_delete_without_its_key_column_is_a_gap(db: Database) -> None:
    item(db)
    drain(db)
    db.execute("ALTER TABLE item RENAME COLUMN id TO number")
    db.execute("DELETE FROM item WHERE number = 3")
    assert brief(drain(db)) == [("gap", "delete", "item")]


def test_cascade_that_cannot_be_recorded_names_the_deleted_records(db: Database) -> None:
    db.execute("CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB")
    db.execute(
        "CREATE TABLE child (id INT PRIMARY KEY, parent INT, note TEXT, "
        "FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE) ENGINE=InnoDB"
    )
    if db.flavour == "mysql" and db.execute("SHOW VARIABLES LIKE 'enable_cascade_triggers'"):
        db.execute("SET SESSION enable_cascade_triggers = OFF")
    install(db, "child")
    db.execute("INSERT INTO parent VALUES (1), (2)")
    db.execute("INSERT INTO child VALUES (10, 1, 'a'), (11, 1, 'b'), (20, 2, 'c')")
    drain(db)
    db.execute("ALTER TABLE child DROP COLUMN note")
    db.execute("DELETE FROM parent WHERE id = 1")
    deleted = [(row.change.operation, dict(row.change.key)) for row in drain(db)]
    assert sorted(deleted, key=str) == [(Operation.DELETE, {"id": 10}), (Operation.DELETE, {"id": 11})]


@pytest.mark.parametrize("alteration", ["MODIFY COLUMN name VARCHAR(99)", "ADD INDEX (name)", "COMMENT = 'c'"])
def test_harmless_alteration_reads_nothing_again(db: Database, alteration: str) -> None:
    item(db)
    drain(db)
    db.execute(f"ALTER TABLE item {alteration}")
    assert installer(db).repair().failed == {}
    assert drain(db) == []


def _write(database: Database) -> None:
    database.execute("INSERT INTO item (id, code) VALUES (90, 'c90')")


def _swap(database: Database, old: str) -> None:
    """As gh-ost and pt-online-schema-change do it, in another second than the one in which the table was created: the
    servers tell that time in whole seconds."""
    created = database.execute(
        "SELECT CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'item'"
    )
    while database.execute("SELECT NOW()") <= created:
        time.sleep(0.05)
    database.execute("CREATE TABLE item_gho LIKE item")
    database.execute("ALTER TABLE item_gho ADD COLUMN more INT")
    database.execute("INSERT INTO item_gho SELECT item.*, 1 FROM item")
    database.execute(f"RENAME TABLE item TO {old}, item_gho TO item")


@pytest.mark.parametrize("old", ["item_old", "_item_del", "abc"])
@pytest.mark.parametrize("by", ["repair", "repair of the table", "install-triggers"])
def test_table_swapped_by_rename_is_captured_again(db: Database, old: str, by: str) -> None:
    item(db)
    there = installer(db)
    drain(db)
    _swap(db, old)
    _write(db)  # seen by nobody
    details = [f.detail for f in there.findings([Capture("item")]) if f.severity is Severity.WRONG]
    assert details == [f"The table was swapped by RENAME: its triggers are on {old}."]
    if by == "install-triggers":
        install(db, "item")
    else:
        assert there.repair(None if by == "repair" else ["item"]).failed == {}
    db.execute(f"UPDATE {old} SET name = 'z' WHERE id = 1")  # which is none of ours any more
    db.execute("UPDATE item SET more = 2 WHERE id = 1")
    assert brief(drain(db), "id", "more") == [("gap", "update", "item"), ("update", "item", (1, 1), (1, 2))]
    assert [f.detail for f in there.findings([Capture("item")]) if f.severity is not Severity.OK] == []


def test_swap_is_noticed_within_seconds_while_the_consumer_runs(db: Database) -> None:
    """The next check of all triggers would come a minute later."""
    item(db)
    copy = Copy()

    async def follow() -> None:
        swapped = False

        def enough() -> bool:
            nonlocal swapped
            if len(copy.rows) == 4 and not swapped:
                swapped = True
                _swap(db, "item_old")
                _write(db)
            return copy.rows == _rows(db)

        async with asyncio.timeout(HANG_SECONDS):
            await _follow(db, copy, enough)

    run(follow())
    assert copy.rows["c90"]["code"] == "c90"


def test_failing_table_takes_back_no_other_repair(db: Database) -> None:
    db.execute(OTHER)
    item(db, "other")
    drain(db)
    for table in ("item", "other"):
        db.execute(f"ALTER TABLE {table} ADD COLUMN more INT")
    busy = db.connect()
    busy.cursor().execute("SELECT * FROM item")  # an open transaction: its table can be altered by nobody
    outcome = installer(db).repair()
    assert {table: type(error) for table, error in outcome.failed.items()} == {"item": LockTimeout}
    assert "create triggers of other" in outcome.done
    assert brief(drain(db)) == [("gap", "update", "other")]
    busy.rollback()
    assert installer(db).repair().failed == {}
    assert brief(drain(db)) == [("gap", "update", "item")]


def test_table_that_lost_its_key_keeps_no_other_from_being_repaired(db: Database) -> None:
    db.execute(OTHER)
    item(db, "other")
    drain(db)
    db.execute("ALTER TABLE item DROP PRIMARY KEY")
    db.execute("ALTER TABLE other ADD COLUMN more INT")
    outcome = installer(db).repair()
    assert [str(error) for error in outcome.failed.values()] == [
        "These tables are without a primary key: item. Give them a primary key."
    ]
    assert brief(drain(db)) == [("gap", "update", "other")]
    db.execute("UPDATE item SET name = 'still' WHERE id = 1")
    assert brief(drain(db), "name") == [("update", "item", ("a",), ("still",))]


def test_interrupted_repair_is_followed_by_a_gap(db: Database) -> None:
    """Killed when the new triggers are in place and the gap is not noted yet."""
    item(db)
    drain(db)
    db.execute("ALTER TABLE item ADD COLUMN more INT")
    db.execute("UPDATE item SET more = 5 WHERE id = 1")
    there = installer(db)
    connection = db.connect(autocommit=True)
    for step in there.plan_install([Capture("item")]).steps:
        for sql in step.statements[: -2 if step.table == "item" else None]:
            connection.cursor().execute(sql)
    connection.close()
    assert brief(drain(db)) == []
    assert there.repair().done == ("have item read again",)
    assert brief(drain(db)) == [("gap", "update", "item")]
    assert there.repair() == Repaired()


LOSSES = {
    "journal": ["DROP TABLE cdc_journal"],
    "journal renamed": ["RENAME TABLE cdc_journal TO kept"],
    "shapes": ["DROP TABLE cdc_shape"],
    "installation": ["DROP TABLE cdc_installation"],
    "everything": ["DROP TABLE cdc_journal, cdc_shape, cdc_installation"],
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("by", ["restore", "install-triggers"])
def test_lost_journal_is_created_again_and_all_tables_are_read(db: Database, loss: str, by: str) -> None:
    db.execute(OTHER)
    item(db, "other")
    for statement in LOSSES[loss]:
        db.execute(statement)
    if loss in ("journal", "journal renamed", "everything"):
        with pytest.raises(
            pymysql.err.ProgrammingError, match="1146"
        ):  # a trigger's tables are opened before any handler
            _write(db)
    captures = [Capture("item"), Capture("other")]
    (wrong,) = [f for f in installer(db).findings(captures) if f.severity is Severity.WRONG]
    assert "the ERP's writes to them fail" in wrong.detail
    if by == "restore":
        assert installer(db).restore(captures, "").failed == {}
    else:
        install(db, "item", "other")
    _write(db)
    rows = [row for row in brief(drain(db), "id") if row[1:2] != ("item",) or row[0] != "create" or row[3] == (90,)]
    assert sorted(row for row in rows if row[0] == "gap") == [("gap", "update", "item"), ("gap", "update", "other")]
    assert ("create", "item", None, (90,)) in rows
    assert installer(db).repair() == Repaired()


def test_uninstalled_journal_is_not_created_again(db: Database) -> None:
    item(db)
    uninstall(db)
    assert installer(db).restore([Capture("item")], "") == Repaired()


@pytest.mark.parametrize("loss", LOSSES)
def test_uninstalling_frees_the_erp_from_a_lost_journal(db: Database, loss: str) -> None:
    item(db)
    for statement in LOSSES[loss]:
        db.execute(statement)
    uninstall(db)
    _write(db)
    assert db.execute("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()") == [
        (0,)
    ]


def test_source_creates_its_lost_journal_again_when_it_is_opened(db: Database) -> None:
    item(db)
    db.execute("DROP TABLE cdc_journal")

    async def restore() -> Repaired:
        return await asyncio.to_thread(installer(db).restore, [Capture("item")], "")

    async def repair(tables: Sequence[str]) -> Repaired:
        raise AssertionError(tables)

    async def open_it() -> None:
        source = JournalSource("main", MySQLJournal(db.info), repair, restore=restore)
        await source.open(None)
        await source.close()

    run(open_it())
    _write(db)
    assert brief(drain(db), "id") == [("gap", "update", "item"), ("create", "item", None, (90,))]


def test_restore_says_what_keeps_it_from_working(db: Database) -> None:
    item(db)
    db.execute("DROP TABLE cdc_journal")
    db.execute("CREATE TABLE cdc_journal (id INT)")  # somebody else's
    with pytest.raises(InstallError, match="not ours"):
        installer(db).restore([Capture("item")], "")
