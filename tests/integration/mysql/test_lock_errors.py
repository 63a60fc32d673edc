"""A lock that a trigger does not get is an error of the ERP's statement.

InnoDB takes the whole transaction back upon a deadlock.  Were the error handled within the trigger, the statement would
succeed, and the rest of the transaction would be committed alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS

from cdc.database.mysql_connection import code_of
from cdc.model.column import Capture
from cdc.model.finding import Severity
from support.database import Database
from support.mysql_capture import install
from support.waiting import HANG_SECONDS

DEADLOCK, TIMEOUT, KILLED = 1213, 1205, 1317
TABLES = """
CREATE TABLE own (id INT PRIMARY KEY);
CREATE TABLE heavy (id INT AUTO_INCREMENT PRIMARY KEY, n INT);
CREATE TABLE item (id INT PRIMARY KEY, n INT);
CREATE TABLE altered (id INT PRIMARY KEY, n INT);
CREATE TABLE parent (id INT PRIMARY KEY);
CREATE TABLE child (id INT PRIMARY KEY, p INT, n INT,
  FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE lost (id INT PRIMARY KEY, p INT, n INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
INSERT INTO item VALUES (1, 0), (2, 0);
INSERT INTO altered VALUES (1, 0);
INSERT INTO parent VALUES (1), (2), (3);
INSERT INTO child VALUES (1, 1, 0);
INSERT INTO lost VALUES (1, 2, 0);
"""
#: What triggers name is not there any more: their handlers write a gap.
ALTERED = "ALTER TABLE altered DROP COLUMN n; ALTER TABLE lost DROP COLUMN n"
JOURNAL = "SELECT * FROM cdc_journal FORCE INDEX (PRIMARY) WHERE id > 0 FOR UPDATE"
#: What the ERP does → what another session has locked.
STATEMENTS = {
    "INSERT INTO item VALUES (3, 0)": JOURNAL,
    "REPLACE INTO item VALUES (1, 5)": JOURNAL,
    "INSERT INTO item VALUES (1, 0) ON DUPLICATE KEY UPDATE n = 5": JOURNAL,
    "UPDATE item SET n = n + 1": JOURNAL,
    "DELETE FROM item WHERE id = 1": JOURNAL,
    "INSERT INTO altered VALUES (3)": JOURNAL,
    "UPDATE altered SET id = 9 WHERE id = 1": JOURNAL,
    "DELETE FROM altered WHERE id = 1": JOURNAL,
    "DELETE FROM parent WHERE id = 2": JOURNAL,
    "DELETE FROM parent WHERE id = 1": "SELECT * FROM child WHERE id = 1 FOR UPDATE",
    "UPDATE parent SET id = 9 WHERE id = 1": "SELECT * FROM child WHERE id = 1 FOR UPDATE",
}
#: One of each kind of trigger: of a row, of a row whose trigger fails, of a parent.
ONCE = ("UPDATE item SET n = n + 1", "DELETE FROM altered WHERE id = 1", "DELETE FROM parent WHERE id = 1")


@dataclass
class Sessions:
    """The ERP's session, with a transaction that has written, and another one that has written more: of two sessions
    that wait for each other the server ends the one that wrote less."""

    database: Database
    erp: Any
    other: Any

    def execute(self, session: Any, sql: str) -> int:
        """Return the number of the error, or 0."""
        with session.cursor() as cursor:
            try:
                cursor.execute(sql)
                cursor.fetchall()
            except pymysql.err.MySQLError as error:
                return code_of(error)
        return 0

    def until_erp_waits(self) -> None:
        sql = (
            "SELECT COUNT(*) FROM information_schema.INNODB_TRX "
            f"WHERE trx_state = 'LOCK WAIT' AND trx_mysql_thread_id = {self.erp.thread_id()}"
        )
        deadline = time.monotonic() + HANG_SECONDS
        while self.database.execute(sql) == [(0,)]:
            assert time.monotonic() < deadline, "no lock is waited for"
            threading.Event().wait(0.2)  # the server renews this table only when it was not read for 0.1 s


@contextmanager
def sessions(database: Database, lock: str) -> Iterator[Sessions]:
    erp, other = database.connect(autocommit=True), database.connect(autocommit=True)
    made = Sessions(database, erp, other)
    try:
        rows = ", ".join(["(1)"] * 200)
        for sql in ("BEGIN", f"INSERT INTO heavy (n) VALUES {rows}", lock):
            assert made.execute(other, sql) == 0
        for sql in ("BEGIN", "INSERT INTO own VALUES (1)"):
            assert made.execute(erp, sql) == 0
        yield made
    finally:
        for session in (erp, other):
            made.execute(session, "ROLLBACK")
            session.close()


@pytest.fixture
def locked(db: Database) -> Database:
    db.script(TABLES)
    install(db, "item", "altered", "child", "lost")
    db.script(ALTERED)
    return db


def provoke(made: Sessions, statement: str, wanted: int) -> int:
    """The statement's error while the other session holds its lock."""
    if wanted == TIMEOUT:
        made.execute(made.erp, "SET SESSION innodb_lock_wait_timeout = 1")
        return made.execute(made.erp, statement)
    with ThreadPoolExecutor(1) as pool:
        under_way: Future[int] = pool.submit(made.execute, made.erp, statement)
        made.until_erp_waits()
        if wanted == KILLED:
            made.database.execute(f"KILL QUERY {made.erp.thread_id()}")
        else:
            assert made.execute(made.other, "SELECT * FROM own WHERE id = 1 FOR UPDATE") == 0
        return under_way.result(HANG_SECONDS)


def test_lock_error_inside_a_trigger_reaches_the_client(locked: Database) -> None:
    journal = locked.execute("SELECT COUNT(*) FROM cdc_journal")
    cases = [(DEADLOCK, each) for each in STATEMENTS] + [
        (wanted, each) for wanted in (TIMEOUT, KILLED) for each in ONCE
    ]
    for wanted, statement in cases:
        with sessions(locked, STATEMENTS[statement]) as made:
            assert provoke(made, statement, wanted) == wanted, statement
            assert made.execute(made.other, "ROLLBACK") == 0
            assert made.execute(made.erp, "DO 0") == 0
            is_open = bool(made.erp.server_status & SERVER_STATUS_IN_TRANS)
            assert is_open is (wanted != DEADLOCK), f"{statement}: the server tells the client what it took back"
            assert made.execute(made.erp, "COMMIT") == 0
        kept = [] if wanted == DEADLOCK else [(1,)]
        assert locked.execute("SELECT id FROM own") == kept, statement
        assert locked.execute("SELECT COUNT(*) FROM cdc_journal") == journal, f"{statement}: half of it was journaled"
        locked.execute("DELETE FROM own")


def test_doctor_warns_of_cascades_whose_deadlocks_mysql_does_not_report(locked: Database) -> None:
    there = install(locked, "item", "child")
    silent = locked.execute("SHOW VARIABLES LIKE 'innodb_native_foreign_keys'") == [
        ("innodb_native_foreign_keys", "OFF")
    ]
    found = [each for each in there.findings([Capture("item"), Capture("child")]) if each.check == "foreign keys"]
    assert [each.severity for each in found] == [Severity.WARNING] * silent
    locked.execute("DROP TABLE child")
    locked.execute("DROP TABLE lost")
    assert [each for each in there.findings([Capture("item")]) if each.check == "foreign keys"] == []
