"""TABLE_MAP events, made by hand; the integration tests read those of real servers."""

from __future__ import annotations

import pytest

from cdc.capture.binlog.event import LogColumn, parse_table_map
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType
from cdc.model.errors import MalformedEvent
from support.binlog_bytes import field, packed, table_map

COLUMNS = (
    LogColumn(ColumnType.LONG, 0, nullable=False),
    LogColumn(ColumnType.VARCHAR, 400, nullable=True),
    LogColumn(ColumnType.DECIMAL, 10 << 8 | 2, nullable=True),
    LogColumn(ColumnType.STRING, 1020, nullable=True),
    LogColumn(ColumnType.ENUM, 2, nullable=True),
    LogColumn(ColumnType.SET, 8, nullable=False),
    LogColumn(ColumnType.BIT, 33, nullable=True),
    LogColumn(ColumnType.DATETIME, 6, nullable=True),
    LogColumn(ColumnType.BLOB, 3, nullable=True),
    LogColumn(ColumnType.TINY, 0, nullable=True),
)
SIGNEDNESS, DEFAULT_CHARSET, COLUMN_CHARSET, NAMES, SET_MEMBERS, ENUM_MEMBERS = 1, 2, 3, 4, 5, 6
PRIMARY_KEY, PREFIXED_KEY, LIST_DEFAULT_CHARSET, LIST_COLUMN_CHARSET = 8, 9, 10, 11


def texts(*members: bytes) -> bytes:
    return b"".join(packed(len(member)) + member for member in members)


def test_columns_without_metadata() -> None:
    parsed = parse_table_map(table_map(COLUMNS, database="tienda", table="cañas"), Flavour.MYSQL)
    assert (parsed.table_id, parsed.database, parsed.table) == (7, "tienda", "cañas")
    assert parsed.columns == COLUMNS
    assert parsed.key is None
    assert parsed.problem == ""


@pytest.mark.parametrize("count", [1, 8, 9, 250, 251, 4096])
def test_any_number_of_columns(count: int) -> None:
    columns = tuple(LogColumn(ColumnType.LONG, 0, nullable=number % 3 == 0) for number in range(count))
    assert parse_table_map(table_map(columns), Flavour.MYSQL).columns == columns


def test_full_metadata() -> None:
    names = [f"c{number}" for number in range(len(COLUMNS))]
    optional = (
        field(SIGNEDNESS, bytes([0b10100000]))
        + field(DEFAULT_CHARSET, b"\x2d" + b"\x01\x08" + b"\x02\x3f")
        + field(NAMES, texts(*(name.encode() for name in names)))
        + field(LIST_COLUMN_CHARSET, b"\x08\x2d")
        + field(ENUM_MEMBERS, b"\2" + texts(b"a", "ñ".encode("latin-1")))
        + field(SET_MEMBERS, b"\3" + texts(b"x", "€".encode(), b""))
        + field(PRIMARY_KEY, b"\5\0")
        + field(99, b"unknown")
    )
    parsed = parse_table_map(table_map(COLUMNS, optional), Flavour.MYSQL)
    assert [column.name for column in parsed.columns] == names
    unsigned = {0: True, 2: False, 9: True}
    assert [column.unsigned for column in parsed.columns] == [unsigned.get(n) for n in range(len(COLUMNS))]
    collations = {1: 45, 3: 8, 8: 63, 4: 8, 5: 45}
    assert [column.collation for column in parsed.columns] == [collations.get(n) for n in range(len(COLUMNS))]
    assert [c.members for c in parsed.columns if c.members] == [("a", "ñ"), ("x", "€", "")]
    assert parsed.key == (5, 0)


def test_collations_of_each_column_and_a_prefixed_key() -> None:
    optional = field(COLUMN_CHARSET, b"\x08\xfc\xff\x00\x3f") + field(PREFIXED_KEY, b"\1\x14\0\0")
    parsed = parse_table_map(table_map(COLUMNS, optional), Flavour.MYSQL)
    assert [parsed.columns[n].collation for n in (1, 3, 8)] == [8, 255, 63]
    assert parsed.key == (1, 0)


def test_names_without_a_key_mean_that_there_is_none() -> None:
    one = (LogColumn(ColumnType.LONG, 0, nullable=False),)
    assert parse_table_map(table_map(one, field(NAMES, texts(b"c"))), Flavour.MYSQL).key == ()


@pytest.mark.parametrize("flavour", Flavour)
def test_signs_and_character_sets_are_matched_with_the_columns_that_have_them(flavour: Flavour) -> None:
    """A year has a sign, which means nothing.  A geometry has a character set in MariaDB's log only."""
    types = (ColumnType.YEAR, ColumnType.BIT, ColumnType.LONG, ColumnType.GEOMETRY, ColumnType.VARCHAR_COMPRESSED)
    metas = {ColumnType.BIT: 1, ColumnType.GEOMETRY: 4}
    columns = tuple(LogColumn(each, metas.get(each, 0), nullable=False) for each in types)
    sets = b"\x3f\x08" if flavour is Flavour.MARIADB else b"\x08"
    optional = field(SIGNEDNESS, bytes([0b10000000])) + field(COLUMN_CHARSET, sets)
    parsed = parse_table_map(table_map(columns, optional), flavour)
    assert [column.unsigned for column in parsed.columns] == [None, None, False, None, None]
    assert parsed.columns[-1].collation == 8


def test_members_in_an_unknown_collation_are_not_guessed() -> None:
    optional = field(LIST_DEFAULT_CHARSET, b"\xfc\x0f\x27") + field(ENUM_MEMBERS, b"\1" + texts(b"a"))
    parsed = parse_table_map(table_map(COLUMNS, optional), Flavour.MYSQL)
    assert [column.members for column in parsed.columns] == [None] * len(COLUMNS)


@pytest.mark.parametrize(
    ("optional", "what"),
    [
        (field(DEFAULT_CHARSET, b"\x2d\x09\x08"), "character set"),
        (field(ENUM_MEMBERS, b"\x05\x01a"), "members"),
        (field(PRIMARY_KEY, b"\x0a"), "key"),
        (field(NAMES, texts(b"one")), "ends before"),
        (field(NAMES, texts(b"\xff") * len(COLUMNS)), "name"),
        (field(SIGNEDNESS, b""), "ends before"),
        (b"\1\xff", "length"),
        (b"\1", "ends before"),
    ],
)
def test_metadata_that_is_none(optional: bytes, what: str) -> None:
    with pytest.raises(MalformedEvent, match=what):
        parse_table_map(table_map(COLUMNS, optional), Flavour.MYSQL)


def test_every_cut_is_malformed() -> None:
    body = table_map(COLUMNS)
    for length in range(len(body)):
        with pytest.raises(MalformedEvent):
            parse_table_map(body[:length], Flavour.MYSQL)


@pytest.mark.parametrize("count", [b"\0", b"\xfc\x01\x10", b"\xfe" + b"\xff" * 8])
def test_impossible_numbers_of_columns(count: bytes) -> None:
    head = table_map(COLUMNS)[: 8 + len(b"\2db\0\1t\0")]
    with pytest.raises(MalformedEvent, match="columns"):
        parse_table_map(head + count + bytes(100), Flavour.MYSQL)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (LogColumn(ColumnType.BLOB, 5, nullable=True), "type 252"),
        (LogColumn(ColumnType.DATETIME, 7, nullable=True), "type 18"),
        (LogColumn(ColumnType.DECIMAL, 66 << 8, nullable=True), "type 246"),
        (LogColumn(ColumnType.DECIMAL, 3 << 8 | 4, nullable=True), "type 246"),
        (LogColumn(ColumnType.SET, 5, nullable=True), "type 248"),
        (LogColumn(ColumnType.DOUBLE, 4, nullable=True), "type 5"),
    ],
)
def test_columns_that_nobody_can_read_are_a_problem_of_their_table_only(column: LogColumn, what: str) -> None:
    parsed = parse_table_map(table_map((column,), table="strange"), Flavour.MYSQL)
    assert (parsed.table, parsed.columns) == ("strange", ())
    assert what in parsed.problem
