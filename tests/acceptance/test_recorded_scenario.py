"""The recording of a real FacturaScripts (66 user actions), replayed through the triggers and the binlogs of MariaDB
and MySQL.

The recording is not part of the project; where it is not at hand, ``tests/golden/erp.sql`` shows the same behaviour on
statements of the project's own.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from cdc.event import Event
from support.actions import statements
from support.database import Database
from support.notation import assert_same, without_cascades
from support.pipeline import Pipeline, binlog_pipeline, install, pipeline

SHARED = Path(os.environ.get("CDC_SHARED", Path(__file__).parents[3] / "shared")) / "facturascripts"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the recording is not at hand (CDC_SHARED); tests/golden/erp.sql is the project's own"
)


@dataclass(frozen=True, slots=True)
class Recorded:
    number: int
    title: str
    statements: tuple[str, ...]


def recording() -> list[Recorded]:
    text = gzip.decompress((SHARED / "scenario-mariadb.sql.gz").read_bytes()).decode()
    head, *parts = re.split(r"^-- ##MARK (\d+) (.*)$", text, flags=re.MULTILINE)
    found = [Recorded(0, "before the first action", tuple(statements(head)))]
    for number, title, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        found.append(Recorded(int(number), title, tuple(statements(body))))
    return found


def expectation() -> dict[int, list[str]]:
    """Number of an action → one line a transaction."""
    lines: dict[int, list[str]] = {}
    number = 0
    for line in (SHARED / "scenario-events.txt").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(\d+) ", line):
            number = int(heading[1])
            lines[number] = []
        elif line.startswith("    ") and line.strip() != "(none)":
            lines[number].append(line.strip())
    return lines


@pytest.mark.timeout(600)
async def test_the_recording_on_mariadb(mariadb_db: Database) -> None:
    await _check(mariadb_db)


@pytest.mark.timeout(600)
async def test_the_recording_on_mariadb_with_the_binlog(mariadb_binlog_db: Database) -> None:
    await _check(mariadb_binlog_db)


@pytest.mark.timeout(600)
async def test_the_recording_on_mysql(mysql_db: Database) -> None:
    await _check(mysql_db)


@pytest.mark.timeout(600)
async def test_the_recording_by_the_binlog_of_mariadb(mariadb_binlog_db: Database) -> None:
    await _check_binlog(mariadb_binlog_db, cascades=False)


@pytest.mark.timeout(600)
async def test_the_recording_by_the_binlog_of_mysql(mysql_db: Database) -> None:
    await _check_binlog(mysql_db, cascades=True)


async def _check(database: Database) -> None:
    connection = _begun(database)
    install(database)
    async with pipeline(database) as running:
        await _play(connection, running, cascades=True)


async def _check_binlog(database: Database, *, cascades: bool) -> None:
    """``cascades``: whether the server logs what foreign keys change by themselves."""
    connection = _begun(database)
    async with binlog_pipeline(database) as running:
        await _play(connection, running, cascades=cascades)


def _begun(database: Database) -> Any:
    """The connection that has run what comes before the first action."""
    _load(database)
    connection = database.connect()
    _run(connection, recording()[0].statements)
    return connection


async def _play(connection: Any, running: Pipeline, *, cascades: bool) -> None:
    expected = expectation()
    different = []
    for action in recording()[1:]:
        _run(connection, action.statements)
        lines = expected.get(action.number, [])
        if problem := _difference(lines if cascades else without_cascades(lines), await running.drain()):
            different.append(f"{action.number} {action.title}: {problem}")
    assert not different, "\n".join(different)


def _load(database: Database) -> None:
    text = gzip.decompress((SHARED / "scenario-mariadb-init.sql.gz").read_bytes()).decode()
    connection = database.connect()
    _run(connection, tuple(_loadable(text)))
    connection.commit()


def _loadable(text: str) -> Iterator[str]:
    """The dump's own comments (some of them commands to MariaDB's client) are not needed to load it."""
    yield "SET FOREIGN_KEY_CHECKS = 0"
    yield "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"
    for statement in statements(text):
        if statement.startswith(("CREATE TABLE", "INSERT INTO")):
            yield statement
    yield "SET FOREIGN_KEY_CHECKS = 1"


def _run(connection: Any, texts: tuple[str, ...]) -> None:
    """A few of the recorded statements fail, as they did when they were recorded."""
    cursor = connection.cursor()
    for text in texts:
        try:
            cursor.execute(text)
        except pymysql.err.IntegrityError:
            continue


def _difference(expected: list[str], events: list[list[Event]]) -> str:
    if len(expected) != len(events):
        return f"expected {expected}, got {[[event.name for event in each] for each in events]}"
    for line, transaction in zip(expected, events, strict=True):
        try:
            assert_same(line, transaction)
        except AssertionError as error:
            return str(error)
    return ""
