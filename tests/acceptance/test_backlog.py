"""The consumer is down while the ERP makes many changes; then it drains them: each once, in order, in little memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
import pytest

from support.consumer import Consumer, Inbox
from support.database import Database
from support.http_faults import read_request, receiver

CHANGES = {"postgresql": 100_000, "mariadb": 20_000, "mysql": 20_000}
RECORDS = 500  # that the small transactions write to
LONGEST_WRITE = 1  # seconds
MEMORY = 150 * 1024 * 1024
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
COUNT = "UPDATE contadores SET valor = valor + 1 WHERE id = %s"
MANY_ROWS = {
    "postgresql": "INSERT INTO contadores SELECT n, 0, NULL FROM generate_series(%s::int, %s::int) AS n",
    "mysql": "INSERT INTO contadores WITH RECURSIVE numbers AS (SELECT %s AS n UNION ALL "
    "SELECT n + 1 FROM numbers WHERE n < %s) SELECT n, 0, NULL FROM numbers",
    "mariadb": "INSERT INTO contadores WITH RECURSIVE numbers AS (SELECT %s AS n UNION ALL "
    "SELECT n + 1 FROM numbers WHERE n < %s) SELECT n, 0, NULL FROM numbers",
}
RECURSION = {"mysql": "SET cte_max_recursion_depth = 1000000", "mariadb": "SET max_recursive_iterations = 1000000"}


@dataclass
class Counting(Inbox):
    """Keeps no bodies: record → the values that came, in order of arrival."""

    ids: set[str] = field(default_factory=set)
    requests: int = 0
    values: dict[int, list[int]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what comes over a connection: for so many a web server would have more to do than the consumer."""
        while True:
            _, body = await read_request(reader)
            event = orjson.loads(body)
            self.requests += 1
            self.ids.add(event["id"])
            self.values.setdefault(event["key"]["id"], []).append(event["data"]["valor"])
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.changed.set()


@pytest.mark.timeout(600)
async def test_a_backlog_is_drained(database: Database, tmp_path: Path) -> None:
    changes = int(os.environ.get("CDC_TEST_BACKLOG", CHANGES[database.flavour]))
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, database)
    consumer.as_installed = True  # its memory is measured
    inbox = Counting()
    async with receiver(inbox.serve) as port:
        await asyncio.to_thread(consumer.add_endpoint, f"http://127.0.0.1:{port}/hook")
        _one_large_transaction(database, changes // 2)
        took = _many_small_ones(database, changes - changes // 2)
        tenth = len(took) // 10
        assert min(took[-tenth:]) < 3 * min(took[:tenth]) + 0.001, "the growth of the journal slows no write"
        assert max(took) < LONGEST_WRITE
        async with consumer.running(), _memory(consumer) as memory:
            delays = list[float]()
            drained = asyncio.create_task(inbox.until(lambda _: len(inbox.ids) >= changes, seconds=400))
            while not drained.done():
                began = time.monotonic()
                await asyncio.to_thread(database.execute, COUNT, [RECORDS - 1])
                changes += 1
                delays.append(time.monotonic() - began)
                await asyncio.wait({drained}, timeout=1)
            await inbox.until(lambda _: len(inbox.ids) >= changes)
        assert max(delays) < LONGEST_WRITE, "draining holds up no write"
        print(f"{changes} changes, {max(memory) >> 20} MB at most")
    assert max(memory) <= MEMORY
    assert inbox.requests == len(inbox.ids) == changes
    rows = database.execute("SELECT id, valor FROM contadores")
    assert inbox.values == {record: list(range(last + 1)) for record, last in rows}


def _one_large_transaction(database: Database, rows: int) -> None:
    if database.flavour in RECURSION:
        database.execute(RECURSION[database.flavour])
    database.execute(MANY_ROWS[database.flavour], [RECORDS, RECORDS + rows - 1])


def _many_small_ones(database: Database, changes: int) -> list[float]:
    """Transactions of one to four rows; how long each took, in seconds."""
    for record in range(RECORDS):
        database.execute(INSERT, [record])
    connection = database.connect()
    cursor = connection.cursor()
    took = []
    left = changes - RECORDS
    record = 0
    while left:
        began = time.monotonic()
        for _ in range(min(left, 1 + record % 4)):
            cursor.execute(COUNT, [record % RECORDS])
            record += 1
            left -= 1
        connection.commit()
        took.append(time.monotonic() - began)
    return took


@asynccontextmanager
async def _memory(consumer: Consumer) -> AsyncIterator[list[int]]:
    """Resident bytes of the consumer, looked at every twentieth of a second while it runs."""
    assert consumer.process is not None
    process = psutil.Process(consumer.process.pid)
    seen = [process.memory_info().rss]

    async def look() -> None:
        while True:
            seen.append(process.memory_info().rss)
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()
