"""Bytes that are no log, put through the decoder: they must give values or one documented error, in bounded space."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from cdc.capture.binlog.column_codec import json_text
from cdc.capture.binlog.event import LogColumn, TableMap, parse_table_map
from cdc.capture.binlog.layout import Image, KnownTable, LogLayout, expected, layout_of
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import MySQLColumn
from cdc.model.errors import MalformedEvent, SourceError
from support import binlog_bytes

_COMMON = (
    *("tinyint(1)", "tinyint unsigned", "smallint", "mediumint", "mediumint unsigned", "int", "bigint unsigned"),
    *("float", "double", "decimal(1,0)", "decimal(20,7)", "decimal(65,30) unsigned zerofill", "bit(1)", "bit(40)"),
    *("year", "date", "time", "time(6)", "datetime", "datetime(3)", "timestamp", "timestamp(5)"),
    *("char(3)", "char(200)", "varchar(9)", "varchar(90)", "tinytext", "text", "mediumtext", "longtext"),
    *("binary(7)", "varbinary(300)", "tinyblob", "blob", "mediumblob", "longblob", "point"),
    *("enum('a','b')", "set('a','b','c')", "set('a','b','c','d','e','f','g','h','i')"),
)
_OWN = {
    Flavour.MARIADB: (
        *("uuid", "inet4", "inet6", "vector(2)", "year(2)", "time /* mariadb-5.3 */", "datetime /* mariadb-5.3 */"),
        *("timestamp /* mariadb-5.3 */", "varchar(90) /*M!100301 COMPRESSED*/", "blob /*M!100301 COMPRESSED*/"),
    ),
    Flavour.MYSQL: ("json", "vector(2)"),
}
_CHARSETS = ("utf8mb4", "latin1", "utf16", "gbk", "gb18030")
_TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")
#: Characters that bytes can become: a length of 0 is a whole UUID of zeros, and zlib can shrink a thousandfold.
_MOST, _MOST_COMPRESSED, _ALWAYS = 40, 1_100, 2_000
_EVENTS = (23, 24, 25, 30, 31, 32)


def _columns(flavour: Flavour) -> list[MySQLColumn]:
    columns = []
    for number, column_type in enumerate((*_COMMON, *_OWN[flavour])):
        data_type = column_type.split("(")[0].split(" ")[0]
        charset = _CHARSETS[number % len(_CHARSETS)] if data_type in _TEXTS else ""
        columns.append(MySQLColumn(f"c{number}", data_type, column_type, charset))
    return columns


def _log_column(column: MySQLColumn, flavour: Flavour, number: int) -> LogColumn:
    stored = expected(column, flavour)
    assert stored is not None, column
    return LogColumn(*stored, nullable=number % 3 > 0)


@cache
def tables() -> Sequence[tuple[bytes, LogLayout, int]]:
    """(table map, layout, most characters of a byte) of tables with columns of every type: one of all, and one of each
    by itself."""
    made = []
    for flavour in Flavour:
        columns = _columns(flavour)
        for some in (columns, *([column] for column in columns)):
            log = [_log_column(column, flavour, number) for number, column in enumerate(some)]
            table_map = binlog_bytes.table_map(log)
            known = KnownTable("t", tuple(some), (), flavour)
            layout = layout_of(parse_table_map(table_map, flavour), known, lambda seconds: seconds % 86_400)
            compressed = any("COMPRESSED" in column.column_type for column in some)
            made.append((table_map, layout, _MOST_COMPRESSED if compressed else _MOST))
    return made


def _check_images(rows: Sequence[tuple[Image | None, Image | None]], layout: LogLayout, most: int) -> None:
    characters = 0
    for image in (image for pair in rows for image in pair if image is not None):
        assert len(image) == len(layout.names)
        for value in image:
            assert value is None or isinstance(value, bool | int | float | str)
            characters += len(value) if isinstance(value, str) else 1
    assert characters <= most


def fuzz_rows(data: bytes) -> None:
    """The first byte chooses the table, the second one the event; the rest is behind a true post-header."""
    if len(data) < 2:
        return
    _, layout, most = tables()[data[0] % len(tables())]
    event_type = _EVENTS[data[1] % len(_EVENTS)]
    count = len(layout.names)
    update = event_type in (24, 31)
    head = binlog_bytes.rows([], count, version=1 if event_type < 30 else 2, update=update)
    try:
        _check_images(layout.rows(head + data[2:], event_type), layout, most * len(data) + _ALWAYS)
    except MalformedEvent:
        return


def fuzz_event(data: bytes) -> None:
    """A whole rows event, its head too."""
    if len(data) < 2:
        return
    _, layout, most = tables()[data[0] % len(tables())]
    try:
        _check_images(layout.rows(data[2:], _EVENTS[data[1] % len(_EVENTS)]), layout, most * len(data) + _ALWAYS)
    except SourceError:
        return


def fuzz_table_map(data: bytes) -> None:
    """The layout that the log alone describes, if it does, then reads rows of the same bytes."""
    try:
        for flavour in Flavour:
            parsed = parse_table_map(data, flavour)
            layout = layout_of(parsed, _guessed(parsed, flavour), lambda _: 0)
            layout.rows(data, _EVENTS[len(data) % len(_EVENTS)])
    except SourceError:
        return


def _guessed(parsed: TableMap, flavour: Flavour) -> KnownTable:
    """A table that is as good as any; named columns are then described by the log."""
    columns = _columns(flavour)[: len(parsed.columns)]
    return KnownTable(parsed.table, tuple(columns), (), flavour)


def fuzz_json(data: bytes) -> None:
    try:
        text = json_text(data)
    except MalformedEvent:
        return
    assert len(text) <= _MOST * len(data) + _ALWAYS


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "rows": fuzz_rows,
    "event": fuzz_event,
    "table map": fuzz_table_map,
    "json": fuzz_json,
}


def seeds() -> Iterator[tuple[str, bytes]]:
    """(target, bytes) to begin with: valid or nearly so."""
    chance = random.Random(1)
    for number, (table_map, layout, _) in enumerate(tables()):
        yield "table map", table_map
        for event in range(len(_EVENTS)):
            yield "rows", bytes([number % 256, event]) + bytes(len(layout.names) // 8 + 1) + chance.randbytes(200)
            head = binlog_bytes.rows([], len(layout.names), version=1 if event < 3 else 2, update=event in (1, 4))
            yield "event", bytes([number % 256, event]) + head + bytes(600)
    names = b"".join(bytes([2]) + f"c{number % 10}".encode() for number in range(len(_COMMON)))
    some = [_log_column(column, Flavour.MYSQL, number) for number, column in enumerate(_columns(Flavour.MYSQL))]
    optional = (
        binlog_bytes.field(1, bytes(4)) + binlog_bytes.field(2, b"\x2d") + binlog_bytes.field(4, names + b"\1x\1y")
    )
    yield "table map", binlog_bytes.table_map(some, optional + binlog_bytes.field(8, b"\0"))
    for document in (
        "000100290000000b000100050c006101000c14000161",
        "0201000c00000700036162630000",
        "0c0161",
        "0b" + "00" * 8,
    ):
        yield "json", bytes.fromhex(document)
