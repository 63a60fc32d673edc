"""Tables whose images in the log are out of the ordinary: hidden and generated columns, hundreds of them, long values,
many rows in an event, images that lack columns, columns that were altered."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cdc.capture.binlog.event import parse_table_map
from cdc.capture.binlog.layout import KnownTable, layout_of
from cdc.database.mysql_connection import Flavour
from cdc.database.mysql_types import MySQLColumn
from cdc.model.errors import SchemaMismatch, SourceError
from support.binlog_events import TABLE_MAP, end_of_log, rows_events
from support.binlog_rows import Journal, decoded, found_table, known_table, read_log, typed
from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {
    "mariadb": Spec("mariadb", binlog=True),
    "mariadb FULL": Spec("mariadb", binlog=True, options=("--binlog-row-metadata=FULL",)),
    "mysql": Spec("mysql"),
    "mysql FULL": Spec("mysql", options=("--binlog-row-metadata=FULL",)),
}


def _database(keeper: KeeperClient, name: str) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[name]), erp=False) as database:
        yield database


@pytest.fixture(params=SPECS)
def db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, request.param)


@pytest.fixture(params=["mariadb", "mariadb FULL"])
def mariadb(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, request.param)


@pytest.fixture(params=["mysql", "mysql FULL"])
def mysql(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, request.param)


@pytest.fixture(params=["mariadb FULL", "mysql FULL"])
def full(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    yield from _database(keeper, request.param)


def test_generated_columns(db: Database) -> None:
    """MySQL logs them always, MariaDB not in updates and deletes: there they are left out altogether."""
    db.execute(
        "CREATE TABLE sums (id INT PRIMARY KEY, a INT, twice INT AS (a * 2) VIRTUAL, thrice INT AS (a * 3) STORED,"
        " b INT)"
    )
    start = end_of_log(db)
    db.execute("INSERT INTO sums (id, a, b) VALUES (1, 5, 7)")
    db.execute("UPDATE sums SET a = 6")
    db.execute("DELETE FROM sums")
    rows = read_log(db, start, known_table(db, "sums"))
    first, then = {"id": 1, "a": 5, "b": 7}, {"id": 1, "a": 6, "b": 7}
    if db.flavour == Flavour.MYSQL:
        first = {"id": 1, "a": 5, "twice": 10, "thrice": 15, "b": 7}
        then = {"id": 1, "a": 6, "twice": 12, "thrice": 18, "b": 7}
    assert [tuple(map(typed, pair)) for pair in rows] == [
        tuple(map(typed, pair)) for pair in ((None, first), (first, then), (then, None))
    ]


def test_columns_that_hold_hashes_are_not_seen(mariadb: Database) -> None:
    mariadb.execute("CREATE TABLE notes (id INT PRIMARY KEY, words TEXT UNIQUE, pages INT)")
    start = end_of_log(mariadb)
    mariadb.execute("INSERT INTO notes VALUES (1, 'ñ', NULL), (2, NULL, 3)")
    mariadb.execute("UPDATE notes SET pages = 4")
    rows = read_log(mariadb, start, known_table(mariadb, "notes", hidden=1))
    one, two = {"id": 1, "words": "ñ", "pages": None}, {"id": 2, "words": None, "pages": 3}
    assert rows == [(None, one), (None, two), (one, {**one, "pages": 4}), (two, {**two, "pages": 4})]


def test_invisible_and_generated_key_columns(mysql: Database) -> None:
    cursor = mysql.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION sql_generate_invisible_primary_key = ON")
    cursor.execute("CREATE TABLE notes (a INT, b INT INVISIBLE, INDEX ((a + b)))")
    start = end_of_log(mysql)
    cursor.execute("INSERT INTO notes (a, b) VALUES (1, 2)")
    known = known_table(mysql, "notes")
    assert known.key == ("my_row_id",)
    assert read_log(mysql, start, known) == [(None, {"my_row_id": 1, "a": 1, "b": 2})]


@pytest.mark.parametrize("count", [7, 8, 63, 64, 249, 250, 251, 400])
def test_nulls_among_many_columns(db: Database, count: int) -> None:
    """As many bytes of bits as it takes, and from 251 columns on their number takes three bytes."""
    chance = random.Random(count)
    types = ["TINYINT", "INT", "VARCHAR(20)", "DOUBLE", "DATE", "TEXT"]
    columns = [f"c{n} {types[n % 6]}{' NOT NULL' if n % 7 == 3 else ''}" for n in range(count - 1)]
    db.execute(f"CREATE TABLE wide (id INT PRIMARY KEY, {', '.join(columns)}) ROW_FORMAT=DYNAMIC")
    cursor = db.connect(autocommit=True).cursor()
    values = ["1", "77", "'x'", "1.5", "'2026-11-24'", "'words'"]
    start = end_of_log(db)
    for row in range(30):
        cells = [values[n % 6] if n % 7 == 3 or chance.random() < row / 30 else "NULL" for n in range(count - 1)]
        cursor.execute(f"INSERT INTO wide VALUES ({row}, {', '.join(cells)})")
    cursor.execute("UPDATE wide SET c0 = 2")
    journal = Journal(cursor, found_table(db, "wide"))
    rows = read_log(db, start, known_table(db, "wide"))
    assert [typed(after) for _, after in rows[30:]] == [typed(journal.row(row)) for row in range(30)]
    assert [{**(before or {}), "c0": 2} for before, _ in rows[30:]] == [after for _, after in rows[30:]]
    assert [typed(after) for _, after in rows[:30]] == [typed(before) for before, _ in rows[30:]]


def test_doubles_with_a_scale_are_read_as_they_are_printed(db: Database) -> None:
    """MariaDB rounds 1.36 to 1.3599999999999999 when it stores it."""
    db.execute("CREATE TABLE prices (id INT PRIMARY KEY, a DOUBLE(12,3) ZEROFILL, b DOUBLE(20,10), c DOUBLE(12,0))")
    cursor = db.connect(autocommit=True).cursor()
    start = end_of_log(db)
    chance = random.Random(5)
    for number in range(500):
        price = 1.36 if not number else chance.random() * 10.0 ** chance.randint(-4, 7)
        cursor.execute("INSERT INTO prices VALUES (%s, %s, %s, %s)", [number, price, -price, -price / 1e7])
    journal = Journal(cursor, found_table(db, "prices"))
    rows = [after for _, after in read_log(db, start, known_table(db, "prices"))]
    assert [typed(row) for row in rows] == [typed(journal.row(number)) for number in range(500)]


def test_many_rows_in_an_event_and_long_values(db: Database) -> None:
    db.execute("CREATE TABLE notes (id INT PRIMARY KEY, words LONGTEXT, bytes LONGBLOB)")
    cursor = db.connect(autocommit=True).cursor()
    rows = [(n, "ñ" * (n * 37 % 300), bytes([n % 256]) * (n * 11 % 300)) for n in range(1000)]
    rows.append((1000, "€" * 1_000_000, b"\xff" * 3_000_000))
    start = end_of_log(db)
    cursor.executemany("INSERT INTO notes VALUES (%s, %s, %s)", rows[:1000])
    cursor.execute("INSERT INTO notes VALUES (%s, %s, %s)", rows[1000])
    cursor.execute("DELETE FROM notes")
    events = rows_events(db, start, "notes")
    assert len(events) < 200  # many rows in each
    pairs = decoded(events, known_table(db, "notes"), lambda _: 0)
    inserted = [after for before, after in pairs if before is None]
    assert [(row["id"], row["words"]) for row in inserted if row] == [(row[0], row[1]) for row in rows]
    assert [(before, None) for before in inserted] == pairs[1001:]


def test_images_without_all_columns_are_refused(db: Database) -> None:
    db.execute("CREATE TABLE notes (id INT PRIMARY KEY, a INT, b INT)")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION binlog_row_image = 'MINIMAL'")
    start = end_of_log(db)
    cursor.execute("INSERT INTO notes VALUES (1, 2, 3)")
    cursor.execute("UPDATE notes SET a = 4")
    with pytest.raises(
        SourceError, match=r"Rows of table notes .* without column .*SET GLOBAL binlog_row_image = 'FULL'"
    ):
        read_log(db, start, known_table(db, "notes"))


def test_rows_without_all_columns_are_counted(db: Database) -> None:
    """Each row of a transaction has a number, whatever the log has of those before it; only one without columns takes
    no bytes."""
    db.execute("CREATE TABLE notes (id INT PRIMARY KEY DEFAULT 9, a INT, b TEXT)")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION binlog_row_image = 'MINIMAL'")
    start = end_of_log(db)
    cursor.execute("INSERT INTO notes (id, a) VALUES (1, 1), (2, 2), (3, 3)")
    cursor.execute("UPDATE notes SET a = 4 WHERE id > 1")
    cursor.execute("DELETE FROM notes")
    cursor.execute("INSERT INTO notes VALUES ()")
    map_event, *_ = events = rows_events(db, start, "notes")
    layout = layout_of(parse_table_map(map_event.body, Flavour(db.flavour)), known_table(db, "notes"), lambda _: 0)
    counts = [layout.count(each.body, each.type) for each in events if each.type != TABLE_MAP]
    assert counts == [3, 2, 3, 0]


def test_timestamps_are_rendered_in_the_servers_zone(db: Database) -> None:
    """Whatever the session's is; twice the same local time when clocks are put back."""
    zone = ZoneInfo("Europe/Madrid")
    db.execute("CREATE TABLE moments (id INT PRIMARY KEY, at TIMESTAMP(3) NULL)")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION time_zone = '+00:00'")
    moments = ["2026-01-10 12:00:00.5", "2026-07-10 12:00:00", "2026-10-25 00:30:00", "2026-10-25 01:30:00", None]
    start = end_of_log(db)
    for number, moment in enumerate(moments):
        cursor.execute("INSERT INTO moments VALUES (%s, %s)", (number, moment))

    def offset_of(seconds: int) -> int:
        offset = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    rows = read_log(db, start, known_table(db, "moments"), offset_of)
    assert [after["at"] for _, after in rows if after] == [
        "2026-01-10T13:00:00.5",
        "2026-07-10T14:00:00",
        "2026-10-25T02:30:00",
        "2026-10-25T02:30:00",
        None,
    ]


def test_moments_in_the_format_of_old_mariadb(keeper: KeeperClient) -> None:
    spec = Spec("mariadb", binlog=True, options=("--mysql56-temporal-format=OFF",))
    with fresh_database(shared_server(keeper, spec), erp=False) as db:
        db.execute("CREATE TABLE moments (id INT PRIMARY KEY, a TIME, b DATETIME, c TIMESTAMP NULL, d DATE)")
        cursor = db.connect(autocommit=True).cursor()
        cursor.execute("SET SESSION sql_mode = '', time_zone = '+00:00'")
        start = end_of_log(db)
        cursor.execute(
            "INSERT INTO moments VALUES (1, '-12:34:56', '2026-01-02 03:04:05', '2026-01-02 03:04:05', '2026-01-02'),"
            " (2, '838:59:59', '0000-00-00', '0000-00-00', '0000-00-00'), (3, '0:0:0', '2026-00-00', NULL, NULL)"
        )
        journal = Journal(cursor, found_table(db, "moments"))
        rows = read_log(db, start, known_table(db, "moments"))
        assert [typed(after) for _, after in rows] == [typed(journal.row(number)) for number in (1, 2, 3)]
        db.execute("CREATE TABLE fractions (id INT PRIMARY KEY, a TIME(3))")
        start = end_of_log(db)
        db.execute("INSERT INTO fractions VALUES (1, '1:2:3.4')")
        with pytest.raises(SchemaMismatch, match="Column a of table fractions"):
            read_log(db, start, known_table(db, "fractions"))


def test_names_come_from_the_log_when_it_has_them(full: Database) -> None:
    """Columns dropped, added, renamed and retyped since are what they were when the row was logged."""
    full.execute(
        "CREATE TABLE notes (id INT PRIMARY KEY, gone VARCHAR(9) CHARACTER SET latin1, kind ENUM('ñ', 'b') CHARACTER"
        " SET latin1, old INT UNSIGNED, price DECIMAL(9,2), moment DATETIME(3), document LONGTEXT, bits BIT(9),"
        " flag TINYINT(1))"
    )
    start = end_of_log(full)
    full.execute("INSERT INTO notes VALUES (1, 'ñ', 'ñ', 4294967295, 1.5, '2026-01-02 03:04:05.6', 'text', 257, 1)")
    logged = {"id": 1, "gone": "ñ", "kind": "ñ", "old": 2**32 - 1, "price": "1.50", "moment": "2026-01-02T03:04:05.6"}
    full.execute(
        "ALTER TABLE notes DROP gone, DROP kind, DROP moment, DROP document, DROP bits, CHANGE old new BIGINT,"
        " MODIFY price VARCHAR(20), ADD later INT FIRST"
    )
    known = known_table(full, "notes")
    assert read_log(full, start, known) == [(None, {**logged, "document": "text", "bits": 257, "flag": True})]
    assert known.key == ("id",)


@pytest.mark.parametrize("change", ["DROP flag", "MODIFY flag INT", "MODIFY flag TINYINT UNSIGNED"])
def test_what_a_column_was_is_never_guessed(full: Database, change: str) -> None:
    """A TINYINT in the log may have been a boolean or not."""
    full.execute("CREATE TABLE notes (id INT PRIMARY KEY, flag TINYINT(1))")
    start = end_of_log(full)
    full.execute("INSERT INTO notes VALUES (1, 1)")
    full.execute(f"ALTER TABLE notes {change}")
    with pytest.raises(SchemaMismatch, match="Column flag of table notes"):
        read_log(full, start, known_table(full, "notes"))


@pytest.mark.parametrize(
    "change",
    ["ADD c INT", "DROP b", "MODIFY b BIGINT", "MODIFY b VARCHAR(11)", "MODIFY a DECIMAL(9,3)", "MODIFY b CHAR(10)"],
)
def test_a_log_without_names_must_fit(keeper: KeeperClient, change: str) -> None:
    with fresh_database(shared_server(keeper, SPECS["mariadb"]), erp=False) as db:
        db.execute("CREATE TABLE notes (id INT PRIMARY KEY, a DECIMAL(9,2), b VARCHAR(10))")
        start = end_of_log(db)
        db.execute("INSERT INTO notes VALUES (1, 2, 3)")
        db.execute(f"ALTER TABLE notes {change}")
        with pytest.raises(SchemaMismatch, match=r"[Tt]able notes"):
            read_log(db, start, known_table(db, "notes"))


def test_keys(db: Database) -> None:
    """From the log where it says, else what is known; also of part of a column."""
    db.execute("CREATE TABLE parts (b VARCHAR(20), a INT, c INT, PRIMARY KEY (c, b(5)))")
    db.execute("CREATE TABLE keyless (a INT)")
    for table, key in (("parts", ("c", "b")), ("keyless", ())):
        start = end_of_log(db)
        db.execute(f"INSERT INTO {table} (a{', b, c' if key else ''}) VALUES (1{', 2, 3' if key else ''})")
        (table_map,) = [e.body for e in rows_events(db, start, table) if e.type == TABLE_MAP]
        parsed = parse_table_map(table_map, Flavour(db.flavour))
        assert (parsed.database, parsed.table) == (db.name, table)
        assert layout_of(parsed, known_table(db, table), lambda _: 0).key == key


def test_json_documents_of_every_kind(mysql: Database) -> None:
    """With values that only SQL can put in, and so large that offsets take four bytes."""
    mysql.execute("CREATE TABLE documents (id INT PRIMARY KEY, document JSON)")
    cursor = mysql.connect(autocommit=True).cursor()
    deep = "[" * 100 + "]" * 100
    expressions = [
        "JSON_ARRAY(CAST('2026-01-02' AS DATE), CAST('-12:34:56.5' AS TIME(6)), CAST('838:59:59' AS TIME))",
        "JSON_ARRAY(CAST('2026-01-02 03:04:05.678' AS DATETIME(3)), TIMESTAMP'2026-01-02 03:04:05', 1.10, -0.05)",
        "JSON_ARRAY(12345678901234567890.123456789, 0.0, -99999999999999999999999999999999999.5)",
        "JSON_OBJECT('b', X'00FF', 'a', b'101', 'c', CAST(2026 AS YEAR), 'd', NULL, '', TRUE)",
        "JSON_ARRAY(CAST(REPEAT('x', 57) AS BINARY), CAST(REPEAT('x', 58) AS BINARY), CAST('' AS BINARY))",
        "JSON_ARRAY(1e15, 1e14, 123456789012345.67e0, 1e-14, 1e-15, 1e-16, 1234567890123456e0, -0e0, 5e-324, 1e22)",
        "JSON_ARRAY(32767, -32768, 32768, 65535, 65536, -2147483648, 4294967295, 9223372036854775807)",
        "JSON_ARRAY(18446744073709551615, -9223372036854775808, 4294967296)",
        "JSON_ARRAY(REPEAT('x', 127), REPEAT('ñ', 64), REPEAT('y', 20000), REPEAT('z', 70000))",
        "JSON_OBJECT('a', JSON_ARRAY(32767, 65535, -1, 70000, -70000, 4294967295, true), 'b', REPEAT('x', 70000))",
        r"""JSON_ARRAY('quote " back \\ slash / \n \t \r \b tab', CHAR(1, 31, 127 USING utf8mb4), 'ñ€😀')""",
        "JSON_ARRAY(JSON_ARRAY(), JSON_OBJECT(), JSON_ARRAY(JSON_OBJECT('a', JSON_ARRAY())))",
        f"CAST('{deep}' AS JSON)",
        "CAST('null' AS JSON)",
        "CAST('1.0' AS JSON)",
        "CAST('\"\"' AS JSON)",
        "NULL",
    ]
    chance = random.Random(7)
    doubles = [chance.choice((1, -1)) * chance.random() * 10.0 ** chance.randint(-25, 25) for _ in range(2000)]
    start = end_of_log(mysql)
    for number, expression in enumerate(expressions):
        cursor.execute(f"INSERT INTO documents VALUES ({number}, {expression})")
    cursor.execute("INSERT INTO documents VALUES (100, %s)", [json.dumps(doubles)])
    cursor.execute(
        "INSERT INTO documents VALUES (101, %s)", [json.dumps({f"key {n}": [n, str(n)] for n in range(9000)})]
    )
    cursor.execute("UPDATE documents SET document = JSON_SET(document, '$[0]', 'x') WHERE id = 1")
    journal = Journal(cursor, found_table(mysql, "documents"))
    rows = {after["id"]: after for _, after in read_log(mysql, start, known_table(mysql, "documents")) if after}
    for key, row in rows.items():
        assert typed(row) == typed(journal.row(int(str(key))))
    assert len(rows) == len(expressions) + 2


def test_a_table_that_cannot_be_read_keeps_its_name() -> None:
    strange = bytes.fromhex("010000000000 0100") + b"\x02db\0\x05table\0" + bytes([2, 3, 200, 0, 1])
    parsed = parse_table_map(strange, Flavour.MYSQL)
    assert (parsed.database, parsed.table, parsed.columns) == ("db", "table", ())
    known = KnownTable("table", (MySQLColumn("id", "int", "int"),), (), Flavour.MYSQL)
    with pytest.raises(SchemaMismatch, match="unknown type 200"):
        layout_of(parsed, known, lambda _: 0)
