"""Streams recorded from servers, and what they mean.

``binlog/mariadb.bin`` is from MariaDB 11.8, ``binlog/mysql.bin`` from MySQL 9.7: every byte that they sent for their
whole log.  In it: transactions of several statements, savepoints, roll-backs, tables without transactions, XA in both
phases and in one, CREATE TABLE … SELECT, ALTER, TRUNCATE, compression, a second file; on MariaDB two domains; on MySQL
GTIDs with and without tags, and transactions without.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from cdc.capture.binlog.item import Idle, Item, LogTransaction, Missed, SchemaChange
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import read_log
from cdc.database.mysql_connection import Flavour

FOLDER = Path(__file__).parent / "binlog"
START = LogPosition("binlog.000001", 4, "")


def line(item: Item) -> str:
    place = f"{item.position.file}:{item.position.offset} [{item.position.gtids}]"
    match item:
        case LogTransaction():
            rows = [
                f"{each.layout.table} {each.event_type} {len(each.body)} {crc32(each.body):08x}" for each in item.rows
            ]
            return f"{item.token} {item.time.isoformat()} {place}: {', '.join(rows)}"
        case SchemaChange():
            return f"{item.token} {item.time.isoformat()} {place}: {item.database} {item.statement!r}"
        case Missed():
            return f"{item.token} {item.time.isoformat()} {place}: {item.reason}"
        case Idle():
            return f"idle {place}"


@pytest.mark.parametrize("flavour", Flavour)
def test_a_recorded_stream_means_what_stands_beside_it(flavour: Flavour) -> None:
    stream = (FOLDER / f"{flavour}.bin").read_bytes()
    items = read_log([stream], lambda table: UnreadableTable(table.table, "", None), START, flavour, server="server")
    expected = (FOLDER / f"{flavour}.txt").read_text(encoding="utf-8").splitlines()
    assert [line(item) for item in items] == expected
