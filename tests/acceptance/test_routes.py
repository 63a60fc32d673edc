"""The same statements give the same events, byte for byte, whatever the engine and whatever the way to capture them."""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from cdc.mapping.catalogue import load_catalogue
from support import random_work
from support.database import Database
from support.logical import logical_pipeline
from support.pipeline import Pipeline, binlog_pipeline, comparable, install, pipeline

#: Transactions of each seed.
TRANSACTIONS = int(os.environ.get("CDC_TEST_TRANSACTIONS", "1000"))
CATALOGUE = load_catalogue(random_work.RULES, "rules.toml")
#: Comparable payloads of each transaction that has events, in order.
Events = list[list[bytes]]


async def _played(database: Database, seed: int, running: AbstractAsyncContextManager[Pipeline]) -> Events:
    async with running as route:
        work = random_work.RandomWork(seed)
        await asyncio.to_thread(work.run, database.connect(), TRANSACTIONS)
        return [[orjson.dumps(payload) for payload in comparable(each)] for each in await route.drain()]


def _prepare(database: Database) -> Database:
    database.script(random_work.ddl(database.flavour))
    return database


async def _by_triggers(database: Database, seed: int) -> Events:
    install(_prepare(database), CATALOGUE)
    return await _played(database, seed, pipeline(database, CATALOGUE))


async def _by_binlog(database: Database, seed: int) -> Events:
    return await _played(_prepare(database), seed, binlog_pipeline(database, CATALOGUE))


async def _by_slot(database: Database, seed: int) -> Events:
    return await _played(_prepare(database), seed, logical_pipeline(database, CATALOGUE))


def _assert_same(expected: Events, got: Events, who: str) -> None:
    for number, (wanted, have) in enumerate(zip(expected, got, strict=False)):
        assert have == wanted, f"{who}: transaction {number}"
    assert len(got) == len(expected), who


@pytest.mark.parametrize("seed", range(1, 6))
async def test_random_transactions(
    *,
    seed: int,
    postgres_db: Database,
    postgres_log_db: Database,
    mariadb_db: Database,
    mariadb_binlog_db: Database,
    mysql_db: Database,
    own_server: Any,
) -> None:
    expected = await _by_triggers(postgres_db, seed)
    assert len(expected) > TRANSACTIONS / 2
    _assert_same(expected, await _by_slot(postgres_log_db, seed), "PostgreSQL, logical")
    _assert_same(expected, await _by_triggers(mariadb_db, seed), "MariaDB, triggers")
    _assert_same(expected, await _by_binlog(mariadb_binlog_db, seed), "MariaDB, binlog")
    _assert_same(expected, await _by_triggers(mysql_db, seed), "MySQL, triggers")
    _assert_same(expected, await _by_binlog(own_server("mysql"), seed), "MySQL, binlog")
    assert not any(b"planted" in payload for each in expected for payload in each)
