"""Rows longer than `max_allowed_packet` allows in one value: they arrive, whichever way they are captured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.database import Database

LONG = 700_000
ALTER = "ALTER TABLE contadores ADD COLUMN texto LONGTEXT, ADD COLUMN datos LONGBLOB"
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL, REPEAT('\n', %s), REPEAT(X'00FF10', %s))"
ROWS = {1: (1, 1), 2: (LONG, 1), 3: (1, 300_000), 4: (LONG // 2, LONG // 4), 5: (1, 1)}


@pytest.mark.parametrize(
    ("flavour", "capture"), [("mariadb", "triggers"), ("mysql", "triggers"), ("mariadb", "binlog"), ("mysql", "binlog")]
)
async def test_long_rows_arrive(flavour: str, capture: str, own_server: Any, tmp_path: Path) -> None:
    """One is long in JSON only, one in base64 only, one by both columns together."""
    database: Database = own_server(flavour, "--max-allowed-packet=2M", binlog=capture == "binlog")
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, database, capture=capture)
    database.execute(ALTER)
    if capture == "triggers":
        await consumer.call("install-triggers")
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(consumer.add_endpoint, url, "contadores.created,contadores.read")
        async with consumer.running():
            if capture == "triggers":
                database.execute("SET GLOBAL max_allowed_packet = 1048576")
                await consumer.stop()
                consumer.start()
            writing = database.connect(autocommit=True)
            for number, (lines, data) in ROWS.items():
                writing.cursor().execute(INSERT, [number, lines, data])
            await inbox.until(lambda inbox: {event["key"]["id"] for event in inbox.events} >= ROWS.keys())
    for event in inbox.events:
        lines, data = ROWS[event["key"]["id"]]
        assert event["data"]["texto"] == "\n" * lines
        assert event["data"]["datos"] == "AP8Q" * data
    created = sorted(event["key"]["id"] for event in inbox.events if event["event"] == "contadores.created")
    assert created == ([1, 5] if capture == "triggers" else [1, 2, 3, 4, 5])
