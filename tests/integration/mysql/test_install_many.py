"""Installing triggers on many tables: in several sessions, at a cost that grows with the tables, all or nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cdc.capture.triggers.base import Plan
from cdc.capture.triggers.mysql import LockTries, MySQLInstaller
from cdc.model.column import Capture
from cdc.model.errors import LockTimeout
from support.database import Database
from support.mysql_capture import drain, installer

TABLES = [f"t{number:02}" for number in range(50)]
CAPTURES = [Capture(table) for table in TABLES]
RECORDED = "SELECT LENGTH(`captures`) FROM `cdc_installation` WHERE `tokens` = 'triggers made'"


@pytest.fixture
def many(db: Database) -> Database:
    """Tables, every other one the child of the one before."""
    for table in TABLES[::2]:
        db.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY, n INT) ENGINE = InnoDB")
    for parent, child in list(pairwise(TABLES))[::2]:
        db.execute(
            f"CREATE TABLE {child} (id INT PRIMARY KEY, n INT, FOREIGN KEY (n) REFERENCES {parent} (id) "
            "ON DELETE CASCADE) ENGINE = InnoDB"
        )
    return db


def triggers(db: Database) -> int:
    (((count),),) = db.execute("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()")
    return int(count)


def test_other_sessions_go_on_while_one_waits_for_its_table(many: Database) -> None:
    there = MySQLInstaller(many.info, LockTries(30, 2))
    erp = many.connect()
    erp.cursor().execute(f"SELECT * FROM {TABLES[0]}")
    titles: list[str] = []

    def progress(title: str) -> None:
        titles.append(title)
        if title == f"create triggers of {TABLES[-1]}":
            erp.rollback()

    there.apply(there.plan_install(CAPTURES), progress)
    tables = [title.split()[-1] for title in titles if title.startswith("create triggers")]
    assert sorted(tables) == TABLES
    assert there.plan_install(CAPTURES) == Plan(())
    many.execute(f"INSERT INTO {TABLES[0]} VALUES (1, 1)")
    many.execute(f"INSERT INTO {TABLES[1]} VALUES (2, 1)")
    many.execute(f"DELETE FROM {TABLES[0]}")
    assert len(drain(many)) == 4, "the deleted child is among them"
    # when each was created is written in shares: in one piece, this would be written 50 times
    recorded = [int(length) for (length,) in many.execute(RECORDED)]
    assert max(recorded) < sum(recorded) / 4


def test_table_that_stays_locked_has_all_taken_back(many: Database) -> None:
    erp = many.connect()
    erp.cursor().execute("SELECT * FROM t07")  # MySQL locks a parent together with its child
    there = installer(many)
    with pytest.raises(LockTimeout, match=r"table t0[67] stayed locked"):
        there.apply(there.plan_install(CAPTURES), lambda _: None)
    assert triggers(many) == 0
    assert many.execute("SHOW TABLES LIKE 'cdc%'") == []
    erp.rollback()


def test_account_with_few_connections_installs(many: Database) -> None:
    user = f"few_{many.name}"[:32]
    many.execute(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'p4ssw0rd!' WITH MAX_USER_CONNECTIONS 2")
    rights = [f"ALL PRIVILEGES ON `{many.name}`.*"]
    rights += ["SELECT ON performance_schema.*"] if many.flavour == "mysql" else []
    for right in rights:
        many.execute(f"GRANT {right} TO '{user}'@'%'")
    there = MySQLInstaller(many.info.as_user(user, "p4ssw0rd!"), LockTries(30, 2))
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    assert there.plan_install(CAPTURES) == Plan(())


def test_statements_that_are_done_are_not_repeated_after_a_lock_conflict(many: Database) -> None:
    """Else a trigger that exists by now would be taken for another installation's."""
    there = installer(many)
    there.apply(there.plan_install(CAPTURES), lambda _: None)
    many.execute("DROP TRIGGER cdc_t03_ai")
    other = many.connect()
    other.cursor().execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    other.cursor().execute("SELECT * FROM `cdc_installation` WHERE `id` >= 4 FOR UPDATE")
    failed = there.repair(["t03"]).failed
    assert {type(error) for error in failed.values()} == {LockTimeout}, failed
    other.rollback()
    assert there.repair().failed == {}
    assert there.plan_install(CAPTURES) == Plan(())
