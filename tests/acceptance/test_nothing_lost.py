"""Nothing lost, nothing doubled under another id, nothing out of order, nothing of rolled-back work: eight writers on
overlapping records, the consumer killed thirty times, the server restarted twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.consumer import Consumer, Inbox, receiving
from support.counting import begin, check_chains, configured, until_quiet, writing
from support.database import Database

CHANGES = int(os.environ.get("CDC_TEST_CHANGES", "20000"))
KILLS = 30
RESTARTS = 2
OPTIONS = {"postgresql": ("deadlock_timeout=50ms",)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["postgresql", "mariadb", "mysql"])
async def test_nothing_is_lost_doubled_or_reordered(flavour: str, own_server: Any, tmp_path: Path, seed: int) -> None:
    database: Database = own_server(flavour, *OPTIONS.get(flavour, ()))
    consumer = configured(database, tmp_path)
    consumer.run("install-triggers")
    await _through_trouble(database, consumer, seed, database.server.restart)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_nothing_of_a_binlog_is_lost_doubled_or_reordered(
    flavour: str, own_server: Any, tmp_path: Path, seed: int
) -> None:
    database: Database = own_server(flavour, binlog=True)
    consumer = configured(database, tmp_path, 'capture = "binlog"')

    def kill() -> None:
        database.server.kill()
        database.server.start()

    await _through_trouble(database, consumer, seed, kill, database.server.restart)


@pytest.mark.timeout(600)
async def test_nothing_of_a_slot_is_lost_doubled_or_reordered(own_server: Any, tmp_path: Path, seed: int) -> None:
    database: Database = own_server("postgresql", *OPTIONS["postgresql"])
    consumer = configured(database, tmp_path, 'capture = "logical"')
    consumer.run("install-slot")

    def kill() -> None:
        database.server.kill()
        database.server.start()

    await _through_trouble(database, consumer, seed, kill, database.server.restart)


async def _through_trouble(database: Database, consumer: Consumer, seed: int, *restarts: Callable[[], None]) -> None:
    """``restarts``: what is done to the server, in turn."""
    inbox = Inbox()
    async with receiving(inbox) as url:
        consumer.add_endpoint(url, "contadores.*")
        try:
            await begin(database, consumer, inbox)
            dice = random.Random(seed)
            await writing(database, CHANGES, dice, lambda: _trouble(consumer, dice, restarts))
            await until_quiet(database, consumer, inbox)
        finally:
            consumer.end()
    check_chains(database, inbox, CHANGES)


async def _trouble(consumer: Consumer, dice: random.Random, restarts: Sequence[Callable[[], None]]) -> None:
    """The consumer is killed and the server restarted, and the consumer runs once more."""
    moments = sorted(dice.sample(range(5, KILLS - 5), RESTARTS))
    for number in range(KILLS):
        consumer.start()
        await asyncio.sleep(dice.uniform(0.3, 1.6))  # the random moment of the kill is what is tested
        if number in moments:
            await asyncio.to_thread(restarts[moments.index(number) % len(restarts)])
        consumer.end(signal.SIGKILL)
    consumer.start()
