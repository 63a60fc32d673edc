"""Every column type goes through the journal without loss, and reads the same through a look-up."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc.capture.journal.mysql import MySQLJournal
from cdc.model.change import Row
from cdc.model.normal import DecimalText
from support.database import Database
from support.mysql_capture import drain, install, run
from support.selection import examples

#: type, SQL literal, value in normal form
_LONG = "1234567890123456789012345678.0123456789"
CASES: list[tuple[str, str, object]] = [
    ("TINYINT(1)", "1", True),
    ("TINYINT(1)", "0", False),
    ("TINYINT(1)", "5", 5),
    ("TINYINT", "-128", -128),
    ("SMALLINT UNSIGNED", "65535", 65535),
    ("INT(8) ZEROFILL", "42", 42),
    ("BIGINT", "-9223372036854775808", -(2**63)),
    ("BIGINT UNSIGNED", "18446744073709551615", 2**64 - 1),
    ("YEAR", "2026", 2026),
    ("BIT(10)", "b'1000000001'", 513),
    ("DOUBLE", "0.1", 0.1),
    ("DOUBLE", "1.7976931348623157e308", 1.7976931348623157e308),
    ("DOUBLE", "5e-324", 5e-324),
    ("DOUBLE", "121", 121.0),
    ("DOUBLE", "123456789.12345679", 123456789.12345679),
    ("DOUBLE(10,2)", "12.5", 12.5),
    ("FLOAT", "0.1", 0.1),
    ("FLOAT", "16777217", 16777216.0),
    ("FLOAT", "1.17549e-38", 1.17549e-38),
    ("DECIMAL(38,10)", _LONG, DecimalText(_LONG)),
    ("DECIMAL(10,2)", "1.10", DecimalText("1.10")),
    ("DATE", "'2026-11-24'", "2026-11-24"),
    ("TIME", "'23:59:59'", "23:59:59"),
    ("TIME(6)", "'-838:59:58.000001'", "-838:59:58.000001"),
    ("DATETIME", "'2026-11-24 23:41:09'", "2026-11-24T23:41:09"),
    ("DATETIME(6)", "'2026-11-24 23:41:09.120000'", "2026-11-24T23:41:09.12"),
    ("TIMESTAMP NULL", "'2026-11-24 23:41:09'", "2026-11-24T23:41:09"),
    ("CHAR(5)", "'ab'", "ab"),
    ("VARCHAR(50)", "''", ""),
    ("VARCHAR(50)", "'a\\\"b\\\\c\\n\\t\\r\\0\\Z/'", 'a"b\\c\n\t\r\0\x1a/'),
    ("VARCHAR(50)", "'ñ€\U0001f600'", "ñ€\U0001f600"),
    ("VARCHAR(50) CHARACTER SET latin1", "'ñandú €'", "ñandú €"),
    ("VARCHAR(50) CHARACTER SET utf8mb3", "'ñ€'", "ñ€"),
    ("VARCHAR(50) CHARACTER SET utf16", "'ñ€\U0001f600'", "ñ€\U0001f600"),
    ("VARCHAR(50) COLLATE utf8mb4_bin", "'Ñ'", "Ñ"),
    ("VARCHAR(50) COLLATE utf8mb4_general_ci", "'ñ'", "ñ"),
    ("VARCHAR(50) COLLATE utf8mb4_unicode_ci", "'ñ'", "ñ"),
    ("VARCHAR(50) CHARACTER SET ascii", "'n'", "n"),
    ("VARCHAR(50) CHARACTER SET cp1251", "'я'", "я"),
    ("TEXT", "REPEAT('ñ', 20000)", "ñ" * 20000),
    ("LONGTEXT", "'[1, 2]'", "[1, 2]"),
    ("ENUM('uno','dos','Ñ')", "'Ñ'", "Ñ"),
    ("SET('a','b','c')", "'a,c'", "a,c"),
    ("BINARY(4)", "X'00FF'", base64.b64encode(b"\x00\xff\0\0").decode()),
    ("VARBINARY(200)", "REPEAT(X'00FF', 100)", base64.b64encode(b"\x00\xff" * 100).decode()),
    ("BLOB", "X'C328'", base64.b64encode(b"\xc3\x28").decode()),
]


def create(database: Database, columns: list[str]) -> None:
    listed = ", ".join(f"c{number} {column}" for number, column in enumerate(columns))
    database.execute(
        f"CREATE TABLE kinds (id INT PRIMARY KEY, {listed}) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 "
        "COLLATE=utf8mb4_unicode_520_ci ROW_FORMAT=DYNAMIC"
    )
    install(database, "kinds")


async def looked_up(database: Database) -> Row:
    journal = MySQLJournal(database.info)
    await journal.connect()
    (row,) = await journal.all_rows("kinds")
    assert await journal.rows("kinds", "id", [1]) == [row]
    await journal.disconnect()
    return row


def typed(row: Mapping[str, object] | None) -> list[tuple[str, type, object]]:
    assert row is not None
    return [(name, type(value), value) for name, value in row.items()]


def test_every_type_round_trips(db: Database) -> None:
    create(db, [column for column, _, _ in CASES])
    db.execute(f"INSERT INTO kinds VALUES (1, {', '.join(literal for _, literal, _ in CASES)})")
    wanted = typed({"id": 1, **{f"c{n}": value for n, (_, _, value) in enumerate(CASES)}})
    (created,) = drain(db)
    assert not created.gap
    assert typed(created.change.after) == wanted
    assert typed(run(looked_up(db))) == wanted
    db.execute(
        f"UPDATE kinds SET {', '.join(f'c{n} = NULL' for n in range(len(CASES)) if 'TIMESTAMP' not in CASES[n][0])}"
    )
    (updated,) = drain(db)
    assert typed(updated.change.before) == wanted
    assert [value for name, value in (updated.change.after or {}).items() if name != "id"].count(None) == len(CASES) - 1
    db.execute("DELETE FROM kinds")
    (deleted,) = drain(db)
    assert deleted.change.before == updated.change.after


#: Where 7 is no value of the type.
_OTHER = {
    "YEAR": "2025",
    "DATE": "'2025-01-02'",
    "TIME": "'01:02:03'",
    "DATETIME": "'2025-01-02 03:04:05'",
    "TIMESTAMP": "'2025-01-02 03:04:05'",
    "ENUM": "'uno'",
    "SET": "'b'",
    "BINARY": "X'0707'",
    "VARBINARY": "X'07'",
}


def test_every_type_as_a_key_that_cascades(db: Database) -> None:
    """The parent's values find the children's rows by their index, and get into images as those of columns do."""
    cases = [case for case in CASES if not case[0].startswith(("TEXT", "LONGTEXT", "BLOB"))]
    names = [f"c{number}" for number in range(len(cases))]
    columns = ", ".join(f"{name} {case[0]}" for name, case in zip(names, cases, strict=True))
    unique = ", ".join(f"UNIQUE ({name})" for name in names)
    keys = ", ".join(
        f"FOREIGN KEY ({name}) REFERENCES parent ({name}) ON DELETE CASCADE ON UPDATE CASCADE" for name in names
    )
    suffix = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci ROW_FORMAT=DYNAMIC"
    others = ", ".join(_OTHER.get(re.split(r"\W", kind)[0], "7") for kind, _, _ in cases)
    db.execute(f"CREATE TABLE parent (id INT PRIMARY KEY, {columns}, {unique}) {suffix}")
    db.execute(f"CREATE TABLE child (id INT PRIMARY KEY, {columns}, {keys}) {suffix}")
    for table in ("parent", "child"):
        db.execute(f"INSERT INTO {table} VALUES (1, {others})")
    db.execute(f"INSERT INTO child (id) VALUES {', '.join(f'({number})' for number in range(2, 1000))}")
    install(db, "child")
    session = db.connect(autocommit=True).cursor()
    for name, (kind, literal, value) in zip(names, cases, strict=True):
        session.execute("FLUSH STATUS")
        session.execute(f"UPDATE parent SET {name} = {literal}")
        (rekeyed,) = [row.change for row in drain(db) if not row.gap]
        assert rekeyed.before is not None, kind
        assert rekeyed.after is not None, kind
        assert rekeyed.before[name] != value, kind
        assert typed(rekeyed.after) == typed({**rekeyed.before, name: value}), kind
        session.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        assert sum(int(count) for _, count in session.fetchall()) < 900, f"{kind}: the children are read by no index"
    wanted = {"id": 1, **{name: value for name, (_, _, value) in zip(names, cases, strict=True)}}
    session.execute(f"UPDATE parent SET {', '.join(f'{name} = NULL' for name in names)}")
    nulled = [(typed(row.change.before), typed(row.change.after)) for row in drain(db) if not row.gap]
    assert sorted(nulled, key=repr) == sorted(
        ((typed(wanted), typed({**wanted, name: None})) for name in names), key=repr
    )
    session.execute(f"UPDATE parent SET {', '.join(f'{name} = DEFAULT' for name in names)}, c0 = 7")
    assert drain(db) == []


def test_null_in_every_type(db: Database) -> None:
    create(db, [column for column, _, _ in CASES])
    db.execute("INSERT INTO kinds (id) VALUES (1)")
    (created,) = drain(db)
    assert set((created.change.after or {}).values()) == {1, None}


def test_zero_dates_are_null(db: Database) -> None:
    create(db, ["DATE", "DATETIME", "TIMESTAMP NULL"])
    connection = db.connect(autocommit=True)
    cursor = connection.cursor()
    cursor.execute("SET SESSION sql_mode = ''")
    cursor.execute("INSERT INTO kinds VALUES (1, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00')")
    cursor.execute("UPDATE kinds SET c0 = '2026-01-01'")
    created, updated = drain(db)
    assert created.change.after == {"id": 1, "c0": None, "c1": None, "c2": None}
    assert updated.change.after == {"id": 1, "c0": "2026-01-01", "c1": None, "c2": None}


def test_json_columns_are_text(db: Database) -> None:
    create(db, ["JSON"])
    db.execute("""INSERT INTO kinds VALUES (1, '{"a": [1, "x\\\\"y"]}')""")
    db.execute("""UPDATE kinds SET c0 = '{"a": 1.0}'""")
    created, updated = drain(db)
    assert created.change.after is not None
    assert isinstance(created.change.after["c0"], str)
    assert json.loads(created.change.after["c0"]) == {"a": [1, 'x"y']}
    assert json.loads(str((updated.change.after or {})["c0"])) == {"a": 1.0}


@pytest.mark.parametrize("column", ["GEOMETRY", "POINT"])
def test_geometry_is_base64(db: Database, column: str) -> None:
    create(db, [column])
    db.execute("INSERT INTO kinds VALUES (1, ST_GeomFromText('POINT(1 2)'))")
    db.execute("UPDATE kinds SET c0 = ST_GeomFromText('POINT(1 3)')")
    created, updated = drain(db)
    assert base64.b64decode(str((created.change.after or {})["c0"]))[-8:] == b"\0\0\0\0\0\0\0@"
    assert updated.change.before == created.change.after


def test_a_generated_column_is_carried(db: Database) -> None:
    create(db, ["INT", "INT GENERATED ALWAYS AS (c0 * 2) STORED", "INT GENERATED ALWAYS AS (c0 * 3) VIRTUAL"])
    db.execute("INSERT INTO kinds (id, c0) VALUES (1, 5)")
    db.execute("UPDATE kinds SET c0 = 6")
    created, updated = drain(db)
    assert created.change.after == {"id": 1, "c0": 5, "c1": 10, "c2": 15}
    assert updated.change.after == {"id": 1, "c0": 6, "c1": 12, "c2": 18}


texts = st.text(st.characters(codec="utf-8"), max_size=40)


def test_any_text_and_any_double(db: Database) -> None:
    create(db, ["VARCHAR(200)", "DOUBLE"])
    cursor = db.connect(autocommit=True).cursor()
    numbers = iter(range(1, 10_000))
    values: dict[int, tuple[str, float]] = {}

    @settings(max_examples=examples(150), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(texts, st.floats(allow_nan=False, allow_infinity=False))
    def insert(text: str, number: float) -> None:
        key = next(numbers)
        values[key] = (text, number)
        cursor.execute("INSERT INTO kinds VALUES (%s, %s, %s)", (key, text, number))

    insert()
    found = {
        row.change.after["id"]: (row.change.after["c0"], row.change.after["c1"])
        for row in drain(db)
        if row.change.after
    }
    assert found == values
