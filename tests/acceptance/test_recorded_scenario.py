"""The recording of a real FacturaScripts (66 user actions), replayed through triggers and logs of MariaDB, MySQL and
PostgreSQL.

The recording is not part of the project; where it is not at hand, ``tests/golden/erp.sql`` shows the same behaviour on
statements of the project's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cdc.model.event import Event
from support import recording_postgres
from support.database import Database
from support.logical import logical_pipeline
from support.notation import assert_same, without_cascades
from support.pipeline import Pipeline, binlog_pipeline, install, install_cascades, pipeline
from support.recording import SHARED, expectation, load, recording, run

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the recording is not at hand (CDC_SHARED); tests/golden/erp.sql is the project's own"
)


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
async def test_the_recording_by_the_binlog_of_mariadb_and_triggers_for_cascades(mariadb_binlog_db: Database) -> None:
    connection = _begun(mariadb_binlog_db)
    install_cascades(mariadb_binlog_db)
    async with binlog_pipeline(mariadb_binlog_db) as running:
        await _play(partial(run, connection), running, cascades=True)


@pytest.mark.timeout(600)
async def test_the_recording_by_the_binlog_of_mysql(mysql_db: Database) -> None:
    await _check_binlog(mysql_db, cascades=True)


@pytest.mark.timeout(600)
async def test_the_recording_on_postgresql(postgres_db: Database) -> None:
    connection = recording_postgres.begun(postgres_db)
    install(postgres_db)
    async with pipeline(postgres_db) as running:
        await _play(partial(recording_postgres.run, connection), running, cascades=True)


@pytest.mark.timeout(600)
async def test_the_recording_by_a_slot_of_postgresql(postgres_log_db: Database) -> None:
    connection = recording_postgres.begun(postgres_log_db)
    async with logical_pipeline(postgres_log_db) as running:
        await _play(partial(recording_postgres.run, connection), running, cascades=True)


async def _check(database: Database) -> None:
    connection = _begun(database)
    install(database)
    async with pipeline(database) as running:
        await _play(partial(run, connection), running, cascades=True)


async def _check_binlog(database: Database, *, cascades: bool) -> None:
    """``cascades``: whether the server logs what foreign keys change by themselves."""
    connection = _begun(database)
    async with binlog_pipeline(database) as running:
        await _play(partial(run, connection), running, cascades=cascades)


def _begun(database: Database) -> Any:
    """The connection that has run what comes before the first action."""
    load(database)
    connection = database.connect()
    run(connection, recording()[0].statements)
    return connection


async def _play(run_: Callable[[tuple[str, ...]], None], running: Pipeline, *, cascades: bool) -> None:
    expected = expectation()
    different = []
    for action in recording()[1:]:
        run_(action.statements)
        lines = expected.get(action.number, [])
        if problem := _difference(lines if cascades else without_cascades(lines), await running.drain()):
            different.append(f"{action.number} {action.title}: {problem}")
    assert not different, "\n".join(different)


def _difference(expected: list[str], events: list[list[Event]]) -> str:
    if len(expected) != len(events):
        return f"expected {expected}, got {[[event.name for event in each] for each in events]}"
    for line, transaction in zip(expected, events, strict=True):
        try:
            assert_same(line, transaction)
        except AssertionError as error:
            return str(error)
    return ""
