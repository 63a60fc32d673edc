"""Statements that change rows without row events in the log: the rows are read again, or said to be gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.model.change import Operation
from support.binlog_capture import images, reading
from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {"mariadb": Spec("mariadb", binlog=True), "mysql": Spec("mysql")}
TABLES = """
CREATE TABLE partes (id INT PRIMARY KEY, n INT) PARTITION BY RANGE (id)
  (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20));
CREATE TABLE otra (id INT PRIMARY KEY, n INT);
INSERT INTO partes VALUES (1, 1), (11, 1);
INSERT INTO otra VALUES (2, 2)
"""


@pytest.fixture(params=SPECS)
def parts(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        database.script(TABLES)
        yield database


@pytest.mark.parametrize(
    ("statements", "left"),
    [
        ("ALTER TABLE partes TRUNCATE PARTITION p0", {11}),
        ("ALTER TABLE partes DROP PARTITION p1", {1}),
        ("ALTER TABLE partes EXCHANGE PARTITION p0 WITH TABLE otra", {2, 11}),
        ("RENAME TABLE partes TO _partes_del, otra TO partes", {2}),
        ("ALTER TABLE partes RENAME TO vieja; ALTER TABLE otra RENAME TO partes", {2}),
    ],
)
async def test_rows_exchanged_by_a_statement_are_read_again(parts: Database, statements: str, left: set[int]) -> None:
    async with reading(parts, "partes") as log:
        parts.script(statements)
        changes = await log.drain()
        assert {gap.table for gap in log.gaps} == {"partes"}
        assert {change.key["id"] for change in changes if change.operation is Operation.READ} == left
        parts.execute("INSERT INTO partes VALUES (3, 3)")
        assert [change.key["id"] for change in await log.drain()] == [3]


async def test_partitions_that_keep_their_rows_are_no_gap(parts: Database) -> None:
    async with reading(parts, "partes") as log:
        parts.execute("ALTER TABLE partes ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))")
        parts.execute("ALTER TABLE partes REORGANIZE PARTITION p1, p2 INTO (PARTITION p1 VALUES LESS THAN (40))")
        parts.execute("ALTER TABLE partes REMOVE PARTITIONING")
        assert await log.drain() == []
        assert log.gaps == []


async def test_table_dropped_and_made_again_is_emptied(parts: Database) -> None:
    """As a dump that is loaded does it."""
    async with reading(parts, "otra", "nueva") as log:
        parts.execute("DROP TABLE IF EXISTS nueva")
        parts.execute("DROP TABLE IF EXISTS otra")
        parts.execute("CREATE TABLE otra (id INT PRIMARY KEY)")
        parts.execute("INSERT INTO otra VALUES (5)")
        changes = await log.drain()
    assert images(changes) == [("truncate", None, None), ("create", None, {"id": 5})]
    assert {change.table for change in changes} == {"otra"}
    assert log.gaps == []


async def test_replaced_table_of_mariadb_is_emptied(mariadb_binlog_db: Database) -> None:
    mariadb_binlog_db.script(TABLES)
    async with reading(mariadb_binlog_db, "otra") as log:
        mariadb_binlog_db.execute("CREATE OR REPLACE TABLE otra (id INT PRIMARY KEY) SELECT 7 AS id")
        changes = await log.drain()
        mariadb_binlog_db.execute("SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE otra ADD COLUMN x INT FIRST")
        mariadb_binlog_db.execute("INSERT INTO otra VALUES (1, 8)")
        assert images(await log.drain()) == [("create", None, {"x": 1, "id": 8})]
    assert images(changes) == [("truncate", None, None), ("create", None, {"id": 7})]


async def test_table_that_mariadb_converts_to_a_partition_is_read(mariadb_binlog_db: Database) -> None:
    if mariadb_binlog_db.execute("SELECT VERSION() LIKE '10.6%%'") == [(1,)]:
        pytest.skip("MariaDB converts tables from 10.7 on")
    mariadb_binlog_db.script(f"{TABLES}; UPDATE otra SET id = 22")
    async with reading(mariadb_binlog_db, "partes") as log:
        mariadb_binlog_db.execute("ALTER TABLE partes CONVERT TABLE otra TO PARTITION p2 VALUES LESS THAN (30)")
        changes = await log.drain()
    assert {gap.table for gap in log.gaps} == {"partes"}
    assert {change.key["id"] for change in changes if change.operation is Operation.READ} == {1, 11, 22}
