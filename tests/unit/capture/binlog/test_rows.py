"""Readers that are generated for tables: whatever their columns, NULLs and events are, rows are read as written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.capture.binlog.event import LogColumn, parse_table_map
from cdc.capture.binlog.layout import KnownTable, LogLayout, Readers, layout_of
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn
from cdc.model.change import Value
from cdc.model.errors import MalformedEvent, SchemaMismatch, SourceError
from support import binlog_bytes
from support.selection import examples


@dataclass(frozen=True)
class Kind:
    """``stored``: value → bytes in the log.  ``normal``: value → normal form."""

    type: int
    meta: int
    data_type: str
    values: st.SearchStrategy[Any]
    stored: Callable[[Any], bytes]
    normal: Callable[[Any], Value] = lambda value: value
    column_type: str = ""
    charset: str = ""

    def known(self, name: str) -> MySQLColumn:
        return MySQLColumn(name, self.data_type, self.column_type or self.data_type, self.charset)


def _number(code: str) -> Callable[[Any], bytes]:
    return lambda value: struct.pack(f"<{code}", value)


def _with_length(width: int) -> Callable[[str], bytes]:
    return lambda text: len(text.encode()).to_bytes(width, "little") + text.encode()


def _day(parts: tuple[int, int, int]) -> str:
    return "{:04}-{:02}-{:02}".format(*parts)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
DAYS = st.tuples(st.integers(0, 9999), st.integers(0, 12), st.integers(1, 31))
KINDS: Sequence[Kind] = (
    Kind(ColumnType.TINY, 0, "tinyint", st.integers(-128, 127), _number("b")),
    Kind(ColumnType.TINY, 0, "tinyint", st.integers(0, 255), _number("B"), column_type="tinyint unsigned"),
    Kind(ColumnType.TINY, 0, "tinyint", st.booleans(), _number("b"), column_type="tinyint(1)"),
    Kind(ColumnType.SHORT, 0, "smallint", st.integers(-(2**15), 2**15 - 1), _number("h")),
    Kind(
        ColumnType.INT24,
        0,
        "mediumint",
        st.integers(-(2**23), 2**23 - 1),
        lambda n: n.to_bytes(3, "little", signed=True),
    ),
    Kind(ColumnType.LONG, 0, "int", st.integers(-(2**31), 2**31 - 1), _number("i")),
    Kind(ColumnType.LONGLONG, 0, "bigint", st.integers(0, 2**64 - 1), _number("Q"), column_type="bigint unsigned"),
    Kind(
        ColumnType.DOUBLE,
        8,
        "double",
        st.floats(allow_nan=False, allow_infinity=False),
        _number("d"),
        lambda n: n or 0.0,
    ),
    Kind(ColumnType.DATE, 0, "date", DAYS, lambda d: (d[0] << 9 | d[1] << 5 | d[2]).to_bytes(3, "little"), _day),
    Kind(ColumnType.VARCHAR, 48, "varchar", TEXT, _with_length(1), column_type="varchar(12)", charset="utf8mb4"),
    Kind(ColumnType.VARCHAR, 400, "varchar", TEXT, _with_length(2), column_type="varchar(100)", charset="utf8mb4"),
    *(
        Kind(ColumnType.BLOB, width, name, TEXT, _with_length(width), charset="utf8mb4")
        for width, name in enumerate(("tinytext", "text", "mediumtext", "longtext"), 1)
    ),
    Kind(
        ColumnType.ENUM,
        1,
        "enum",
        st.integers(0, 2),
        _number("B"),
        lambda n: ("", "a", "b")[n],
        "enum('a','b')",
        "utf8mb4",
    ),
)


@dataclass(frozen=True)
class Written:
    layout: LogLayout
    images: list[list[bytes | None]]
    values: list[tuple[Value, ...]]


def _layout(kinds: Sequence[Kind], nullable: Sequence[bool]) -> LogLayout:
    log = [LogColumn(kind.type, kind.meta, null) for kind, null in zip(kinds, nullable, strict=True)]
    known = tuple(kind.known(f"c{number}") for number, kind in enumerate(kinds))
    table_map = parse_table_map(binlog_bytes.table_map(log), Flavour.MYSQL)
    return layout_of(table_map, KnownTable("t", known, ("c0",), Flavour.MYSQL), lambda _: 0)


@st.composite
def written(draw: st.DrawFn) -> Written:
    """A few rows, so often that their NULL bitmaps get readers of their own."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=30))
    nullable = draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds)))
    row = st.tuples(
        *(st.none() | kind.values if null else kind.values for kind, null in zip(kinds, nullable, strict=True))
    )
    rows = draw(st.lists(row, min_size=1, max_size=4)) * (Readers.OFTEN + 1)
    images = [[None if v is None else k.stored(v) for k, v in zip(kinds, row, strict=True)] for row in rows]
    values = [tuple(None if v is None else k.normal(v) for k, v in zip(kinds, row, strict=True)) for row in rows]
    return Written(_layout(kinds, nullable), images, values)


@settings(max_examples=examples(150), deadline=None)
@given(written(), st.sampled_from([1, 2]), st.booleans(), st.binary(max_size=5))
def test_rows_are_read_as_written(made: Written, version: int, rest: bool, extra: bytes) -> None:
    count = len(made.layout.names)
    insert, update, delete = (23, 24, 25) if version == 1 else (30, 31, 32)
    body = binlog_bytes.rows(made.images, count, version=version, rest=rest, extra=extra)
    assert made.layout.rows(body, insert) == [(None, values) for values in made.values]
    assert made.layout.rows(body, delete) == [(values, None) for values in made.values]
    both = [image for image in made.images for _ in range(2)]
    body = binlog_bytes.rows(both, count, version=version, update=True, rest=rest, extra=extra)
    assert [[list(map(repr, image or ())) for image in pair] for pair in made.layout.rows(body, update)] == [
        [list(map(repr, values))] * 2 for values in made.values
    ]


@settings(max_examples=examples(150), deadline=None)
@given(written(), st.data())
def test_an_event_that_is_cut_is_malformed(made: Written, data: st.DataObject) -> None:
    """Anywhere but between rows."""
    count = len(made.layout.names)
    body = binlog_bytes.rows(made.images[:5], count, version=1)
    ends = {len(binlog_bytes.rows(made.images[:number], count, version=1)) for number in range(6)}
    cut = data.draw(st.integers(0, len(body) - 1))
    if cut in ends:
        assert len(made.layout.rows(body[:cut], 23)) < 5
    else:
        with pytest.raises(MalformedEvent):
            made.layout.rows(body[:cut], 23)


INT, NAME = (next(kind for kind in KINDS if kind.data_type == name) for name in ("int", "varchar"))


def test_text_that_is_none_does_not_stop_the_log() -> None:
    layout = _layout([INT, NAME, INT], [False, True, False])
    body = binlog_bytes.rows([[b"\1\0\0\0", b"\3a\xffb", b"\2\0\0\0"]], 3, version=1)
    assert layout.rows(body, 23) == [(None, (1, "a\ufffdb", 2))]
    with pytest.raises(MalformedEvent):
        layout.rows(body[:-1], 23)


def test_null_where_none_may_be() -> None:
    layout = _layout([INT, NAME], [False, True])
    with pytest.raises(MalformedEvent, match="NOT NULL"):
        layout.rows(binlog_bytes.rows([[None, None]], 2, version=1), 23)


def test_another_number_of_columns() -> None:
    layout = _layout([INT, NAME], [False, True])
    with pytest.raises(MalformedEvent, match="table t"):
        layout.rows(binlog_bytes.rows([[b"\1\0\0\0"]], 1, version=1), 23)


def test_images_that_lack_a_column() -> None:
    layout = _layout([INT, NAME], [False, True])
    with pytest.raises(SourceError, match=r"without column c1.*binlog_row_image"):
        layout.rows(b"\7\0\0\0\0\0\1\0" + b"\2\1" + b"\0\1\0\0\0", 23)


def test_a_layout_without_columns_reads_nothing() -> None:
    with pytest.raises(SchemaMismatch, match="table t"):
        LogLayout("t", (), ()).rows(b"", 23)


def test_no_more_readers_than_the_bound() -> None:
    """Each set of NULL columns in turn: neither readers nor counts grow without end, and rows stay right."""
    kinds = [INT] * 13
    layout = _layout(kinds, [True] * len(kinds))
    for turn in range(Readers.OFTEN + 1):
        for nulls in range(0, 1 << len(kinds), 29):
            image = [None if nulls >> n & 1 else struct.pack("<i", n + turn) for n in range(len(kinds))]
            ((_, values),) = layout.rows(binlog_bytes.rows([image], len(kinds), version=2), 30)
            assert values == tuple(None if nulls >> n & 1 else n + turn for n in range(len(kinds)))
    (readers,) = layout._readers.values()  # type: ignore[attr-defined] # the bound is inside
    assert len(readers) == Readers.MOST


def test_counts_of_rare_bitmaps_are_bounded() -> None:
    kinds = [INT] * 14
    layout = _layout(kinds, [True] * len(kinds))
    for nulls in range(1 << len(kinds)):
        image = [None if nulls >> n & 1 else b"\5\0\0\0" for n in range(len(kinds))]
        layout.rows(binlog_bytes.rows([image], len(kinds), version=1), 23)
    (readers,) = layout._readers.values()  # type: ignore[attr-defined] # the bound is inside
    assert len(readers._seen) <= Readers.MOST_COUNTED + 1
