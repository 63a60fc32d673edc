"""Journals of many databases of one server, waited for on one connection."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from cdc.capture.journal.mysql import MySQLJournal
from cdc.capture.journal.mysql_watch import Awaited, JournalWatch, Watched
from cdc.capture.mysql_session import MySQLSession
from cdc.model.column import Capture
from cdc.model.connection import ConnectionInfo, Engine
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


@pytest.fixture
def accounts(databases: list[Database]) -> Iterator[list[ConnectionInfo]]:
    """One for each database, which reads no other."""
    found = [each.info.as_user(f"own_{each.name}", "p4ssw0rd!") for each in databases]
    for each in found:
        databases[0].execute(f"CREATE USER '{each.user}'@'%' IDENTIFIED BY '{each.password}'")
        databases[0].execute(f"GRANT ALL ON {each.database}.* TO '{each.user}'@'%'")
    yield found
    for each in found:
        databases[0].execute(f"DROP USER IF EXISTS '{each.user}'@'%'")


@asynccontextmanager
async def watched(
    databases: list[Database], accounts: list[ConnectionInfo] | None = None
) -> AsyncIterator[tuple[JournalWatch, list[MySQLJournal]]]:
    """Journals whose own looks come too late for any test."""
    watch = JournalWatch()
    async with AsyncExitStack() as at_end:
        infos = accounts or [each.info for each in databases]
        journals = [MySQLJournal(each, look=LONG, quick=LONG, watch=watch) for each in infos]
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


async def test_sources_with_accounts_of_their_own_are_woken(
    databases: list[Database], accounts: list[ConnectionInfo]
) -> None:
    late = databases[1].connect()
    late.cursor().execute("INSERT INTO item (name) VALUES ('late')")
    async with watched(databases, accounts) as (_, journals):
        first, second, third = (asyncio.create_task(each.wait(LONG)) for each in journals)
        async with asyncio.timeout(HANG_SECONDS):
            late.commit()
            await second
            databases[2].execute("INSERT INTO item (name) VALUES ('b')")
            await third
            assert not first.done()
            databases[0].execute("INSERT INTO item (name) VALUES ('c')")
            await first
        assert brief(await journals[1].peek(10), "name") == [("create", "item", None, ("late",))]


async def test_another_source_lends_its_account(databases: list[Database], accounts: list[ConnectionInfo]) -> None:
    """After the one whose account the common connection had has left, and after an account is gone."""
    watch = JournalWatch()
    members = [watch.join(each, versioned=False) for each in accounts]

    async def watching(leader: Watched) -> None:
        while not watch.connected or watch._leader is not leader:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
        for member in (each for each in members if each in watch._members):
            how = Awaited.OVER if member is leader else Awaited.WRITTEN
            waiting = asyncio.create_task(watch.wait(member, 0, LONG))
            databases[members.index(member)].execute("INSERT INTO item (name) VALUES ('a')")
            assert await waiting is how

    async with asyncio.timeout(HANG_SECONDS):
        await watching(members[0])
        await watch.leave(members[0])
        await watching(members[1])
        databases[0].execute(f"DROP USER '{accounts[1].user}'@'%%'", ())
        of_it = "SELECT id FROM information_schema.processlist WHERE user = %s"
        for (number,) in databases[0].execute(of_it, [accounts[1].user]):
            databases[0].kill(number)
        assert await watch.wait(members[1], 0, LONG) is Awaited.UNWATCHED
        await watching(members[2])
        for member in members[1:]:
            await watch.leave(member)
    assert not watch.connected


def test_polls_of_own_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 62 sources with accounts of their own, one of which is active."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = JournalWatch()
    info = ConnectionInfo(Engine.MYSQL, "a", "a")
    members = [Watched(replace(info, user=str(number)), versioned=False) for number in range(62)]
    watch._members.update(dict.fromkeys(members))
    polls: Counter[str] = Counter()
    monkeypatch.setattr(Watched, "end", lambda member, _how: polls.update([member.info.user]))

    def passes(seconds: float, *, changed: bool) -> None:
        nonlocal now
        polls.clear()
        for _ in range(round(seconds / 0.05)):
            members[0].active = now if changed else members[0].active
            watch._wake(members, changed=changed)
            now += 0.05

    passes(60, changed=False)
    assert set(polls.values()) == {2}, "nothing is written: each is polled twice when it joins, and never again"
    passes(60, changed=True)
    assert polls["0"] == 1200, "at each write, while it has rows itself"
    assert sum(polls.values()) - polls["0"] <= 250 * 60
    assert min(polls.values()) >= 60 / 0.3


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
        members = [watch.join(each.info, versioned=False) for each in databases]
        try:
            waits = [asyncio.create_task(watch.wait(each, 0, LONG)) for each in members]
            async with asyncio.timeout(HANG_SECONDS):
                assert [await each for each in waits[:2]] == [Awaited.UNWATCHED] * 2
                databases[2].execute("INSERT INTO item (name) VALUES ('a')")
                assert await waits[2] is Awaited.OVER
                assert await watch.wait(members[0], 0, LONG) is Awaited.UNWATCHED, "not tried again at once"
        finally:
            holder.cursor().execute("UNLOCK TABLES")
            for each in members:
                await watch.leave(each)


async def test_waits_end_when_the_connection_is_lost_or_a_source_is_closed(databases: list[Database]) -> None:
    async with watched(databases) as (watch, _):
        members = [watch.join(each.info, versioned=False) for each in databases[:2]]
        waits = [asyncio.create_task(watch.wait(each, 0, LONG)) for each in members]
        await asyncio.sleep(0)
        async with asyncio.timeout(HANG_SECONDS):
            await watch.leave(members[0])
            assert await waits[0] is Awaited.UNWATCHED
            of_one = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            for (number,) in databases[0].execute(of_one):
                databases[0].execute(f"KILL {number}")
            assert await waits[1] is Awaited.UNWATCHED
        await watch.leave(members[1])


async def test_joining_while_the_last_one_leaves_is_watched(
    databases: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of the one that left closes late."""
    watch = JournalWatch()
    close = MySQLSession._close

    def slowly(session: MySQLSession) -> None:
        time.sleep(0.3)
        close(session)

    monkeypatch.setattr(MySQLSession, "_close", slowly)

    async def connected() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            while not watch.connected:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    member = watch.join(databases[0].info, versioned=False)
    await connected()
    leaving = asyncio.create_task(watch.leave(member))
    await asyncio.sleep(0)
    member = watch.join(databases[0].info, versioned=False)
    await leaving
    await connected()
    databases[0].execute("INSERT INTO item (name) VALUES ('a')")
    async with asyncio.timeout(HANG_SECONDS):
        assert await watch.wait(member, 0, LONG) is Awaited.OVER
        await watch.leave(member)
    of_all = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    async with asyncio.timeout(HANG_SECONDS):  # no connection is left, once the server has ended the threads of both
        while databases[0].execute(of_all) != [(0,)]:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
