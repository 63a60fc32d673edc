"""Fixtures on a small database with what capture must cope with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cdc.capture.journal.postgres import PostgresJournal
from cdc.capture.triggers.postgres import LockWait, PostgresInstaller
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.database import Database
from support.outboxes import Processes
from support.postgres_capture import CAPTURES, SCHEMA, Shop


@pytest.fixture
def plain(postgres_db: Database) -> Database:
    """The tables without triggers."""
    postgres_db.script(SCHEMA)
    return postgres_db


@pytest.fixture
def shop(plain: Database) -> Shop:
    installer = PostgresInstaller(plain.info, LockWait(lock_seconds=0.2, pause_seconds=0))
    installer.apply(installer.plan_install(CAPTURES), lambda _title: None)
    return Shop(plain, installer)


@pytest_asyncio.fixture
async def journal(shop: Shop) -> AsyncIterator[PostgresJournal]:
    """Connected, and the only consumer."""
    journal = PostgresJournal(shop.database.info, CAPTURES)
    await journal.connect()
    assert await journal.try_lock(0)
    yield journal
    await journal.disconnect()


@pytest.fixture
async def processes(postgres_outbox_db: Database) -> AsyncIterator[Processes]:
    """``await processes(2)``: that many open outboxes on one database."""
    made: list[PostgresOutbox] = []

    async def make(count: int) -> list[PostgresOutbox]:
        for _ in range(count):
            made.append(PostgresOutbox(postgres_outbox_db.info))
            await made[-1].open()
        return made

    yield make
    for each in made:
        await each.close()
