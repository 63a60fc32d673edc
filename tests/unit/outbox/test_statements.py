"""Statements are written once; what SQLite writes otherwise is replaced."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest

import cdc.access
import cdc.outbox
from cdc.outbox.database import _for_psycopg, _for_sqlite, postgres_statements, sqlite_statements
from cdc.outbox.sqlite.database import SqliteDatabase, finished
from cdc.outbox.sqlite.file import migrate_sqlite
from support.outboxes import NOW

USED = re.compile(r'\.(?:rows|row|value|write|rows_each|write_each)\(\s*"(\w+)"')


def test_both_dialects_have_every_statement_of_the_subjects() -> None:
    modules = [file for package in (cdc.outbox, cdc.access) for file in Path(package.__path__[0]).glob("*.py")]
    used = {name for file in modules for name in USED.findall(file.read_text())}
    assert len(used) > 90
    assert not used - sqlite_statements().keys()
    assert not used - postgres_statements().keys()


@pytest.mark.parametrize(
    ("shared", "sqlite", "psycopg"),
    [
        (
            "DELETE FROM cdc_outbox.attempt WHERE delivery = ANY (:ids::bigint[])",
            "DELETE FROM attempt WHERE delivery IN (SELECT value FROM json_each(:ids))",
            "DELETE FROM cdc_outbox.attempt WHERE delivery = ANY (%(ids)s::bigint[])",
        ),
        ("SELECT :before::text IS NULL", "SELECT :before IS NULL", "SELECT %(before)s::text IS NULL"),
        ("SELECT length(:key::bytea)", "SELECT length(:key)", "SELECT length(%(key)s::bytea)"),
        (
            "SELECT 1 FROM t\n    FOR UPDATE SKIP LOCKED",
            "SELECT 1 FROM t",
            "SELECT 1 FROM t\n    FOR UPDATE SKIP LOCKED",
        ),
    ],
)
def test_a_statement_is_translated(shared: str, sqlite: str, psycopg: str) -> None:
    assert _for_sqlite(shared) == sqlite
    assert _for_psycopg(shared) == psycopg


def test_times_and_lists_are_python_values_in_both_directions() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate_sqlite(connection, Path("outbox.db"))
    db = SqliteDatabase(connection)
    columns: dict[str, list[object]] = {
        "sequence": [1, 2],
        "id": ["evt_1", "evt_2"],
        "name": ["a.b", "a.b"],
        "source": ["main", "main"],
    }
    columns |= {"label_code": ["f1", None], "label_name": [None, None]}
    finished(db.write_each("insert_event", {**columns, "time": [NOW, NOW], "payload": [b"{}", b""]}, record="r"))
    (first, _) = finished(db.rows("events_after", after=0, limit=9))
    assert first == (1, "evt_1", "a.b", "main", "r", NOW, b"{}")
    assert finished(db.rows("sequences", ids=["evt_2", "evt_3"])) == [("evt_2", 2)]
    connection.close()


def test_work_on_sqlite_that_waits_is_an_error() -> None:
    async def waiting() -> None:
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="waits for nothing"):
        finished(waiting())
