"""The clock of the machine is set back by a day while the consumer runs: what it does now and then continues."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.fault.clock import SHIFT, set_shift

TABLE = "CREATE TABLE miplugin_cosas (id integer PRIMARY KEY)"
DAY = 86_400.0


@pytest.mark.parametrize(
    ("flavour", "capture"),
    [
        ("postgresql", "triggers"),
        ("postgresql", "logical"),
        ("mariadb", "triggers"),
        ("mariadb", "binlog"),
        ("mysql", "triggers"),
        ("mysql", "binlog"),
    ],
)
async def test_table_created_after_the_clock_was_set_back_is_captured(
    flavour: str, capture: str, own_server: Any, tmp_path: Path
) -> None:
    database: Database = own_server(flavour, binlog=capture == "binlog")
    options = 'tables = ["miplugin_*"]\nnew_tables_seconds = 0.2'
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, database, options, capture)
    if capture == "logical":
        await consumer.call("install-slot")
    clock = tmp_path / "clock"
    set_shift(clock, 0.0)
    consumer.environment[SHIFT] = str(clock)
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url)
        consumer.start()
        await consumer.logged("reading")
        database.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
        await inbox.until_count(1)
        set_shift(clock, -DAY)
        database.execute(TABLE)
        await consumer.logged("new tables")
        assert await consumer.stop() == 0
