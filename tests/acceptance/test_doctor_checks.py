"""Each check of `cdc doctor` is reported by itself: one that fails hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.consumer import TABLE, Consumer
from support.database import Database

#: Fixture, capture mode, installing command; a statement that breaks a table's capture, and the check that sees it.
ROUTES = {
    "postgresql": (
        *("postgres_db", "triggers", "install-triggers"),
        *("ALTER TABLE contadores DISABLE TRIGGER ALL", "table contadores"),
    ),
    "postgresql-log": (
        *("postgres_log_db", "logical", "install-slot"),
        *("ALTER TABLE contadores REPLICA IDENTITY DEFAULT", "table contadores"),
    ),
    "mariadb": (
        *("mariadb_db", "triggers", "install-triggers"),
        *("ALTER TABLE contadores ADD COLUMN extra integer", "triggers of contadores"),
    ),
    "mysql-log": (
        *("mysql_binlog_db", "binlog", ""),
        *("ALTER TABLE contadores DROP PRIMARY KEY", "key of contadores"),
    ),
}


@pytest.mark.parametrize("route", ROUTES)
def test_table_that_a_rule_names_and_that_was_dropped_hides_no_other_check(
    route: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture, capture, install, break_it, check = ROUTES[route]
    database: Database = request.getfixturevalue(fixture)
    database.execute(TABLE)
    database.execute(TABLE.replace("contadores", "plugin"))
    consumer = Consumer.configure(tmp_path, database.info, f'capture = "{capture}"\nrules = "rules.toml"\n')
    (tmp_path / "rules.toml").write_text('tables = ["contadores", "plugin"]\n', encoding="utf-8")
    if install:
        consumer.run(install)
    database.execute("DROP TABLE plugin")
    database.execute(break_it)
    checks = json.loads(consumer.run("doctor", "--source", "main", "--json", expect=1))["checks"]
    wrong = {each["check"]: each["detail"] for each in checks if each["severity"] == "wrong"}
    assert wrong.keys() >= {"rules", check}
    assert "line 1: The database has no table plugin." in wrong["rules"]
