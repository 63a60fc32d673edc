"""A log that was reset, or whose server was put back to an older copy, is never taken for the one that was read,
however long it has grown since."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from pymysql.connections import Connection

from cdc.capture.binlog.connection import log_end
from cdc.capture.binlog.inspector import BinlogInspector
from cdc.capture.binlog.log_position import missing
from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.database.mysql_connection import Flavour, connect, rows
from cdc.model.change import Operation, Position
from cdc.model.errors import LogPurged, SourceUnavailable
from cdc.model.finding import Severity
from support.binlog_capture import QUICK, Reading, reading
from support.database import Database
from support.log_reading import head
from support.mysql_pair import RESET
from support.waiting import HANG_SECONDS

SERVERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mariadb": ("mariadb", ()),
    "mysql": ("mysql", ()),
    "mysql-without-gtids": ("mysql", ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")),
}
TABLE = "CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(40))"


def add(database: Database, first: int, last: int) -> None:
    for number in range(first, last):
        database.execute("INSERT INTO articulos VALUES (%s, 'x')", [number])


@pytest.fixture(params=SERVERS)
def items(request: pytest.FixtureRequest, own_server: Any) -> Database:
    flavour, options = SERVERS[request.param]
    database: Database = own_server(flavour, *options, binlog=True)
    database.execute(TABLE)
    return database


async def next_second(database: Database) -> None:
    """Until the server's clock shows another second than the one in which its log was begun."""
    (now,) = database.execute("SELECT UNIX_TIMESTAMP()")
    async with asyncio.timeout(HANG_SECONDS):
        while database.execute("SELECT UNIX_TIMESTAMP()") == [now]:  # noqa: ASYNC110 - the server gives no sign
            await asyncio.sleep(0.02)


async def assert_noticed(database: Database, position: Position | None, expected: int) -> None:
    """Reading stops with the reason, doctor names it, and with ``on_purged = "reread"`` every row arrives."""
    async with reading(database, "articulos", position=position) as stopped:
        with pytest.raises(LogPurged, match=r"reset.*older copy") as caught:
            await stopped.next()
    assert "on_purged" in caught.value.hint
    assert position is not None
    (finding,) = BinlogInspector(database.info).position_findings(position)
    assert finding.severity is Severity.WRONG
    assert "older copy" in finding.detail
    async with reading(database, "articulos", position=position, reread_purged=True) as again:
        changes = await again.drain()
        assert [gap.table for gap in again.gaps] == ["articulos"]
        read = {change.key["id"] for change in changes if change.operation is Operation.READ}
        assert len(read) == expected
        add(database, 9000, 9001)
        assert [change.key["id"] for change in await again.drain()] == [9000]
    async with reading(database, "articulos", position=again.position) as resumed:
        assert await resumed.drain() == []


def grow_past(database: Database, position: Position | None, first: int) -> int:
    """Write until the log has more transactions than the position and is longer; return the next number."""
    assert position is not None
    stand = BinlogPosition.load(position).log
    numbers = stand.gtids.rpartition("-" if database.flavour == "mariadb" else ":")[2].rpartition("-")[2]
    while True:
        add(database, first, first + 20)
        first += 20
        end = head(database)
        ends = end.gtids.rpartition("-" if database.flavour == "mariadb" else ":")[2].rpartition("-")[2]
        if end.place() > stand.place() and int(ends or 1) > int(numbers or 0):
            return first


async def test_log_reset_and_grown_past_the_position_is_noticed(items: Database) -> None:
    await next_second(items)
    async with reading(items, "articulos") as log:
        add(items, 0, 30)
        await log.drain()
    items.execute(RESET[items.flavour])
    last = grow_past(items, log.position, 1000)
    await assert_noticed(items, log.position, 30 + last - 1000)


async def test_log_reset_before_anything_was_read_is_noticed(items: Database) -> None:
    """The position of a first start, and the one behind a re-read, know their log before it has a transaction."""
    await next_second(items)
    add(items, 0, 30)
    async with reading(items, "articulos") as log:
        await log.drain()
    items.execute(RESET[items.flavour])
    last = grow_past(items, log.position, 1000)
    async with reading(items, "articulos", position=log.position, reread_purged=True) as again:
        changes = await again.drain()
        assert {change.operation for change in changes} == {Operation.READ}
        assert len({change.key["id"] for change in changes}) == 30 + last - 1000
    await next_second(items)
    items.execute(RESET[items.flavour])
    following = grow_past(items, again.position, last)
    await assert_noticed(items, again.position, 30 + following - 1000)


async def test_log_reset_to_fewer_files_than_the_position_names_is_noticed(items: Database) -> None:
    await next_second(items)
    for _ in range(3):
        items.execute("FLUSH BINARY LOGS")
    async with reading(items, "articulos") as log:
        add(items, 0, 3)
        await log.drain()
    items.execute(RESET[items.flavour])
    add(items, 1000, 1100)
    async with reading(items, "articulos", position=log.position) as stopped:
        with pytest.raises(LogPurged, match="is gone"):
            await stopped.next()


async def test_server_put_back_to_an_older_copy_is_noticed(items: Database) -> None:
    async with reading(items, "articulos") as log:
        add(items, 0, 10)
        await log.drain()
    stop(items)
    items.server.save()
    items.server.start()
    async with reading(items, "articulos", position=log.position) as log:
        add(items, 10, 40)
        assert len(await log.drain()) == 30
    await next_second(items)
    stop(items)
    items.server.restore()
    items.server.start()
    last = grow_past(items, log.position, 1000)
    await assert_noticed(items, log.position, 10 + last - 1000)


async def test_restarted_and_rotated_log_is_the_same(items: Database) -> None:
    async with reading(items, "articulos") as log:
        add(items, 0, 3)
        await log.drain()
    items.close()
    items.server.kill()
    items.server.start()
    items.execute("FLUSH BINARY LOGS")
    add(items, 3, 6)
    async with reading(items, "articulos", position=log.position) as again:
        assert [change.key["id"] for change in await again.drain()] == [3, 4, 5]


async def test_rotations_and_restarts_of_a_quiet_server_are_no_reset(items: Database) -> None:
    """The files hold nothing but their heads, so that a chunk of the log holds several, of different seconds."""

    async def restart() -> None:
        await next_second(items)
        stop(items)
        items.server.start()

    async with reading(items, "articulos", limits=replace(QUICK, idle=0.1)) as log:
        add(items, 0, 3)
        await log.drain()
        for _ in range(2):
            await next_second(items)
            items.execute("FLUSH BINARY LOGS")
        await log.drain()
    for _ in range(2):
        await next_second(items)
        items.execute("FLUSH BINARY LOGS")
    async with reading(items, "articulos", position=log.position) as log:
        assert await log.drain() == []
        await restart()  # the reader's connection is lost
    await restart()
    async with reading(items, "articulos", position=log.position) as log:
        add(items, 3, 4)
        assert [change.key["id"] for change in await log.drain()] == [3]
    assert log.position is not None
    (finding,) = BinlogInspector(items.info).position_findings(log.position)
    assert finding.severity is Severity.OK


@pytest.mark.parametrize("items", ["mariadb", "mysql"], indirect=True)
def test_purge_between_two_queries_is_no_loss(items: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files before the last are purged when one more query is to be answered; everything in them was read."""
    add(items, 0, 3)
    queries = 0

    def purging(connection: Connection[Any], sql: str, parameters: Any = None) -> Any:
        nonlocal queries
        queries += 1
        if queries == before:
            items.execute("FLUSH BINARY LOGS")
            while len(items.execute("SHOW BINARY LOGS")) > 1:  # a file is in use until its reader's end is noticed
                items.execute("PURGE BINARY LOGS TO %s", [log_end(connection).file])
        return rows(connection, sql, parameters)

    monkeypatch.setattr("cdc.capture.binlog.log_position.rows", purging)
    flavour = Flavour(items.flavour)
    with closing(connect(items.info)) as connection:
        for before in range(1, 12):
            queries = 0
            assert missing(connection, flavour, head(items), by_gtids=True) is None, before
    assert queries > 1


async def test_loss_that_is_not_found_twice_is_none(items: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with reading(items, "articulos") as log:
        add(items, 0, 3)
        await log.drain()
    answers = iter([LogPurged("What a query says that another one contradicts.")])
    monkeypatch.setattr("cdc.capture.binlog.connection.missing", lambda *_, **__: next(answers, None))
    async with reading(items, "articulos", position=log.position) as again:
        add(items, 3, 4)
        assert [change.key["id"] for change in await again.drain()] == [3]


@pytest.mark.parametrize("items", ["mariadb"], indirect=True)
async def test_domain_that_an_administrator_deletes_is_no_reset(items: Database) -> None:
    async with reading(items, "articulos") as log:
        items.execute("SET SESSION gtid_domain_id = 5")
        add(items, 0, 2)
        items.execute("SET SESSION gtid_domain_id = 0")
        add(items, 2, 3)
        await log.drain()
    items.execute("FLUSH BINARY LOGS")
    async with asyncio.timeout(HANG_SECONDS):
        while len(items.execute("SHOW BINARY LOGS")) > 1:
            items.execute("PURGE BINARY LOGS TO %s", [head(items).file])
            await asyncio.sleep(0.05)
    items.execute("FLUSH BINARY LOGS DELETE_DOMAIN_ID = (5)")
    add(items, 3, 4)
    async with reading(items, "articulos", position=log.position) as again:
        assert [change.key["id"] for change in await again.drain()] == [3]


async def test_log_that_begins_where_the_position_is_needs_no_earlier_file(items: Database) -> None:
    """All that was read is purged, nothing else is."""
    async with reading(items, "articulos") as log:
        add(items, 0, 3)
        await log.drain()
    gtids = BinlogPosition.load(log.position or Position("")).log.gtids
    items.execute("FLUSH BINARY LOGS")
    async with asyncio.timeout(HANG_SECONDS):
        while len(items.execute("SHOW BINARY LOGS")) > 1:  # a file is in use until its reader's end is noticed
            items.execute("PURGE BINARY LOGS TO %s", [head(items).file])
            await asyncio.sleep(0.05)
    add(items, 3, 6)
    async with reading(items, "articulos", position=log.position) as again:
        if gtids:
            assert [change.key["id"] for change in await again.drain()] == [3, 4, 5]
        else:
            with pytest.raises(LogPurged, match="that file is gone"):
                await again.next()


async def test_position_without_the_time_of_its_file_gets_it(items: Database) -> None:
    """As earlier versions stored them."""
    async with reading(items, "articulos") as log:
        add(items, 0, 3)
        await log.drain()
    stand = BinlogPosition.load(log.position or Position(""))
    assert stand.log.begun
    old = replace(stand, log=stand.log._replace(begun=0)).dump()
    async with reading(items, "articulos", position=old) as again:
        add(items, 3, 6)
        assert [change.key["id"] for change in await again.drain()] == [3, 4, 5]
    assert BinlogPosition.load(again.position or Position("")).log.begun == stand.log.begun


async def test_log_reset_while_it_is_read_is_noticed(items: Database) -> None:
    await next_second(items)
    async with reading(items, "articulos", limits=replace(QUICK, idle=0.1)) as log:
        add(items, 0, 30)
        await log.drain()
        items.execute(RESET[items.flavour])
        add(items, 1000, 1002)
        with pytest.raises((SourceUnavailable, LogPurged)):
            await _forever(log)
    async with reading(items, "articulos", position=log.position) as again:
        with pytest.raises(LogPurged, match="reset"):
            await again.next()


async def _forever(log: Reading) -> None:
    while True:
        await log.next()


def stop(database: Database) -> None:
    database.close()
    database.server.stop()
