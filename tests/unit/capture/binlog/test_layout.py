"""Whether a column of the log is the one that information_schema shows; what the log alone says of one."""

from __future__ import annotations

import re

import pytest

from cdc.capture.binlog.event import LogColumn
from cdc.capture.binlog.layout import described, expected, fits, members_of
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import ColumnType, MySQLColumn


def column(column_type: str, charset: str = "") -> MySQLColumn:
    (data_type, *_) = re.split(r"\W", column_type)
    return MySQLColumn("c", data_type, column_type, charset)


def log(of_type: ColumnType, meta: int = 0, **more: object) -> LogColumn:
    return LogColumn(of_type, meta, nullable=True, **more)  # type: ignore[arg-type] # as the tests name them


@pytest.mark.parametrize(
    ("column_type", "members"),
    [
        ("enum('a','b')", ("a", "b")),
        ("set('it''s','''')", ("it's", "'")),
        (r"enum('back\\slash','new\nline','\0','a\rb')", ("back\\slash", "new\nline", "\0", "a\rb")),
        ("enum('a,b','(c)','')", ("a,b", "(c)", "")),
    ],
)
def test_members(column_type: str, members: tuple[str, ...]) -> None:
    assert members_of(column_type) == members


@pytest.mark.parametrize(
    ("column_type", "charset", "stored"),
    [
        ("int", "", (ColumnType.LONG, 0)),
        ("int(11) unsigned", "", (ColumnType.LONG, 0)),
        ("varchar(10)", "utf8mb4", (ColumnType.VARCHAR, 40)),
        ("varchar(10)", "utf8mb3", (ColumnType.VARCHAR, 30)),
        ("varchar(10)", "latin1", (ColumnType.VARCHAR, 10)),
        ("char(255)", "utf8mb4", (ColumnType.STRING, 1020)),
        ("binary(16)", "", (ColumnType.STRING, 16)),
        ("decimal(10,2) unsigned zerofill", "", (ColumnType.DECIMAL, 10 << 8 | 2)),
        ("datetime(3)", "", (ColumnType.DATETIME, 3)),
        ("time", "", (ColumnType.TIME, 0)),
        ("time /* mariadb-5.3 */", "", (ColumnType.OLD_TIME, 0)),
        ("time(3) /* mariadb-5.3 */", "", None),
        ("bit(10)", "", (ColumnType.BIT, 10)),
        ("set('a','b','c','d','e','f','g','h','i')", "utf8mb4", (ColumnType.SET, 2)),
        ("varchar(9) /*M!100301 COMPRESSED*/", "latin1", (ColumnType.VARCHAR_COMPRESSED, 10)),
        ("text /*M!100301 COMPRESSED*/", "utf8mb4", (ColumnType.BLOB_COMPRESSED, 2)),
        ("vector(3)", "", (ColumnType.VECTOR, 4)),
        ("xmltype", "utf8mb4", None),
    ],
)
def test_what_the_log_should_have(column_type: str, charset: str, stored: tuple[int, int] | None) -> None:
    assert expected(column(column_type, charset), Flavour.MYSQL) == stored


def test_vectors_of_mariadb_are_bytes_of_some_length() -> None:
    assert expected(column("vector(3)"), Flavour.MARIADB) == (ColumnType.VARCHAR, 12)


@pytest.mark.parametrize("members", [255, 256])
def test_numbers_of_members(members: int) -> None:
    listed = ",".join(f"'m{number}'" for number in range(members))
    assert expected(column(f"enum({listed})", "utf8mb4"), Flavour.MYSQL) == (
        ColumnType.ENUM,
        1 if members == 255 else 2,
    )


@pytest.mark.parametrize(
    ("found", "known", "fit"),
    [
        (log(ColumnType.LONG), column("int"), True),
        (log(ColumnType.LONG, unsigned=False), column("int"), True),
        (log(ColumnType.LONG, unsigned=True), column("int"), False),
        (log(ColumnType.LONG, unsigned=True), column("int unsigned"), True),
        (log(ColumnType.LONG), column("bigint"), False),
        (log(ColumnType.VARCHAR, 40), column("varchar(10)", "utf8mb4"), True),
        (log(ColumnType.VARCHAR, 44), column("varchar(10)", "utf8mb4"), False),
        (log(ColumnType.VARCHAR, 40, collation=255), column("varchar(10)", "utf8mb4"), True),
        (log(ColumnType.VARCHAR, 40, collation=60), column("varchar(10)", "utf8mb4"), False),
        (log(ColumnType.VARCHAR, 40, collation=9999), column("varchar(10)", "utf8mb4"), True),
        (log(ColumnType.VARCHAR, 30, collation=33), column("varchar(10)", "utf8"), True),
        (log(ColumnType.VARCHAR, 10, collation=63), column("varbinary(10)"), True),
        (log(ColumnType.VARCHAR, 10, collation=8), column("varbinary(10)"), False),
        (log(ColumnType.ENUM, 1, members=("a",)), column("enum('a')", "utf8mb4"), True),
        (log(ColumnType.ENUM, 1, members=("b",)), column("enum('a')", "utf8mb4"), False),
        (log(ColumnType.STRING, 16), column("xmltype"), False),
    ],
)
def test_fitting(found: LogColumn, known: MySQLColumn, fit: bool) -> None:
    assert fits(found, known, Flavour.MYSQL) is fit


@pytest.mark.parametrize(
    ("found", "flavour", "data_type"),
    [
        (log(ColumnType.LONG, name="c", unsigned=False), Flavour.MYSQL, "int"),
        (log(ColumnType.LONG, name="c"), Flavour.MYSQL, None),
        (log(ColumnType.LONG, unsigned=False), Flavour.MYSQL, None),
        (log(ColumnType.TINY, name="c", unsigned=False), Flavour.MYSQL, None),
        (log(ColumnType.YEAR, name="c"), Flavour.MYSQL, None),
        (log(ColumnType.DECIMAL, 2560, name="c", unsigned=False), Flavour.MYSQL, "decimal"),
        (log(ColumnType.DECIMAL, 2560, name="c", unsigned=True), Flavour.MYSQL, None),
        (log(ColumnType.STRING, 16, name="c", collation=63), Flavour.MYSQL, "binary"),
        (log(ColumnType.STRING, 16, name="c", collation=63), Flavour.MARIADB, None),
        (log(ColumnType.STRING, 17, name="c", collation=63), Flavour.MARIADB, "binary"),
        (log(ColumnType.STRING, 16, name="c", collation=8), Flavour.MARIADB, "char"),
        (log(ColumnType.STRING, 16, name="c"), Flavour.MYSQL, None),
        (log(ColumnType.VARCHAR, 16, name="c", collation=9999), Flavour.MYSQL, None),
        (log(ColumnType.BLOB, 2, name="c", collation=63), Flavour.MYSQL, "longblob"),
        (log(ColumnType.BLOB, 2, name="c", collation=45), Flavour.MYSQL, "longtext"),
        (log(ColumnType.ENUM, 1, name="c", collation=45), Flavour.MYSQL, None),
        (log(ColumnType.ENUM, 1, name="c", collation=45, members=("a",)), Flavour.MYSQL, "enum"),
        (log(ColumnType.OLD_TIME, name="c"), Flavour.MARIADB, None),
        (log(ColumnType.BLOB_COMPRESSED, 2, name="c"), Flavour.MARIADB, None),
        (log(ColumnType.DATETIME, 3, name="c"), Flavour.MARIADB, "datetime"),
    ],
)
def test_columns_that_the_log_alone_describes(found: LogColumn, flavour: Flavour, data_type: str | None) -> None:
    guess = described(found, flavour)
    assert (guess.data_type if guess else None) == data_type
