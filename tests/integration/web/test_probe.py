"""What a probe sees of real servers while nobody reads, and once everything is stored."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdc.capture.probe import Backlog, Probe
from cdc.config import load_config
from cdc.model.connection import Engine
from cdc.model.errors import SourceError
from cdc.runtime import outboxes, sources
from cdc.runtime.sharing import SourcePace
from support.consumer import Consumer
from support.database import Database
from support.waiting import HANG_SECONDS

SERVER = {Engine.POSTGRESQL: r"PostgreSQL \d+\.\d+", Engine.MYSQL: r"(MariaDB|MySQL) \d+\.\d+\.\d+"}
INSERT = "INSERT INTO contadores VALUES (%s, 0, NULL)"


@asynccontextmanager
async def probing(consumer: Consumer) -> AsyncIterator[Probe]:
    probe = sources.probe_of(load_config(consumer.folder / "cdc.toml").source["main"])
    try:
        yield probe
    finally:
        await probe.close()


async def behind(consumer: Consumer, probe: Probe) -> Backlog | None:
    """What is not stored, by the position in the consumer's outbox."""
    store = outboxes.open_outbox(load_config(consumer.folder / "cdc.toml"))
    await store.open()
    try:
        return await probe.ask(await store.position("main"))
    finally:
        await store.close()


async def caught_up(consumer: Consumer, probe: Probe, looked: float | None = None) -> None:
    """Nothing waits; or, where other tests write into the same log all the time, nothing of what was seen there at
    ``looked`` (`time.monotonic`)."""

    def waits(ahead: Backlog | None) -> bool:
        return ahead is None or ahead.seconds > (0.0 if looked is None else time.monotonic() - looked - 0.1)

    async with asyncio.timeout(HANG_SECONDS):
        while waits(await behind(consumer, probe)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)  # it is asked, as the monitor does


async def test_a_journal_tells_how_many_wait_and_since_when(database: Database, tmp_path: Path) -> None:
    consumer = Consumer.of_one_table(tmp_path, database)
    async with probing(consumer) as probe:
        assert probe.server == ""
        assert await probe.ask(None) == Backlog(0.0, 0)
        assert re.fullmatch(SERVER[database.info.engine], probe.server)
        before = time.monotonic()
        database.execute(INSERT, [1])
        await asyncio.sleep(0.3)  # what is looked at is how old it gets
        connection = database.connect()
        connection.cursor().execute("INSERT INTO contadores VALUES (2, 0, NULL), (3, 0, NULL)")
        connection.commit()
        ahead = await probe.ask(None)
        assert ahead is not None
        assert ahead.transactions == 2
        assert 0.3 <= ahead.seconds < time.monotonic() - before + 0.1
        async with consumer.running():
            await caught_up(consumer, probe)


@pytest.mark.parametrize(
    ("fixture", "capture"),
    [("postgres_log_db", "logical"), ("mariadb_binlog_db", "binlog"), ("mysql_db", "binlog")],
)
async def test_a_log_tells_since_when_it_has_been_longer(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, capture: str
) -> None:
    database: Database = request.getfixturevalue(fixture)
    consumer = Consumer.of_one_table(tmp_path, database, capture=capture)
    if capture == "logical":
        await consumer.call("install-slot")
    async with probing(consumer) as probe:
        assert probe.server == ""
        assert await behind(consumer, probe) is None  # nothing was ever stored
        assert re.fullmatch(SERVER[database.info.engine], probe.server)
        async with consumer.running():
            looked = time.monotonic()
            database.execute(INSERT, [1])
            await caught_up(consumer, probe, looked)
        read = looked
        database.execute(INSERT, [2])
        await behind(consumer, probe)
        looked = time.monotonic()
        await asyncio.sleep(0.3)
        ahead = await behind(consumer, probe)
        assert ahead is not None
        assert 0.3 <= ahead.seconds < time.monotonic() - read + 0.1
        assert ahead.transactions is None
        async with consumer.running():
            await caught_up(consumer, probe, looked)


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
async def test_a_probe_connects_again(own_server: Any, tmp_path: Path, flavour: str) -> None:
    database = own_server(flavour)
    consumer = Consumer.of_one_table(tmp_path, database)
    async with probing(consumer) as probe:
        assert await probe.ask(None) is not None
        database.close()
        database.server.stop()
        for _ in range(2):
            with pytest.raises(SourceError):
                await probe.ask(None)
        database.server.start()
        assert await probe.ask(None) is not None


@pytest.mark.parametrize("flavour", ["postgresql", "mariadb"])
async def test_changed_password_is_noticed_while_an_old_connection_lives(
    own_server: Any, tmp_path: Path, flavour: str
) -> None:
    database = own_server(flavour)
    consumer = Consumer.of_one_table(tmp_path, database)
    source = load_config(consumer.folder / "cdc.toml").source["main"]
    probe = sources.probe_of(source, SourcePace(sign_in=0.0), asyncio.Lock())
    mariadb = f"ALTER USER '{database.info.user}'@'%' IDENTIFIED BY"
    alter = "ALTER ROLE CURRENT_USER PASSWORD" if flavour == "postgresql" else mariadb
    former = database.info.password
    try:
        assert (await probe.ask(None)) == Backlog(0.0, 0)
        database.execute(f"{alter} 'another 9 password'")
        refused = await until(probe, lambda backlog: bool(backlog.refused))
        assert former not in refused.refused
        database.execute(INSERT, [1])
        assert (await until(probe, lambda backlog: backlog.transactions == 1)).refused == refused.refused
        database.execute(f"{alter} '{former}'")
        await until(probe, lambda backlog: not backlog.refused)
    finally:
        await probe.close()


async def until(probe: Probe, enough: Callable[[Backlog], bool]) -> Backlog:
    async with asyncio.timeout(HANG_SECONDS):
        while not (backlog := await probe.ask(None)) or not enough(backlog):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)  # asked again, as the monitor does
    return backlog
