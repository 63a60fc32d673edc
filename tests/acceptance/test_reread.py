"""A gap floods nobody: rows read again go to endpoints that write the event out, and to no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
ROWS = 20


async def test_rows_read_again_are_for_endpoints_that_write_the_event_out(database: Database, tmp_path: Path) -> None:
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, database)
    every, named = Inbox(), Inbox()
    async with receiving(every) as url_every, receiving(named) as url_named:
        await asyncio.to_thread(consumer.add_endpoint, url_every, "*,contadores.*")
        await asyncio.to_thread(consumer.add_endpoint, url_named, "contadores.read")
        async with consumer.running():
            for number in range(ROWS):
                database.execute(INSERT, [number])
            await every.until_count(ROWS)
            if database.flavour == "postgresql":
                database.execute("ALTER TABLE contadores DISABLE TRIGGER ALL")
            else:
                database.execute("DROP TRIGGER cdc_contadores_ai")
            await consumer.stop()
            consumer.start()  # it checks the triggers at its start
            await named.until_count(ROWS)
            database.execute(INSERT, [ROWS])
            await every.until_count(ROWS + 1)
    assert {event["event"] for event in named.events} == {"contadores.read"}
    assert sorted(event["key"]["id"] for event in named.events) == list(range(ROWS))
    assert [event["event"] for event in every.events] == ["contadores.created"] * (ROWS + 1)
