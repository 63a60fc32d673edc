"""A consumer goes on at a replica that was promoted: the same ids for what it reads again, and the schema of there."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.capture.binlog.schema_history import BinlogPosition
from cdc.model.errors import LogPurged
from support.binlog_capture import reading
from support.database import Database
from support.mysql_pair import pair, promoted


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_reading_goes_on_at_the_promoted_replica(flavour: str, own_server: Any) -> None:
    primary, replica = pair(flavour, own_server)
    async with reading(primary, "articulos") as log:
        primary.execute("INSERT INTO articulos VALUES (1, 'a')")
        await log.drain()
        middle = log.position
        primary.execute("INSERT INTO articulos VALUES (2, 'b'), (3, 'c')")
        primary.execute("ALTER TABLE articulos ADD COLUMN precio INT FIRST")
        primary.execute("INSERT INTO articulos VALUES (5, 4, 'd')")
        behind = await log.drain()
    shop = promoted(flavour, primary, replica)
    shop.execute("INSERT INTO articulos VALUES (6, 5, 'e')")
    async with reading(shop, "articulos", position=middle) as again:
        changes = await again.drain()
        shop.execute("ALTER TABLE articulos DROP COLUMN nombre")
        shop.execute("INSERT INTO articulos VALUES (7, 6)")
        (last,) = await again.drain()
    assert changes[:3] == behind
    assert again.tokens[:2] == log.tokens[-2:]
    assert [change.key["id"] for change in changes[3:]] == [5]
    assert last.after == {"precio": 7, "id": 6}
    assert again.gaps == []
    assert again.position is not None
    assert middle is not None
    stands = BinlogPosition.load(again.position).server
    assert stands != BinlogPosition.load(middle).server
    async with reading(shop, "articulos", position=again.position) as resumed:
        assert await resumed.drain() == []
    shop.close()


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
async def test_tables_that_are_captured_only_since_the_fail_over(flavour: str, own_server: Any) -> None:
    """Whether they are altered further on is looked up in the other server's log."""
    primary, replica = pair(flavour, own_server)
    primary.script("CREATE TABLE otra (id INT PRIMARY KEY); CREATE TABLE tercera (id INT PRIMARY KEY)")
    async with reading(primary, "articulos") as log:
        primary.execute("INSERT INTO articulos VALUES (1, 'a')")
        await log.drain()
    primary.script("INSERT INTO otra VALUES (1); INSERT INTO tercera VALUES (1); ALTER TABLE tercera ADD COLUMN x INT")
    shop = promoted(flavour, primary, replica)
    async with reading(shop, "articulos", "otra", "tercera", position=log.position) as again:
        shop.execute("INSERT INTO articulos VALUES (2, 'b')")
        changes = await again.drain()
    told = [(change.table, change.operation.value, dict(change.after or {})) for change in changes]
    assert ("otra", "create", {"id": 1}) in told
    assert ("articulos", "create", {"id": 2, "nombre": "b"}) in told
    assert ("tercera", "read", {"id": 1, "x": None}) in told
    assert [gap.table for gap in again.gaps] == ["tercera"]
    shop.close()


async def test_without_gtids_another_server_is_not_taken_for_the_same(own_server: Any) -> None:
    off = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF")
    first, second = (own_server("mysql", *off, binlog=True) for _ in range(2))
    for each in (first, second):
        each.execute("CREATE TABLE articulos (id INT PRIMARY KEY, nombre VARCHAR(20))")
    async with reading(first, "articulos") as log:
        first.execute("INSERT INTO articulos VALUES (1, 'a')")
        await log.drain()
    other = Database(second.server, second.name)
    for number in range(20):
        other.execute("INSERT INTO articulos VALUES (%s, 'a')", [number])
    async with reading(other, "articulos", position=log.position) as again:
        with pytest.raises(LogPurged, match="on_purged"):
            await again.next()
    other.close()
