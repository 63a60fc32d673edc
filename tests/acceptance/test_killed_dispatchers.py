"""A backlog for five endpoints, and dispatchers that are killed every few seconds until it is gone: everything arrives,
in the order of its record at first sight, and nothing twice but what a killed one had leased.

CDC_TEST_KILLED=200000 for the full number of events.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc.dispatch.signing import new_secret
from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState
from cdc.outbox.postgres.outbox import PostgresOutbox
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.outbox.store import OutboxStore
from support.consumer import database_url
from support.database import Database
from support.dispatchers import Dispatcher, configure
from support.first_sight import FirstSight, watching
from support.outboxes import endpoint, event
from support.waiting import HANG_SECONDS

EVENTS = int(os.environ.get("CDC_TEST_KILLED", "4000"))
FULL = EVENTS >= 100_000
ENDPOINTS = 5
RECORDS = EVENTS // 20
BETWEEN = (3000, 7000) if FULL else (300, 1000)  # new deliveries between two kills
MOMENT = 0.02  # seconds: at most between the last of these and the kill
#: Path and event of a delivery → how often its dispatcher was killed while it was leased.
Interrupted = Counter[tuple[int, int]]


async def fill(outbox: OutboxStore, url: str) -> None:
    """Each record has twenty events, as far apart as they can be."""
    await outbox.open()
    for number in range(ENDPOINTS):
        await outbox.add_endpoint(endpoint(f"ep_{number}", url=f"{url}/{number}", secret=new_secret()))
    for start in range(0, EVENTS, 500):
        batch = [event(number, f"a:{number % RECORDS}") for number in range(start, min(start + 500, EVENTS))]
        await outbox.store("main", Position(str(start)), batch, {}, datetime.now(UTC))


async def kill_until(sight: FirstSight, dispatchers: Sequence[Dispatcher], outbox: OutboxStore) -> list[Interrupted]:
    """Until everything has arrived, one after the other, whoever it is; what each kill interrupted."""
    dice, kills = random.Random(20261125), list[Interrupted]()
    while not sight.complete.is_set():
        await _progress(sight, dispatchers, sight.first + dice.randint(*BETWEEN))
        await asyncio.sleep(dice.uniform(0, MOMENT))  # the random moment of the kill is what is tested
        if not sight.complete.is_set():
            victim = dice.choice(dispatchers)
            await victim.kill()
            kills.append(await leased(outbox))
            victim.start()
    return kills


async def leased(outbox: OutboxStore) -> Interrupted:
    views = await outbox.deliveries(DeliveryFilter(state=DeliveryState.LEASED), ENDPOINTS * EVENTS)
    return Counter((int(view.endpoint_id[3:]), int(view.event_id[4:])) for view in views)


async def _progress(sight: FirstSight, dispatchers: Sequence[Dispatcher], first: int) -> None:
    try:
        async with asyncio.timeout(HANG_SECONDS):
            await sight.until(first)
    except TimeoutError:
        told = "\n".join(dispatcher.log.read_text() for dispatcher in dispatchers)
        raise AssertionError(f"Nothing more arrives: {sight.first} did, the logs say\n{told}") from None


async def until_recorded(outbox: OutboxStore) -> dict[str, dict[DeliveryState, int]]:
    """What was on its way when its dispatcher was killed is sent again, and recorded."""
    async with asyncio.timeout(120):
        while await outbox.next_due(datetime.now(UTC)) is not None:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.1)
    return await outbox.counts()


async def killed(outbox: OutboxStore, folder: Path, dispatchers: int) -> None:
    sight = FirstSight(EVENTS, ENDPOINTS, RECORDS)
    members = [Dispatcher(folder, f"dispatch-{number}") for number in range(dispatchers)]
    async with watching(sight) as url:
        await fill(outbox, url)
        began = time.monotonic()
        for member in members:
            member.start()
        try:
            kills = await kill_until(sight, members, outbox)
            took = time.monotonic() - began
            counts = await until_recorded(outbox)
        finally:
            codes = [await member.stop() for member in members]
    await outbox.close()
    print(f"{sight.first} deliveries, {sight.again} sent again, {len(kills)} kills, {took:.0f} s")
    assert set(codes) == {0}
    assert counts == {f"ep_{number}": {DeliveryState.DELIVERED: EVENTS} for number in range(ENDPOINTS)}
    assert sight.faults == []
    assert len(kills) >= 2
    assert sight.again > 0
    assert sight.repeated <= sum(kills, Interrupted()), "what was on its way, or answered but not yet recorded"


@pytest.mark.timeout(14_400 if FULL else 600)
async def test_one_process_on_sqlite(tmp_path: Path) -> None:
    configure(tmp_path, f"sqlite:///{tmp_path / 'cdc.db'}")
    await killed(SqliteOutbox(tmp_path / "cdc.db"), tmp_path, 1)


@pytest.mark.timeout(14_400 if FULL else 600)
async def test_three_processes_on_postgresql(postgres_db: Database, tmp_path: Path) -> None:
    configure(tmp_path, database_url(postgres_db.info))
    await killed(PostgresOutbox(postgres_db.info), tmp_path, 3)
