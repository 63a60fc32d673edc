"""Eight writers on records that count their own changes, and the check that every change arrived once and in order.

A record counts its changes (``valor = valor + 1`` under its row lock), so the events of one record must form a chain:
each one's previous count is the count of the event before it, and the last one is what the table holds.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from cdc.demo.receiver import Received
from support.consumer import RULES, TABLE, Consumer, Inbox
from support.database import Database

WRITERS = 8
RECORDS = 40
LOST_CONNECTION = (psycopg.Error, pymysql.err.Error)


@dataclass
class Work:
    """The number of changes still to be written; shared by the writers.  ``ended``: no more will come."""

    left: int = 0
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def give(self, count: int) -> None:
        with self.changed:
            self.left += count
            self.changed.notify_all()

    def end(self) -> None:
        """End the work: nothing more comes; pending changes are still written."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self, count: int) -> int:
        """Take up to ``count`` changes, as soon as there are some; 0 at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.left or self.ended)
            taken = min(count, self.left)
            self.left -= taken
            return taken


def configured(database: Database, folder: Path, more: str = "") -> Consumer:
    """Return a consumer of a database that gets the table and its records; nothing is installed."""
    database.execute(TABLE)
    for number in range(RECORDS):
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    return Consumer.configure(folder, database.info, f'rules = "rules.toml"\n{more}')


async def begin(database: Database, consumer: Consumer, inbox: Inbox) -> None:
    """Let a first change arrive: from here on, the consumer's position is stored."""
    async with consumer.running():
        database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = 0")
        await inbox.until_count(1)


async def writing(
    database: Database, changes: int, dice: random.Random, trouble: Callable[[], Awaitable[None]]
) -> None:
    """The writers at work, while there is trouble, and on until everything is written."""
    async with writers(database, dice) as work:
        work.give(changes)
        await trouble()


@asynccontextmanager
async def writers(database: Database, dice: random.Random) -> AsyncIterator[Work]:
    """Run writers on the work that the block gives them; at its end, all of it is written."""
    work = Work()
    seeds = [dice.randrange(2**32) for _ in range(WRITERS)]
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(WRITERS) as pool:  # asyncio's own has fewer threads on a small machine
        running = [loop.run_in_executor(pool, _write, database, work, random.Random(each)) for each in seeds]
        try:
            yield work
        finally:
            work.end()
        await asyncio.gather(*running)


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
    """Connect, as soon as the server allows it."""
    while True:
        try:
            return database.connect()
        except LOST_CONNECTION:
            threading.Event().wait(0.05)  # it is down: nothing announces its return


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


async def until_quiet(database: Database, consumer: Consumer, inbox: Inbox) -> None:
    """Wait until the table's content has arrived and every delivery is made."""
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
    """Return the table's content; None when the connection was lost in a restart; the next call makes a new one."""
    try:
        return dict(database.execute("SELECT id, valor FROM contadores"))
    except LOST_CONNECTION:
        return None


def check_chains(database: Database, inbox: Inbox, changes: int) -> None:
    counted = dict(database.execute("SELECT id, valor FROM contadores"))
    last = dict.fromkeys(counted, 0)
    latest_id: dict[int, str] = {}
    seen: dict[str, bytes] = {}
    doubled = 0
    for received in inbox.received:
        doubled += _link(received, last, latest_id, seen)
    assert last == counted
    assert sum(counted.values()) > changes / 2  # the writers did write
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
