"""Nothing lost, nothing doubled under another id, nothing out of order, nothing of rolled-back work: eight writers on
overlapping records, the consumer killed thirty times, the server restarted twice.

Each record counts its own changes (``valor = valor + 1`` under its row lock), so the events of one record must form a
chain: each one's previous count is the count of the event before it, and the last one is what the table holds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from cdc.receiver import Received
from support.consumer import Consumer, Inbox, receiving
from support.database import Database

CHANGES = int(os.environ.get("CDC_TEST_CHANGES", "20000"))
WRITERS = 8
KILLS = 30
RESTARTS = 2
RECORDS = 40
RULES = 'tables = ["contadores"]\n'
TABLE = "CREATE TABLE contadores (id integer PRIMARY KEY, valor integer NOT NULL, nota varchar(40))"
OPTIONS = {"postgresql": ("deadlock_timeout=50ms",)}
LOST_CONNECTION = (psycopg.Error, pymysql.err.Error)


@dataclass
class Work:
    """How many changes are still to be written; shared by the writers."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Event = field(default_factory=threading.Event)

    def take(self, count: int) -> int:
        with self.lock:
            taken = min(count, self.left)
            self.left -= taken
            return taken


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["postgresql", "mariadb", "mysql"])
async def test_nothing_is_lost_doubled_or_reordered(flavour: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, *OPTIONS.get(flavour, ()))
    consumer = _prepare(database, tmp_path)
    consumer.run("install-triggers")
    await _through_trouble(database, consumer, database.server.restart)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_nothing_of_a_binlog_is_lost_doubled_or_reordered(flavour: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour, binlog=True)
    consumer = _prepare(database, tmp_path, 'capture = "binlog"')

    def kill() -> None:
        database.server.kill()
        database.server.start()

    await _through_trouble(database, consumer, kill, database.server.restart)


async def _through_trouble(database: Database, consumer: Consumer, *restarts: Callable[[], None]) -> None:
    """``restarts``: what is done to the server, in turn."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    inbox = Inbox()
    async with receiving(inbox) as url:
        consumer.add_endpoint(url, "contadores.*")
        try:
            await _begin(database, consumer, inbox)
            await _trouble(database, consumer, random.Random(seed), restarts)
            await _until_quiet(database, consumer, inbox)
        finally:
            consumer.end()
    _check(database, inbox)


def _prepare(database: Database, folder: Path, more: str = "") -> Consumer:
    database.execute(TABLE)
    for number in range(RECORDS):
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    return Consumer.configure(folder, database.info, f'rules = "rules.toml"\n{more}')


async def _begin(database: Database, consumer: Consumer, inbox: Inbox) -> None:
    """A first change arrives: from here on, wherever the consumer stands is stored."""
    async with consumer.running():
        database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 0")
        await inbox.until_count(1)


async def _trouble(
    database: Database, consumer: Consumer, dice: random.Random, restarts: Sequence[Callable[[], None]]
) -> None:
    """The writers at work while the consumer is killed and the server restarted."""
    work = Work(CHANGES)
    seeds = [dice.randrange(2**32) for _ in range(WRITERS)]
    pool = ThreadPoolExecutor(WRITERS)  # asyncio's own has fewer threads on a small machine
    loop = asyncio.get_running_loop()
    writers = [loop.run_in_executor(pool, _write, database, work, random.Random(each)) for each in seeds]
    moments = sorted(dice.sample(range(5, KILLS - 5), RESTARTS))
    for number in range(KILLS):
        consumer.start()
        await asyncio.sleep(dice.uniform(0.3, 1.6))  # the random moment of the kill is what is tested
        if number in moments:
            await asyncio.to_thread(restarts[moments.index(number) % len(restarts)])
        consumer.end(signal.SIGKILL)
    consumer.start()
    await asyncio.gather(*writers)
    pool.shutdown()


def _write(database: Database, work: Work, dice: random.Random) -> None:
    """Transactions until nothing is left to write, over as many connections as the restarts make necessary."""
    connection = _connected(database)
    while count := work.take(dice.choice((1, 1, 2, 3, 5, 8, 30))):
        while True:
            try:
                _transaction(connection, count, dice)
                break
            except LOST_CONNECTION:
                connection = _connection_again(database, connection)


def _connection_again(database: Database, connection: Any) -> Any:
    """The same one after a deadlock, a new one after a restart."""
    try:
        connection.rollback()
    except LOST_CONNECTION:
        return _connected(database)
    return connection


def _connected(database: Database) -> Any:
    """As soon as the server lets us."""
    while True:
        try:
            return database.connect()
        except LOST_CONNECTION:
            threading.Event().wait(0.05)  # it is down: nothing tells when it is up again


def _transaction(connection: Any, count: int, dice: random.Random) -> None:
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    for statement in _statements(count, dice):
        cursor.execute(statement)
    if dice.random() < 0.1:
        threading.Event().wait(dice.uniform(0, 0.02))  # commits late, so that commit order is not the order of ids
    connection.rollback() if dice.random() < 0.1 else connection.commit()


def _statements(count: int, dice: random.Random) -> Iterator[str]:
    undo = dice.random() < 0.2
    records = [dice.randrange(RECORDS) for _ in range(count)]
    if dice.random() < 0.95:
        records.sort()  # the others run into deadlocks now and then
    for number, record in enumerate(records):
        if undo and number == count // 2:
            yield "SAVEPOINT s"
        yield f"UPDATE contadores SET valor = valor + 1, nota = 'n{dice.randrange(1000)}' WHERE id = {record}"
    if undo:
        yield "ROLLBACK TO SAVEPOINT s"


async def _until_quiet(database: Database, consumer: Consumer, inbox: Inbox) -> None:
    """What the table holds has arrived, and every delivery is made."""
    async with asyncio.timeout(120):
        while True:
            counted = _counted(database)
            arrived = {received.event["key"]["id"]: received.event["data"]["valor"] for received in inbox.received}
            if counted is not None and all(arrived.get(each, 0) >= value for each, value in counted.items()):
                states = await asyncio.to_thread(consumer.run, "delivery", "list", "--state", "pending", "--json")
                if '"id"' not in states:
                    return
            await asyncio.sleep(0.5)  # two processes and a database: there is no one event to await


def _counted(database: Database) -> dict[int, int] | None:
    """None when the connection was lost in a restart; the next call makes a new one."""
    try:
        return dict(database.execute("SELECT id, valor FROM contadores"))
    except LOST_CONNECTION:
        return None


def _check(database: Database, inbox: Inbox) -> None:
    counted = dict(database.execute("SELECT id, valor FROM contadores"))
    last = dict.fromkeys(counted, 0)
    latest_id: dict[int, str] = {}
    seen: dict[str, bytes] = {}
    doubled = 0
    for received in inbox.received:
        doubled += _link(received, last, latest_id, seen)
    assert last == counted
    assert sum(counted.values()) > CHANGES / 2  # the writers did write
    print(f"{len(seen)} events, {doubled} sent again with the same id")


def _link(received: Received, last: dict[int, int], latest_id: dict[int, str], seen: dict[str, bytes]) -> bool:
    """Check one event against the chain of its record; whether it is a repetition."""
    event = received.event
    record = event["key"]["id"]
    if event["id"] in seen:
        assert seen[event["id"]] == received.body
        assert latest_id[record] == event["id"], "an old event after a newer one of its record"
        return True
    assert event["previous"]["valor"] == last[record], f"record {record}: {last[record]} then {event}"
    last[record] = event["data"]["valor"]
    latest_id[record] = event["id"]
    seen[event["id"]] = received.body
    return False
