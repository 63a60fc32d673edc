"""``cdc run`` removes what is too old, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cdc.outbox.sqlite.outbox import SqliteOutbox
from support.consumer import Consumer
from support.database import Database
from support.outboxes import endpoint, event, finish, lease

DAY = timedelta(days=1)


async def fill(path: Path) -> None:
    """An event a day for forty days, delivered; one that waits since the first."""
    outbox = SqliteOutbox(path)
    await outbox.open()
    await outbox.add_endpoint(endpoint("ep_a"))
    for day in range(40, 0, -1):
        now = datetime.now(UTC) - day * DAY
        await outbox.announce([event(day, time=now)], now)  # of no source: it has no position
        await finish(outbox, *await lease(outbox, now), now=now)
    await outbox.add_endpoint(endpoint("ep_waits", enabled=False))
    await outbox.announce([event(99, time=datetime.now(UTC) - 40 * DAY)], datetime.now(UTC))
    await finish(outbox, *await lease(outbox, datetime.now(UTC)), now=datetime.now(UTC))
    await outbox.close()


async def test_cdc_run_removes_what_is_too_old(postgres_db: Database, tmp_path: Path) -> None:
    await fill(tmp_path / "cdc.db")
    consumer = await asyncio.to_thread(Consumer.of_one_table, tmp_path, postgres_db)
    settings = tmp_path / "cdc.toml"
    settings.write_text(settings.read_text() + "[retention]\ndays = 20\npayload_days = 10\n")
    async with consumer.running():
        told = await consumer.logged("retention")
    assert (told["events"], told["deliveries"], told["payloads_emptied"]) == (21, 21, 10)
    left = await consumer.deliveries()
    assert {each["event_id"] for each in left} == {"evt_99", *(f"evt_{day}" for day in range(1, 20))}
    assert {each["event_id"] for each in left if each["expunged"]} == {f"evt_{day}" for day in range(10, 20)}
