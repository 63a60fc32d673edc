"""Two consumers of one database, each with an outbox of its own: the second waits, and takes over from a dead first."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

from support.consumer import Consumer, Inbox, database_url, receiving
from support.database import Database
from support.tcp_proxy import Proxy

RECORDS = 10


async def test_a_second_consumer_takes_over_when_the_first_is_killed(database: Database, tmp_path: Path) -> None:
    first = Consumer.of_one_table(tmp_path / "first", database)
    second = Consumer.with_sources(
        tmp_path / "second", f'[source.main]\nurl = "{database_url(database.info)}"\nrules = "../first/rules.toml"\n'
    )
    insert = "INSERT INTO contadores VALUES (%s, 0, NULL)"
    inbox, enough = Inbox(), threading.Event()
    async with receiving(inbox) as url:
        for consumer in (first, second):
            await asyncio.to_thread(consumer.add_endpoint, url)
        async with first.running():
            for number in range(RECORDS):
                database.execute(insert, [number])
            await inbox.until_count(RECORDS)
            second.start()
            await second.logged("standby")
            writer = asyncio.create_task(asyncio.to_thread(_write, database, enough))
            await inbox.until_count(RECORDS + 200)
            await first.stop(signal.SIGKILL)
            killed = time.monotonic()
            await second.logged("took over")
            assert time.monotonic() - killed < 30, "the server sees the end at once; half a minute is for silence"
            before = len(inbox.received)
            await inbox.until_count(before + 50)
            enough.set()
            written = await writer
            # what the first one had stored and not sent is its own to send, whoever reads the database
            first.start()
            await inbox.until(lambda inbox: len({event["id"] for event in inbox.events}) >= RECORDS + written)
            await first.logged("standby")
            assert await first.stop() == 0
            assert await second.stop() == 0
    _check(database, inbox.events, RECORDS + written)


async def test_a_source_moves_to_the_outbox_of_the_other_while_both_work(postgres_db: Database, tmp_path: Path) -> None:
    """The first one is refused its next batch, and the second one continues behind the same position."""
    first = Consumer.of_one_table(tmp_path / "first", postgres_db)
    second = Consumer.with_sources(
        tmp_path / "second", f'[source.main]\nurl = "{database_url(postgres_db.info)}"\nrules = "../first/rules.toml"\n'
    )
    target = tmp_path / "second" / "cdc.toml"
    target.write_text(target.read_text(encoding="utf-8").replace("///cdc.db", f"///{tmp_path}/second/cdc.db"), "utf-8")
    insert = "INSERT INTO contadores VALUES (%s, 0, NULL)"
    inbox, enough = Inbox(), threading.Event()
    async with receiving(inbox) as url:
        await asyncio.to_thread(second.create_outbox)
        await asyncio.to_thread(first.add_endpoint, url, "*", "--source", "main")
        async with first.running():
            for number in range(RECORDS):
                postgres_db.execute(insert, [number])
            await inbox.until_count(RECORDS)
            second.start()
            await second.logged("standby")
            writer = asyncio.create_task(asyncio.to_thread(_write, postgres_db, enough))
            await inbox.until_count(RECORDS + 50)
            await first.call("source", "move-outbox", "main", str(target))
            before = len(inbox.received)
            await inbox.until_count(before + 50)
            enough.set()
            written = await writer
            await inbox.until(lambda inbox: len({event["id"] for event in inbox.events}) >= RECORDS + written)
            assert await second.stop() == 0
    _check(postgres_db, inbox.events, RECORDS + written)
    values: dict[int, list[int]] = {}
    for event in inbox.events:
        values.setdefault(event["key"]["id"], []).append(event["data"]["valor"])
    assert all(each == list(range(len(each))) for each in values.values()), "once each, in order"


def _write(database: Database, enough: threading.Event) -> int:
    """How many changes were written; each record counts its own."""
    written = 0
    while not enough.wait(0.004):  # a machine at work must keep up
        database.execute("UPDATE contadores SET valor = valor + 1 WHERE id = %s", [written % RECORDS])
        written += 1
    return written


def _check(database: Database, events: list[dict[str, Any]], changes: int) -> None:
    """Every change once; what came twice, by either consumer, has the same id and is the same event."""
    by_id: dict[str, dict[str, Any]] = {}
    for event in events:
        assert by_id.setdefault(event["id"], event) == event
    seen = {(event["key"]["id"], event["data"]["valor"]) for event in by_id.values()}
    rows = database.execute("SELECT id, valor FROM contadores")
    assert seen == {(record, value) for record, last in rows for value in range(last + 1)}
    assert len(by_id) == changes


async def test_a_second_run_on_the_same_outbox_waits(postgres_db: Database, tmp_path: Path) -> None:
    """Started by mistake: it neither reads nor sends, and takes over both when the first is gone."""
    first = Consumer.of_one_table(tmp_path, postgres_db)
    second = Consumer(first.folder, log_name="second.log")
    insert = "INSERT INTO contadores VALUES (%s, 0, NULL)"
    inbox = Inbox()
    async with receiving(inbox) as url:
        await asyncio.to_thread(first.add_endpoint, url)
        async with first.running():
            second.start()
            await second.logged("standby for dispatch")
            await second.logged("standby")
            for number in range(RECORDS):
                postgres_db.execute(insert, [number])
            await inbox.until_count(RECORDS)
            await first.stop(signal.SIGKILL)
            await second.logged("took over dispatch")
            postgres_db.execute(insert, [RECORDS])
            await inbox.until_event(lambda event: event["key"] == {"id": RECORDS})
            assert await second.stop() == 0
    ids = [event["id"] for event in inbox.events]
    assert len(set(ids)) == RECORDS + 1


async def test_standby_takes_over_from_a_host_that_is_gone_without_a_word(database: Database, tmp_path: Path) -> None:
    """Its connections stay, and nothing comes through them any more."""
    first = Consumer.of_one_table(tmp_path / "first", database)
    proxy = Proxy(database.info.port)
    text = (first.folder / "cdc.toml").read_text()
    (first.folder / "cdc.toml").write_text(text.replace(f":{database.info.port}/", f":{proxy.port}/"))
    second = Consumer.with_sources(
        tmp_path / "second", f'[source.main]\nurl = "{database_url(database.info)}"\nrules = "../first/rules.toml"\n'
    )
    inbox = Inbox()
    async with receiving(inbox) as url:
        for consumer in (first, second):
            await asyncio.to_thread(consumer.add_endpoint, url)
        async with first.running():
            database.execute("INSERT INTO contadores VALUES (1, 0, NULL)")
            await inbox.until_count(1)
            second.start()
            await second.logged("standby")
            proxy.deaf.set()
            gone = time.monotonic()
            await second.logged("took over")
            took = time.monotonic() - gone
            assert took < 40, "half a minute, and what a busy machine adds"
            database.execute("INSERT INTO contadores VALUES (2, 0, NULL)")
            await inbox.until(lambda inbox: {1, 2} <= {event["key"]["id"] for event in inbox.events})
            assert await second.stop() == 0
            await first.stop(signal.SIGKILL)
    proxy.close()
