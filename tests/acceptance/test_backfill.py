"""A backfill while eight writers change the table and whoever does it is killed: by every way to capture, the events of
each record are its history, and the last one is the row."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cdc.model.backfill import BackfillState
from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.changing import Histories, Rhythm, changing, fill
from support.consumer import RULES, TABLE, Consumer
from support.database import Database

ROWS = int(os.environ.get("CDC_TEST_BACKFILL", "800"))
#: Many rows take two and a half minutes at least, in which ten kills come, and the writers rest now and then.
MANY = ROWS > 100_000
KILLS = 10 if MANY else 2
RHYTHM = Rhythm(0.005, work=3.0, rest=9.0) if MANY else Rhythm(0.02)
RATE = ROWS / 150 if MANY else 1200
#: Seconds between two kills, at random.
BETWEEN = (1.0, 12.0) if MANY else (0.2, 1.2)
#: A row that no writer changes.
MARK = -1
#: Of the server, the way to capture, whether the server keeps a log.
ROUTES = [
    ("postgresql", "triggers", True),
    ("postgresql", "logical", True),
    ("mariadb", "triggers", False),
    ("mariadb", "triggers", True),
    ("mariadb", "binlog", True),
    ("mysql", "triggers", True),
    ("mysql", "binlog", True),
]


def _configured(database: Database, folder: Path, capture: str) -> Consumer:
    database.execute(TABLE)
    fill(database, ROWS)
    database.execute("INSERT INTO contadores VALUES (%s, 0, NULL)", [MARK])
    consumer = Consumer.configure(folder, database.info, f'rules = "rules.toml"\ncapture = "{capture}"')
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    if capture == "triggers":
        consumer.run("install-triggers")
    elif capture == "logical":
        consumer.run("install-slot")
    return consumer


async def _until_done(consumer: Consumer) -> dict[str, Any]:
    """The only backfill, as the command shows it."""
    outbox = SqliteOutbox(consumer.folder / "cdc.db")
    await outbox.open()
    async with asyncio.timeout(1500):
        while (await outbox.backfills(1))[0].state is BackfillState.RUNNING:  # noqa: ASYNC110 - the work of another process
            await asyncio.sleep(0.2)
    await outbox.close()
    return dict(json.loads(await consumer.call("backfill", "--list", "--json"))["backfills"][0])


async def _all_told(consumer: Consumer, database: Database) -> Histories:
    """Return the histories once they end with what the table holds."""
    there = dict(database.execute("SELECT id, valor FROM contadores"))
    outbox = SqliteOutbox(consumer.folder / "cdc.db")
    await outbox.open()
    histories, sequence = Histories(), 0
    async with asyncio.timeout(120):
        while True:
            while found := await outbox.events(5000, after=sequence):
                histories.take(each.payload for each in found)
                sequence = found[-1].sequence
            if all((histories.state.get(each) or {}).get("valor") in (None, value) for each, value in there.items()):
                break
            await asyncio.sleep(0.3)  # the work of another process
    await outbox.close()
    return histories


async def _keep_within_reach(consumer: Consumer, database: Database, go: threading.Event) -> None:
    """Let the writers rest every 0.3 s until all that they wrote is read: each page of the backfill waits for what was
    written before it, and on a machine where they are quicker than the consumer it would wait for ever."""
    outbox = SqliteOutbox(consumer.folder / "cdc.db")
    await outbox.open()
    try:
        sequence = 0
        for mark in count(1):
            await asyncio.sleep(0.3)  # the writers' turn
            go.clear()
            database.execute("UPDATE contadores SET valor = %s WHERE id = %s", [mark, MARK])
            marked = False
            while not marked:
                found = await outbox.events(5000, after=sequence)
                marked = any(
                    (each.payload["data"]["id"], each.payload["data"]["valor"]) == (MARK, mark) for each in found
                )
                sequence = found[-1].sequence if found else sequence
                await asyncio.sleep(0 if found else 0.1)  # the work of another process
            go.set()
    finally:
        await outbox.close()


async def _through_kills(
    consumer: Consumer, database: Database, dice: random.Random
) -> tuple[dict[str, Any], Histories]:
    consumer.start()
    await consumer.logged("reading")
    with changing(database, ROWS, dice, RHYTHM) as go:
        async with asyncio.TaskGroup() as beside:
            keeping = beside.create_task(_keep_within_reach(consumer, database, go))
            await consumer.call("backfill", "contadores", "--detach", "--rate", str(RATE))
            for _ in range(KILLS):
                await asyncio.sleep(dice.uniform(*BETWEEN))  # the random moment of the kill is what is tested
                await consumer.stop(signal.SIGKILL)
                consumer.start()
            job = await _until_done(consumer)
            keeping.cancel()
    return job, await _all_told(consumer, database)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("flavour", "capture", "log"), ROUTES)
async def test_nothing_older_comes_after_something_newer(
    *, flavour: str, capture: str, log: bool, own_server: Any, tmp_path: Path, seed: int
) -> None:
    database: Database = own_server(flavour, binlog=log and flavour != "postgresql")
    consumer = _configured(database, tmp_path, capture)
    dice = random.Random(seed)
    try:
        job, histories = await _through_kills(consumer, database, dice)
    finally:
        await consumer.stop()
    assert job["state"] == "done"
    assert job["rows"] >= len(histories.existing) > ROWS / 2
    histories.check(database, ROWS)
