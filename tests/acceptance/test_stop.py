"""How ``cdc run`` ends: what is on its way is finished and recorded, leases are given back, and it is over in time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, answering, database_url, receiving
from support.database import Database
from support.tcp_proxy import proxy
from support.waiting import HANG_SECONDS

WITHIN = 10  # seconds
AGES = 1000  # seconds: what ends within a test did not wait for this
COMMAND_ENDED_BY_SIGINT = (130, -signal.SIGINT)


class Slow:
    """A receiver that answers when it is let; `under_way` counts the requests that wait for it."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.may_answer = asyncio.Event()
        self.under_way = 0
        self._arrived = asyncio.Event()

    async def answer(self, _event: dict[str, Any]) -> int:
        self.under_way += 1
        self._arrived.set()
        await self.may_answer.wait()
        return 204

    async def until_under_way(self, count: int) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while self.under_way < count:
                self._arrived.clear()
                await self._arrived.wait()


def _write(database: Database, records: int) -> None:
    for number in range(records):
        database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])


def _patient(consumer: Consumer, stop_seconds: float) -> None:
    """Attempts and leases that outlast the test, and so long to finish what is on its way."""
    file = consumer.folder / "cdc.toml"
    limits = f"max_timeout_seconds = {AGES}\nlease_seconds = {2 * AGES}\nstop_seconds = {stop_seconds}\n"
    file.write_text(file.read_text().replace("[dispatch]\n", f"[dispatch]\n{limits}"))


async def _ended(consumer: Consumer, *signals: signal.Signals, then: Callable[[], None] = lambda: None) -> int:
    """The exit code, after these signals; it must not take longer than it may."""
    process = consumer.process
    assert process is not None
    for number in signals[:-1]:
        process.send_signal(number)
        await consumer.logged("signal received")
    ending = asyncio.create_task(consumer.stop(signals[-1]))
    if len(signals) == 1:
        await consumer.logged("stopping")
    then()
    began = time.monotonic()
    code = await ending
    assert time.monotonic() - began < WITHIN
    return code


async def test_sigterm_finishes_what_is_on_its_way(database: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, database)
    _patient(consumer, stop_seconds=AGES)
    slow = Slow()
    async with answering(slow.answer, slow.inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*", "--concurrency", "3", "--timeout", str(AGES))
        async with consumer.running():
            _write(database, 8)
            await slow.until_under_way(3)
            assert await _ended(consumer, signal.SIGTERM, then=slow.may_answer.set) == 0
        assert slow.under_way == len(slow.inbox.received) == 3, "nothing is begun after the signal"
        states = sorted(each["state"] for each in await consumer.deliveries())
        assert states == ["delivered"] * 3 + ["pending"] * (len(states) - 3)  # the rest may still be in the journal
        async with consumer.running():  # leases were given back
            await slow.inbox.until_count(8)
        assert len({event["id"] for event in slow.inbox.events}) == 8


async def test_a_receiver_that_hangs_does_not_keep_it(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    _patient(consumer, stop_seconds=1)
    slow = Slow()
    async with answering(slow.answer, slow.inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*", "--timeout", str(AGES))
        async with consumer.running():
            _write(postgres_db, 2)
            await slow.until_under_way(2)
            assert await _ended(consumer, signal.SIGTERM) == 0
        assert {(each["state"], each["attempts"]) for each in await consumer.deliveries()} == {("pending", 0)}
        slow.may_answer.set()
        async with consumer.running():  # leases were given back
            await slow.inbox.until(lambda inbox: len(inbox.received) == 4)
        assert {(each["state"], each["attempts"]) for each in await consumer.deliveries()} == {("delivered", 1)}
        ids = [event["id"] for event in slow.inbox.events]
        assert len(set(ids)) == 2, "sent again under the same id"


async def test_a_second_sigint_ends_at_once(postgres_db: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, postgres_db)
    _patient(consumer, stop_seconds=AGES)
    slow = Slow()
    async with answering(slow.answer) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "*", "--timeout", str(AGES))
        async with consumer.running():
            _write(postgres_db, 1)
            await slow.until_under_way(1)
            assert await _ended(consumer, signal.SIGINT, signal.SIGINT) in COMMAND_ENDED_BY_SIGINT


async def test_it_stops_while_it_waits_for_a_database(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("mariadb")
    consumer = Consumer.of_one_table(tmp_path, database)
    async with consumer.running():
        await asyncio.to_thread(database.server.stop)
        await consumer.logged("source failed")
        assert await _ended(consumer, signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("fixture", "capture"),
    [
        ("postgres_db", "triggers"),
        ("postgres_log_db", "logical"),
        ("mariadb_db", "triggers"),
        ("mariadb_binlog_db", "binlog"),
        ("mysql_db", "triggers"),
    ],
)
async def test_a_database_that_does_not_answer_does_not_keep_it(
    request: pytest.FixtureRequest, fixture: str, capture: str, tmp_path: Path
) -> None:
    """Its connections stay open: a disk or a network that hangs."""
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path, database, capture=capture)
    if capture == "logical":
        await consumer.call("install-slot")
    file = consumer.folder / "cdc.toml"
    with proxy(database.info.port) as between:
        file.write_text(file.read_text().replace(f":{database.info.port}/", f":{between.port}/"))
        async with consumer.running():
            between.deaf.set()
            assert await asyncio.to_thread(between.kept.wait, HANG_SECONDS)
            assert await _ended(consumer, signal.SIGTERM) == 0


async def test_outbox_that_does_not_answer_does_not_keep_it_and_nothing_is_lost(
    postgres_db: Database, tmp_path: Path
) -> None:
    """A call waits for 90 s."""
    consumer, inbox = Consumer.of_one_table(tmp_path, postgres_db), Inbox()
    file = consumer.folder / "cdc.toml"
    with proxy(postgres_db.info.port) as between:
        url = database_url(postgres_db.info).replace(f":{postgres_db.info.port}/", f":{between.port}/")
        file.write_text(file.read_text().replace("sqlite:///cdc.db", url))
        async with receiving(inbox) as hook:
            await asyncio.to_thread(consumer.add_endpoint, hook)
            async with consumer.running():
                _write(postgres_db, 2)
                await inbox.until_count(2)
                between.deaf.set()
                assert await asyncio.to_thread(between.kept.wait, HANG_SECONDS)
                postgres_db.execute("INSERT INTO contadores VALUES (2, 0, NULL)")
                async with asyncio.timeout(60):
                    assert await consumer.stop(signal.SIGTERM) == 0
            between.deaf.clear()
            async with consumer.running():
                await inbox.until(lambda inbox: len({event["id"] for event in inbox.events}) == 3)


@contextmanager
def _piped(consumer: Consumer) -> Iterator[subprocess.Popen[bytes]]:
    """`cdc run` whose output somebody reads."""
    command = consumer.command("run")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_reader_of_the_log_that_is_gone_stops_neither_delivery_nor_the_end(
    postgres_db: Database, tmp_path: Path
) -> None:
    """`cdc run 2>&1 | tee log`, and Ctrl-C ends tee first."""
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        with _piped(consumer) as process:
            assert process.stdout is not None
            while b"reading" not in await asyncio.to_thread(process.stdout.readline):
                assert process.poll() is None
            process.stdout.close()
            for number in range(20):
                postgres_db.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number])
            await inbox.until_count(20)
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, HANG_SECONDS) == 0


async def test_reader_of_the_log_that_does_not_read_delays_neither_delivery_nor_the_end(
    postgres_db: Database, tmp_path: Path
) -> None:
    """`cdc run 2>&1 | tee log`, and tee is stopped."""
    consumer = Consumer.of_one_table(tmp_path / "cdc", postgres_db)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        with _piped(consumer) as process:
            assert process.stdout is not None
            room = fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            while b"reading" not in await asyncio.to_thread(process.stdout.readline):
                assert process.poll() is None
            for number in range(3):
                for key in range(room // 100):  # a delivery is a line of more than a hundred bytes
                    postgres_db.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [number * room + key])
                await inbox.until_count((number + 1) * (room // 100))
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, HANG_SECONDS) == 0
