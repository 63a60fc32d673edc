"""MariaDB's registry of transactions, which one killed commit closes for the whole server, is opened again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pymysql
import pytest

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.mysql_watch import JournalWatch
from cdc.database import sqlfile
from cdc.model.column import Capture
from cdc.model.errors import InstallError
from cdc.model.finding import Severity
from support.database import Database
from support.mysql_capture import install, uninstall
from support.waiting import HANG_SECONDS

INSERT = "INSERT INTO item (name) VALUES ('x')"
_DISABLED = 4133
_WAITING = "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = %s AND STATE = 'Waiting for table metadata lock'"


@pytest.fixture
def items(own_server: Callable[..., Database]) -> Database:
    database = own_server("mariadb")
    database.execute("CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB")
    install(database, "item")
    return database


def close_registry(database: Database) -> None:
    """Kill a commit while it waits for the registry's table: behind a TRUNCATE, which waits for a reader."""
    reading, emptying, committing = (database.connect(autocommit=number > 0) for number in range(3))
    cursor = reading.cursor()
    cursor.execute("SELECT COUNT(*) FROM mysql.transaction_registry")
    threads = [
        thread_with(database, emptying, "TRUNCATE TABLE mysql.transaction_registry"),
        thread_with(database, committing, INSERT),
    ]
    database.execute(f"KILL QUERY {committing.thread_id()}")
    threads[1].join()
    reading.rollback()
    threads[0].join()


def thread_with(database: Database, connection: Any, sql: str) -> threading.Thread:
    """A thread whose statement waits for a table."""

    def execute() -> None:
        with suppress(pymysql.err.OperationalError):  # it is killed
            connection.cursor().execute(sql)

    thread = threading.Thread(target=execute)
    thread.start()
    deadline = time.monotonic() + HANG_SECONDS
    while not database.execute(_WAITING, (connection.thread_id(),)):
        assert time.monotonic() < deadline
    return thread


def error_of_insert(database: Database) -> int:
    try:
        database.execute(INSERT)
    except pymysql.err.MySQLError as error:
        return int(error.args[0])
    return 0


async def test_a_waiting_consumer_has_commits_accepted_again(items: Database) -> None:
    journal = MySQLJournal(items.info)
    await journal.connect()
    try:
        await asyncio.to_thread(close_registry, items)
        async with asyncio.timeout(HANG_SECONDS):
            while await asyncio.to_thread(error_of_insert, items):
                await journal.wait(0.3)
        assert await journal.heads(10)
    finally:
        await journal.disconnect()


async def test_a_common_wait_has_commits_accepted_again(items: Database) -> None:
    watch = JournalWatch()
    journal = MySQLJournal(items.info, watch=watch, slice_=10 * HANG_SECONDS)
    await journal.connect()
    async with asyncio.timeout(HANG_SECONDS):
        while not watch.connected:  # noqa: ASYNC110 - the first connection of the watch: there is no event
            await asyncio.sleep(0.01)
    waiting = asyncio.create_task(journal.wait(10 * HANG_SECONDS))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await asyncio.to_thread(close_registry, items)
            while await asyncio.to_thread(error_of_insert, items):
                pass
            await waiting
    finally:
        waiting.cancel()
        await journal.disconnect()


async def test_a_consumer_that_connects_has_commits_accepted_again(items: Database) -> None:
    close_registry(items)
    assert error_of_insert(items) == _DISABLED
    journal = MySQLJournal(items.info)
    await journal.connect()
    await journal.disconnect()
    assert error_of_insert(items) == 0


async def test_a_consumer_that_deletes_has_commits_accepted_again(items: Database) -> None:
    items.execute(INSERT)
    journal = MySQLJournal(items.info)
    await journal.connect()
    try:
        tokens = [head.token for head in await journal.heads(10)]
        close_registry(items)
        journal._registry_at = 0  # as after a moment
        await journal.delete(tokens)
        assert not await journal.heads(10)
    finally:
        await journal.disconnect()


def test_doctor_and_installation_have_commits_accepted_again(items: Database) -> None:
    there = install(items, "item")
    close_registry(items)
    (finding,) = [each for each in there.findings([Capture("item")]) if each.check == "capture"]
    assert finding.severity is Severity.OK
    assert error_of_insert(items) == 0
    close_registry(items)
    items.execute("CREATE TABLE other (id INT PRIMARY KEY) ENGINE=InnoDB")
    install(items, "item", "other")
    assert error_of_insert(items) == 0


def test_uninstalling_works_while_commits_are_refused_and_installing_says_what_to_do(items: Database) -> None:
    close_registry(items)
    uninstall(items)
    assert error_of_insert(items) == 0
    with pytest.raises(InstallError) as failure:
        install(items, "item")
    assert "4133" in failure.value.message
    assert failure.value.hint.startswith("Restart the server")
    items.server.restart()
    install(items, "item")
    items.connect(autocommit=True).cursor().execute(INSERT)


def test_doctor_warns_of_a_probe_that_cannot_open_the_registry(items: Database) -> None:
    there = install(items, "item")
    items.execute("DROP TABLE cdc_probe")
    items.execute(f"{sqlfile.load('mysql/tables.sql#probe')}")
    (finding,) = [each for each in there.findings([Capture("item")]) if each.check == "registry"]
    assert (finding.severity, finding.fix) == (Severity.WARNING, "cdc install-triggers")
    install(items, "item")
    assert not [each for each in there.findings([Capture("item")]) if each.check == "registry"]
