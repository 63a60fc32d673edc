"""Rows whose image is longer than `max_allowed_packet`: read in pieces, equal to what larger packets give."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.capture.mysql_lookup import MySQLLookup
from cdc.capture.pages import PageRequest, TablePage
from cdc.database.mysql_connection import connect
from cdc.model.change import Row
from cdc.model.column import Table
from support.database import Database

PACKET = 1 << 20
#: Both parts of the key are needed to find a row; the texts hold what JSON writes with more characters.
TABLE = """CREATE TABLE `long %%` (
  id INT, part VARCHAR(20), short VARCHAR(20), lines_ LONGTEXT, bytes_ LONGBLOB, latin MEDIUMTEXT CHARACTER SET latin1,
  doc JSON, place GEOMETRY, number DECIMAL(20, 4), at DATETIME(3), flag TINYINT(1), nothing LONGTEXT, blank LONGTEXT,
  PRIMARY KEY (id, part)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""
ROW = """INSERT INTO `long %%` VALUES (%s, %s, 'a"b', REPEAT(%s, %s), REPEAT(X'00FF10', %s), REPEAT('\u00f1\u20ac', %s),
  '{"a": [1, "\u00f1"]}', ST_GeomFromText('POINT(1 2)'), 12.5, '2026-11-24 21:48:00.120', 2, NULL, '')"""
#: Text and how often; bytes; other text: nothing long, each column long by itself, and only all of them together.
SIZES = [
    ("\n", 10, 10, 10),
    ("\n\U0001f600", 300_000, 10, 10),
    ("x", 10, 350_000, 10),
    ("x", 10, 10, 400_000),
    ("x", 600_000, 100_000, 100_000),
    ("\u0001", PACKET - 1000, 300_000, 300_000),
]


def _fill(database: Database) -> None:
    database.execute(TABLE % ())
    for number, (text, times, of_bytes, of_latin) in enumerate(SIZES):
        for part in ("%s", "a"):
            database.execute(ROW, [number, part, text, times, of_bytes, of_latin])


def _read(database: Database, most: int) -> tuple[list[Row], list[Row], Row | None]:
    """All rows by pages, some by a value, one by its key."""
    lookup = MySQLLookup({})
    connection = connect(database.info)
    try:
        table: Table = lookup.tables(connection)["long %"].as_table
        paged: list[Row] = []
        after: Row | None = None
        while True:
            page, _ = lookup.page(connection, PageRequest(table, after, most), lambda: None)
            paged += page.rows
            assert not page.unread
            if page.looked < most:
                break
            assert page.last is not None
            after = {column: page.last[column] for column in table.key}
        return (
            paged,
            lookup.rows(connection, "long %", "id", [1, 4]),
            lookup.row(connection, "long %", {"id": 5, "part": "a"}),
        )
    finally:
        connection.close()


def _different(rows: list[Row], expected: list[Row]) -> list[tuple[int, str, str, str]]:
    """Place, column and ends of both values."""
    assert len(rows) == len(expected)
    return [
        (place, column, repr(row[column])[-60:], repr(value)[-60:])
        for place, (row, same) in enumerate(zip(rows, expected, strict=True))
        for column, value in same.items()
        if row[column] != value
    ]


@pytest.mark.parametrize("flavour", ["mariadb", "mysql"])
def test_long_rows_are_read_as_a_server_with_larger_packets_gives_them(flavour: str, own_server: Any) -> None:
    database: Database = own_server(flavour, "--max-allowed-packet=64M")
    _fill(database)
    expected = _read(database, 100)
    assert len(expected[0]) == 2 * len(SIZES)
    assert len(expected[1]) == 4
    database.execute("SET GLOBAL max_allowed_packet = %s", [PACKET])
    for most in (1, 3, 100):
        found = _read(database, most)
        for rows, same in zip(found[:2], expected[:2], strict=True):
            assert _different(rows, same) == []
        assert found[2] == expected[2]
        assert [list(row) for row in found[0]] == [list(row) for row in expected[0]], "in the columns' order"


def test_row_that_cannot_be_read_is_named(own_server: Any) -> None:
    """A JSON document whose text is longer than a packet, which MySQL gives as an empty text."""
    database: Database = own_server("mysql", "--max-allowed-packet=1M")
    database.execute("CREATE TABLE doc (id INT PRIMARY KEY, j JSON)")
    database.execute("INSERT INTO doc VALUES (1, '[]'), (2, JSON_ARRAY(REPEAT('\\n', 600000))), (3, '[]')")
    lookup = MySQLLookup({})
    connection = connect(database.info)
    try:
        table = lookup.tables(connection)["doc"].as_table
        page, _ = lookup.page(connection, PageRequest(table, None, 2), lambda: None)
        assert page == TablePage([{"id": 1, "j": "[]"}], {"id": 2}, 2, [{"id": 2}])
        assert [row["id"] for row in lookup.all_rows(connection, "doc")] == [1, 3]
    finally:
        connection.close()
