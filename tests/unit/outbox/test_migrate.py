"""Numbered migrations, each in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc.model.errors import OutboxError
from cdc.outbox.database import Migration, migrations
from cdc.outbox.sqlite.file import migrate_sqlite, statements

PATH = Path("outbox.db")
ONE = Migration(1, "one", "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\n")
TWO = Migration(2, "two", "ALTER TABLE a ADD COLUMN y;\nUPDATE a SET y = x + 1;\n")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_the_shipped_migrations_make_a_schema(db: sqlite3.Connection) -> None:
    migrate_sqlite(db, PATH)
    assert version(db) == len(migrations("sqlite")) >= 1
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"event", "delivery", "endpoint", "attempt", "source_position", "source_state"} <= tables


def test_migrating_again_does_nothing(db: sqlite3.Connection) -> None:
    migrate_sqlite(db, PATH, [ONE])
    migrate_sqlite(db, PATH, [ONE])
    assert db.execute("SELECT * FROM a").fetchall() == [(1,)]


def test_only_the_missing_steps_run(db: sqlite3.Connection) -> None:
    migrate_sqlite(db, PATH, [ONE])
    migrate_sqlite(db, PATH, [ONE, TWO])
    assert db.execute("SELECT * FROM a").fetchall() == [(1, 2)]
    assert version(db) == 2


def test_a_step_that_fails_leaves_the_step_before(db: sqlite3.Connection) -> None:
    broken = Migration(2, "broken", TWO.script + "INSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate_sqlite(db, PATH, [ONE, broken])
    assert version(db) == 1
    assert db.execute("SELECT * FROM a").fetchall() == [(1,)]
    migrate_sqlite(db, PATH, [ONE, TWO])
    assert version(db) == 2


def test_a_newer_schema_is_refused(db: sqlite3.Connection) -> None:
    migrate_sqlite(db, PATH, [ONE, TWO])
    with pytest.raises(OutboxError, match="version 2, newer than this program's 1"):
        migrate_sqlite(db, PATH, [ONE])


def test_a_script_is_split_into_its_statements() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\n  SELECT ';';\nEND;\n"
    script = f"-- a; comment\nCREATE TABLE a (\n  x -- y;\n);\n{trigger}"
    assert [part.strip() for part in statements(script)] == [script[: script.index(trigger)].strip(), trigger.strip()]


def test_a_script_without_its_last_semicolon_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        list(statements("CREATE TABLE a (x)"))
