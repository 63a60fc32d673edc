"""Rows of a test's table as the decoder of `cdc.capture.binlog` reads them from the server's log, and as triggers would
journal them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdc.capture.binlog.event import parse_table_map
from cdc.capture.binlog.layout import KnownTable, LogLayout, layout_of
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_inspect import MySQLTable, read_tables
from cdc.database.mysql_journal import JournalShape, decoder
from cdc.database.mysql_types import image
from cdc.model.change import Row
from support.binlog_events import TABLE_MAP, Event, rows_events
from support.database import Database

Pair = tuple[Row | None, Row | None]


def found_table(database: Database, name: str) -> MySQLTable:
    return read_tables(database.connect())[name]


def known_table(database: Database, name: str, *, hidden: int = 0) -> KnownTable:
    found = found_table(database, name)
    return KnownTable(found.name, found.columns, found.key, Flavour(database.flavour), hidden)


def decoded(events: list[Event], known: KnownTable, offset_of: Callable[[int], int]) -> list[Pair]:
    layouts: dict[bytes, LogLayout] = {}
    layout: LogLayout | None = None
    rows: list[Pair] = []
    for event in events:
        if event.type == TABLE_MAP:
            layout = layouts.get(event.body)
            if layout is None:
                layout = layouts[event.body] = layout_of(parse_table_map(event.body, known.flavour), known, offset_of)
            continue
        assert layout is not None, "a table map comes first"
        names = layout.names
        for pair in layout.rows(event.body, event.type):
            before, after = (None if values is None else dict(zip(names, values, strict=True)) for values in pair)
            rows.append((before, after))
    return rows


def read_log(
    database: Database, start: tuple[str, int], known: KnownTable, offset_of: Callable[[int], int] = lambda _: 0
) -> list[Pair]:
    return decoded(rows_events(database, start, known.name), known, offset_of)


class Journal:
    """``row``: of a key, as triggers write it and the journal's decoder reads it."""

    def __init__(self, cursor: Any, found: MySQLTable) -> None:
        self._cursor = cursor
        self._statement = f"SELECT {image(found.columns, found.name)} FROM {found.name} WHERE id = "
        self._read = decoder(JournalShape(found.name, tuple(column.column for column in found.columns), found.key))

    def row(self, key: int) -> Row:
        self._cursor.execute(f"{self._statement}{key}")
        return self._read(self._cursor.fetchone()[0])


def typed(row: Row | None) -> list[tuple[str, str]] | None:
    """Comparable to the last bit: 1, 1.0 and True are different, and so are 0.0 and -0.0."""
    return None if row is None else [(name, repr(value)) for name, value in row.items()]
