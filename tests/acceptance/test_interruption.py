"""The database goes away and comes back, or cuts the consumer's connection: it goes on by itself, nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
CONSUMERS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdc consumer'",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()",
}


@pytest.mark.parametrize("way", ["restart", "kill"])
@pytest.mark.parametrize("flavour", ["postgresql", "mariadb", "mysql"])
async def test_the_server_goes_away_and_comes_back(flavour: str, way: str, own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server(flavour)
    consumer = Consumer.of_one_table(tmp_path, database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            database.execute(INSERT, [0])
            await inbox.until_count(1)
            database.close()
            await asyncio.to_thread(database.server.kill if way == "kill" else database.server.stop)
            failure = await consumer.logged("source failed")
            assert failure["source"] == "main"
            await asyncio.to_thread(database.server.start)
            for record in (1, 2, 3):
                database.execute(INSERT, [record])
            await inbox.until_count(4)
    assert sorted(event["key"]["id"] for event in inbox.events) == [0, 1, 2, 3]


async def test_a_cut_connection_is_made_again(database: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, database)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        async with consumer.running():
            for number in range(3):
                _cut(database)
                database.execute(INSERT, [number])
                await inbox.until_count(number + 1)
            await consumer.logged("source failed")
    assert [event["key"]["id"] for event in inbox.events] == [0, 1, 2]


def _cut(database: Database) -> None:
    if database.flavour == "postgresql":
        database.execute(f"{CONSUMERS['postgresql']} AND datname = current_database()")
        return
    ids = database.execute(CONSUMERS["mysql"], [database.name])
    for (number,) in ids:
        database.kill(number)


async def test_a_database_that_is_not_there_yet_is_waited_for(own_server: Any, tmp_path: Path) -> None:
    database: Database = own_server("postgresql")
    consumer = Consumer.of_one_table(tmp_path, database)
    database.close()
    await asyncio.to_thread(database.server.stop)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        await consumer.logged("source failed")
        await asyncio.to_thread(database.server.start)
        await consumer.logged("reading")
        database.execute(INSERT, [7])
        await inbox.until_count(1)
        assert await consumer.stop() == 0
