"""All 83 tables as FacturaScripts itself creates them, where their dump lies beside this repository."""

from __future__ import annotations

import gzip
import re

import pytest

from cdc.capture.triggers.base import Plan
from cdc.model.change import Operation
from cdc.model.column import Capture
from cdc.model.finding import Severity
from support.database import Database
from support.mysql_capture import drain, install, uninstall
from support.recording import SHARED

DUMP = SHARED / "mariadb-schema.sql.gz"
SECRETS = {
    "users": {"password", "logkey", "two_factor_secret_key"},
    "api_keys": {"apikey"},
    "settings": {"properties"},
}

pytestmark = pytest.mark.skipif(not DUMP.exists(), reason="the dump of the full schema is not at hand (CDC_SHARED)")


def load(database: Database) -> list[str]:
    text = gzip.decompress(DUMP.read_bytes()).decode()
    statements = re.findall(r"CREATE TABLE `\w+` \(.*?\) ENGINE[^;]*;", text, re.DOTALL)
    database.script("SET foreign_key_checks = 0;\n" + "\n".join(statements) + "\nSET foreign_key_checks = 1;")
    return [name for (name,) in database.execute("SHOW TABLES")]


def structure(database: Database, tables: list[str]) -> list[object]:
    created: list[object] = [database.execute(f"SHOW CREATE TABLE `{name}`") for name in tables]
    return [
        database.execute("SHOW TABLES"),
        database.execute("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()"),
        database.execute("SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()"),
        *created,
    ]


def test_every_table_captured_written_and_left_as_it_was(db: Database) -> None:
    tables = load(db)
    assert len(tables) == 83
    before = structure(db, tables)
    captures = [Capture(table, frozenset(SECRETS.get(table, ()))) for table in tables]
    there = install(db, *captures)
    assert there.plan_install(captures) == Plan(())
    assert {f.check for f in there.findings(captures) if f.severity is not Severity.OK} <= {"foreign keys"}  # MySQL 9
    cursor = db.connect(autocommit=True).cursor()
    for table, key in db.execute(
        "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE "
        "WHERE TABLE_SCHEMA = DATABASE() AND CONSTRAINT_NAME = 'PRIMARY' AND TABLE_NAME NOT LIKE 'cdc%'"
    ):
        cursor.execute("SET SESSION sql_mode = '', foreign_key_checks = 0")
        cursor.execute(f"INSERT INTO `{table}` (`{key}`) VALUES (77)")
        cursor.execute("SET SESSION foreign_key_checks = 1")
        cursor.execute(f"DELETE FROM `{table}` WHERE `{key}` = 77")
    rows = drain(db)
    assert not any(row.gap for row in rows)
    for operation in (Operation.CREATE, Operation.DELETE):
        assert {row.change.table for row in rows if row.change.operation is operation} == set(tables)
    uninstall(db)
    assert [re.sub(r" AUTO_INCREMENT=\d+", "", str(part)) for part in structure(db, tables)] == [
        re.sub(r" AUTO_INCREMENT=\d+", "", str(part)) for part in before
    ]
