"""A source that is reported as reading has stored where reading began: a crash right then loses no later change."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cdc.config import load_config
from cdc.model.change import Batch, Position
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.relay import nobody
from cdc.runtime.consumer import relay_of
from cdc.runtime.sharing import alone
from support.consumer import Consumer, Inbox, receiving
from support.database import Database
from support.memory_outbox import MemoryOutbox

INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"
CAPTURES = {"mariadb": "binlog", "mysql": "binlog", "postgresql": "logical"}


@pytest.fixture(params=list(CAPTURES))
def consumer(request: pytest.FixtureRequest, own_server: Any, tmp_path: Path) -> tuple[Consumer, Database]:
    """A consumer that reads the log of a server of its own; it has not run yet."""
    flavour = request.param
    database: Database = own_server(flavour, binlog=flavour != "postgresql")
    found = Consumer.of_one_table(tmp_path, database, capture=CAPTURES[flavour])
    if flavour == "postgresql":
        found.run("install-slot")
    return found, database


class Crashing(Observer):
    """Stops the relay when it reports that the source is reading."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def reading(self, source: str, position: Position | None) -> None:
        self._stop.set()


class Arriving(Observer):
    """Stops the relay when an event of a record is stored."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self.records: list[str] = []

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        self.records += [event.record for event in events]
        if events:
            self._stop.set()


async def test_change_after_the_report_arrives_though_the_relay_ended_at_once(
    consumer: tuple[Consumer, Database],
) -> None:
    found, database = consumer
    store = MemoryOutbox()
    await store.open()

    async def relay(stop: asyncio.Event, observer: Observer) -> None:
        source = load_config(found.folder / "cdc.toml").select_source("main")
        async with asyncio.timeout(60):
            await relay_of(source, store, nobody, observer, alone()).run(stop)

    stop = asyncio.Event()
    await relay(stop, Crashing(stop))
    database.execute(INSERT, [1])
    stop = asyncio.Event()
    arriving = Arriving(stop)
    await relay(stop, arriving)
    assert arriving.records == ["contadores:1"]


async def test_change_after_a_kill_right_behind_the_report_arrives(consumer: tuple[Consumer, Database]) -> None:
    found, database = consumer
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(found.add_endpoint, url)
        found.start()
        await found.logged("reading")
        found.end(signal.SIGKILL)
        database.execute(INSERT, [1])
        async with found.running():
            await inbox.until_count(1)
            assert await found.stop() == 0
    assert [event["key"] for event in inbox.events] == [{"id": 1}]
