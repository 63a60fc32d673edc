"""Journals of many databases of one server, waited for on one connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.mysql_watch import JournalWatch
from cdc.model.column import Capture
from support.database import Database, fresh_database
from support.mysql_capture import brief, install
from support.server import Spec
from support.servers import KeeperClient, shared_server
from support.waiting import HANG_SECONDS

LONG = 10 * HANG_SECONDS


@pytest.fixture(params=[Spec("mariadb"), Spec("mysql")], ids=["mariadb", "mysql"])
def databases(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[list[Database]]:
    with ExitStack() as at_end:
        server = shared_server(keeper, request.param)
        found = [at_end.enter_context(fresh_database(server, erp=False)) for _ in range(3)]
        for each in found:
            each.execute("CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB")
            install(each, Capture("item"))
        yield found


@asynccontextmanager
async def watched(databases: list[Database]) -> AsyncIterator[tuple[JournalWatch, list[MySQLJournal]]]:
    """Journals whose own looks come too late for any test."""
    watch = JournalWatch(databases[0].info)
    async with AsyncExitStack() as at_end:
        journals = [MySQLJournal(each.info, look=LONG, quick=LONG, watch=watch) for each in databases]
        for journal in journals:
            await journal.connect()
            at_end.push_async_callback(journal.disconnect)
        async with asyncio.timeout(HANG_SECONDS):
            while not watch.connected:  # noqa: ASYNC110 - the first connection of the watch: there is no event
                await asyncio.sleep(0.01)
        yield watch, journals
    assert not watch.connected, "the last one to leave closes the connection"


async def test_a_change_wakes_the_source_of_its_database_and_no_other(databases: list[Database]) -> None:
    async with watched(databases) as (_, journals):
        first, second, third = (asyncio.create_task(each.wait(LONG)) for each in journals)
        async with asyncio.timeout(HANG_SECONDS):
            databases[1].execute("INSERT INTO item (name) VALUES ('a')")
            await second
            assert not first.done()
            databases[2].execute("INSERT INTO item (name) VALUES ('b')")
            await third
            assert not first.done()
        assert brief(await journals[1].peek(10), "name") == [("create", "item", None, ("a",))]
        first.cancel()


async def test_a_transaction_that_commits_late_wakes_its_source(databases: list[Database]) -> None:
    late = databases[0].connect()
    late.cursor().execute("INSERT INTO item (name) VALUES ('late')")
    databases[0].execute("INSERT INTO item (name) VALUES ('early')")
    async with watched(databases) as (_, (journal, *_others)):
        (row,) = await journal.peek(10)
        await journal.delete([row.token])
        waiting = asyncio.create_task(journal.wait(LONG))
        late.commit()
        async with asyncio.timeout(HANG_SECONDS):
            await waiting
        assert brief(await journal.peek(10), "name") == [("create", "item", None, ("late",))]


async def test_a_journal_that_is_gone_or_locked_is_left_to_itself(databases: list[Database]) -> None:
    """The others are watched as before."""
    holder = databases[0].connect()
    async with watched(databases) as (watch, _):
        holder.cursor().execute("LOCK TABLES cdc_journal WRITE")
        databases[1].execute("DROP TABLE cdc_journal")
        members = [watch.join(each.info.database, versioned=False) for each in databases]
        try:
            waits = [asyncio.create_task(watch.wait(each, 0, LONG)) for each in members]
            async with asyncio.timeout(HANG_SECONDS):
                assert not await waits[0]
                assert not await waits[1]
                databases[2].execute("INSERT INTO item (name) VALUES ('a')")
                assert await waits[2]
                assert not await watch.wait(members[0], 0, LONG), "not tried again at once"
        finally:
            holder.cursor().execute("UNLOCK TABLES")
            for each in members:
                await watch.leave(each)


async def test_waits_end_when_the_connection_is_lost_or_a_source_is_closed(databases: list[Database]) -> None:
    async with watched(databases) as (watch, _):
        members = [watch.join(each.info.database, versioned=False) for each in databases[:2]]
        waits = [asyncio.create_task(watch.wait(each, 0, LONG)) for each in members]
        await asyncio.sleep(0)
        async with asyncio.timeout(HANG_SECONDS):
            await watch.leave(members[0])
            assert not await waits[0]
            of_one = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            for (number,) in databases[0].execute(of_one):
                databases[0].execute(f"KILL {number}")
            assert not await waits[1]
        await watch.leave(members[1])


async def test_joining_while_the_last_one_leaves_is_watched(
    databases: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of the one that left closes late."""
    watch = JournalWatch(databases[0].info)
    close = watch._session._close

    def slowly() -> None:
        time.sleep(0.3)
        close()

    monkeypatch.setattr(watch._session, "_close", slowly)

    async def connected() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not watch.connected:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    member = watch.join(databases[0].info.database, versioned=False)
    await connected()
    leaving = asyncio.create_task(watch.leave(member))
    await asyncio.sleep(0)
    member = watch.join(databases[0].info.database, versioned=False)
    await leaving
    await connected()
    databases[0].execute("INSERT INTO item (name) VALUES ('a')")
    async with asyncio.timeout(HANG_SECONDS):
        assert await watch.wait(member, 0, LONG)
        await watch.leave(member)
    of_all = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    assert databases[0].execute(of_all) == [(0,)], "no connection is left"
