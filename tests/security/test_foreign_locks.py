"""Any account of a database server may hold the consumer lock, and so stop a source: never in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cdc.capture.base import ConsumerLock
from cdc.capture.mysql_session import MySQLSession
from cdc.capture.postgres_lookup import PostgresLookup
from cdc.database.postgres_capture import LOCK_CLASS, LOCK_CONSUMER
from cdc.model.connection import ConnectionInfo
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.health import Health, is_ready
from support.memory_outbox import MemoryOutbox
from support.ports import free_port
from support.waiting import HANG_SECONDS

PASSWORD = "p4ssw0rd!"
KEY = f"({LOCK_CLASS}, {LOCK_CONSUMER})"
MYSQL = "SELECT GET_LOCK(CONCAT('cdc_', LEFT(SHA2(DATABASE(), 256), 40)), {seconds})"
#: The ways to hold the lock: who does → on PostgreSQL, on MariaDB and MySQL.
ATTACKS = {
    "another account": ("theirs", [f"SELECT pg_advisory_lock{KEY}"], [MYSQL.format(seconds=0)]),
    "our account": ("ours", [f"SELECT pg_advisory_lock{KEY}"], [MYSQL.format(seconds=0)]),
    "twice": ("theirs", [f"SELECT pg_advisory_lock{KEY}"] * 2, [MYSQL.format(seconds=0)] * 2),
    "shared": ("theirs", [f"SELECT pg_advisory_lock_shared{KEY}"], []),
    "a transaction": ("theirs", ["BEGIN", f"SELECT pg_advisory_xact_lock{KEY}"], []),
    "no session": ("theirs", ["BEGIN", f"SELECT pg_advisory_xact_lock{KEY}", "PREPARE TRANSACTION '{name}'"], []),
}


class WatchedOutbox(MemoryOutbox):
    """Announces each question for a reader."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.news = asyncio.Event()
        self.taking: asyncio.Task[bool] | None = None  # the last

    async def reading_session(self, source: str) -> str:
        self.asked += 1
        self.news.set()
        return await super().reading_session(source)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not condition():
                assert self.taking is None or not self.taking.done() or self.taking.result() is None
                self.news.clear()
                await self.news.wait()


@dataclass
class Server:
    """A database with an account of ours, which sees no others' sessions, and one of a stranger."""

    database: Database
    outbox: WatchedOutbox = field(default_factory=WatchedOutbox)

    def account(self, whose: str) -> str:
        return f"{whose}_{self.database.name}"[:32]

    @property
    def postgres(self) -> bool:
        return self.database.flavour == "postgresql"

    def stranger(self, whose: str = "theirs") -> Any:
        return self.database.connect(self.account(whose), PASSWORD, autocommit=True)

    @asynccontextmanager
    async def consumer(self) -> AsyncIterator[tuple[ConsumerLock, asyncio.Task[bool]]]:
        """Wait for the lock inside the block, or have it, as a process of `outbox`."""
        info: ConnectionInfo = self.database.info.as_user(self.account("ours"), PASSWORD)
        session = PostgresLookup(info, ()) if self.postgres else MySQLSession(info)
        if isinstance(session, PostgresLookup):
            await session.connect()
        else:
            await session.connect(lambda _connection: None)
        lock = ConsumerLock("main", self.outbox)
        taking = asyncio.create_task(lock.acquire(session.try_lock, 0.1, session.lock_holder))
        taking.add_done_callback(lambda _: self.outbox.news.set())
        self.outbox.taking = taking
        try:
            yield lock, taking
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await session.disconnect()


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    made = Server(database)
    for account in map(made.account, ("ours", "theirs")):
        if made.postgres:
            database.execute(f"CREATE ROLE {account} LOGIN PASSWORD '{PASSWORD}'")
        else:
            database.script(
                f"CREATE USER '{account}'@'%' IDENTIFIED BY '{PASSWORD}';"
                f"GRANT SELECT ON {database.name}.* TO '{account}'@'%'"
            )
    yield made
    for account in map(made.account, ("ours", "theirs")):
        database.execute(f"DROP ROLE {account}" if made.postgres else f"DROP USER '{account}'@'%'")


@pytest.mark.parametrize("attack", ATTACKS)
async def test_foreign_holder_blocks_until_it_is_ended(server: Server, attack: str) -> None:
    whose, postgres, mysql = ATTACKS[attack]
    statements = postgres if server.postgres else mysql
    if not statements:
        pytest.skip("such a lock is PostgreSQL's only")
    stranger = server.stranger(whose)
    for statement in statements:
        stranger.cursor().execute(statement.replace("{name}", server.database.name))
    async with server.consumer() as (lock, taking):
        await server.outbox.until(lambda: lock.blocked != "")
        said, ending = lock.blocked, lock.blocked.rpartition(": ")[2]
        assert "is no process of this outbox" in said
        if server.postgres or whose == "ours":
            assert server.account(whose) in said
        else:
            assert "another account, which ours lacks PROCESS to see" in said
        with_rights = server.database.connect(autocommit=True)
        with_rights.cursor().execute(ending)
        async with asyncio.timeout(HANG_SECONDS):
            assert await taking, "it waited"
        assert not lock.blocked
        async with server.consumer() as (second, _):
            asked = server.outbox.asked
            await server.outbox.until(lambda: server.outbox.asked >= asked + 3)
            assert (second.awaited, second.blocked) == (True, ""), "the first one is of this outbox"
    stranger.close()


async def test_stranger_that_gets_the_lock_before_the_standby_is_reported(server: Server) -> None:
    async with server.consumer() as (_, first):
        assert not await first
        stranger = server.stranger()
        lock = f"SELECT pg_advisory_lock{KEY}" if server.postgres else MYSQL.format(seconds=HANG_SECONDS)
        queued = asyncio.create_task(asyncio.to_thread(stranger.cursor().execute, lock))
        await asyncio.to_thread(_until_queued, server)
        standby = server.consumer()
        second, _ = await standby.__aenter__()
        await server.outbox.until(lambda: server.outbox.asked >= 2)
        assert not second.blocked
    await queued
    try:
        await server.outbox.until(lambda: second.blocked != "")
        stranger.close()
    finally:
        await standby.__aexit__(None, None, None)


def _until_queued(server: Server) -> None:
    waiting = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
        if server.postgres
        else f"SELECT 1 FROM information_schema.processlist WHERE user = '{server.account('theirs')}'"
        " AND state = 'User lock'"
    )
    while not server.database.execute(waiting):
        pass


async def test_process_of_another_outbox_is_reported(server: Server) -> None:
    async with server.consumer() as (_, first):
        assert not await first
        server.outbox = WatchedOutbox()
        async with server.consumer() as (second, _):
            await server.outbox.until(lambda: second.blocked != "")
            assert server.account("ours") in second.blocked


async def test_blocked_source_is_not_ready_and_doctor_says_why(database: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, database)
    stranger = database.connect(autocommit=True)
    stranger.cursor().execute(
        f"SELECT pg_advisory_lock{KEY}" if database.flavour == "postgresql" else MYSQL.format(seconds=0)
    )
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        said = await consumer.call("doctor", expect=1)
        assert "WRONG    source main: consumer lock: Connection " in said
        assert "consumer: at work" not in said
        health = Health.of(consumer, free_port())
        said = await consumer.call("doctor")
        assert "WARNING  source main: consumer lock: Connection " in said, "nobody waits for it yet"
        consumer.start()
        told = await health.until(lambda _, told: any("holds the consumer lock" in each for each in told["reasons"]))
        assert not told["ready"]
        assert told["sources"] == {"main": "failed"}
        assert "WRONG    consumer: ready: Source main: Connection " in await consumer.call("doctor", expect=1)
        stranger.close()
        told = await health.until(is_ready)
        assert told["sources"] == {"main": "reading"}
        database.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
        await inbox.until_count(1)
        assert "consumer lock" not in await consumer.call("doctor")
        assert await consumer.stop() == 0
