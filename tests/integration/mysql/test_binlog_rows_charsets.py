"""Text in every character set of the servers, read from the log as the servers themselves convert it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc.capture.binlog.charset import charset_of, text_decoder, width
from cdc.capture.binlog.event import parse_table_map
from cdc.capture.binlog.layout import layout_of
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import SourceError
from support.binlog_events import TABLE_MAP, end_of_log, rows_events
from support.binlog_rows import Journal, found_table, known_table, read_log, typed
from support.database import Database, fresh_database
from support.server import Spec
from support.servers import KeeperClient, shared_server

SPECS = {"mariadb": Spec("mariadb", binlog=True), "mysql": Spec("mysql")}
#: Bytes that a text may begin with and that every multi-byte character set knows as one character of one byte.
ASCII = "aZ09 ~"
SAMPLES = {
    "cp932": "日本語テスト①Ⅱ㈱髙",
    "euckr": "한국어갂",
    "gb18030": "汉字ḿ\ue7c7😀€",
    "gb2312": "汉字",
    "gbk": "漢字",
    "sjis": "日本語ｱ",
    "utf8mb3": "ñ€漢",
    "utf8mb4": "ñ€😀",
    "ucs2": "ñ€漢",
    "utf16": "ñ€😀",
    "utf16le": "ñ€😀",
    "utf32": "ñ€😀",
}


@pytest.fixture(params=SPECS)
def db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    with fresh_database(shared_server(keeper, SPECS[request.param]), erp=False) as database:
        yield database


def charsets(database: Database) -> dict[str, int]:
    """Character set → bytes of its widest character, as the server says."""
    rows = database.execute("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS")
    return {name: int(most) for name, most in rows if name != "binary"}


def test_widths_are_the_servers(db: Database) -> None:
    assert {name: width(name) for name in charsets(db)} == charsets(db)


def test_collations_are_the_servers(db: Database) -> None:
    table = "COLLATION_CHARACTER_SET_APPLICABILITY" if db.flavour == Flavour.MARIADB else "COLLATIONS"
    rows = db.execute(f"SELECT ID, CHARACTER_SET_NAME FROM information_schema.{table} WHERE ID IS NOT NULL")
    assert {number: charset_of(number) for number, _ in rows} == dict(rows)


def test_every_byte_of_the_single_byte_character_sets(db: Database) -> None:
    names = [name for name, most in charsets(db).items() if most == 1]
    columns = ", ".join(f"{name} VARCHAR(2) CHARACTER SET {name}" for name in names)
    db.execute(f"CREATE TABLE texts (id INT PRIMARY KEY, {columns})")
    cursor = db.connect(autocommit=True).cursor()
    cursor.execute("SET SESSION sql_mode = ''")
    start = end_of_log(db)
    for byte in range(256):
        values = ", ".join(f"X'61{byte:02x}'" if byte < 0x80 or name != "ascii" else "''" for name in names)
        cursor.execute(f"INSERT INTO texts VALUES ({byte}, {values})")
    journal = Journal(cursor, found_table(db, "texts"))
    rows = [after for _, after in read_log(db, start, known_table(db, "texts"))]
    assert [typed(row) for row in rows] == [typed(journal.row(byte)) for byte in range(256)]


def test_texts_of_the_multi_byte_character_sets(db: Database) -> None:
    names = [name for name, most in charsets(db).items() if most > 1 and text_decoder(name) is not None]
    assert set(names) == set(SAMPLES) - (set() if db.flavour == Flavour.MYSQL else {"gb18030"})
    columns = ", ".join(f"{name} VARCHAR(30) CHARACTER SET {name}" for name in names)
    db.execute(f"CREATE TABLE texts (id INT PRIMARY KEY, {columns})")
    cursor = db.connect(autocommit=True).cursor()
    start = end_of_log(db)
    cursor.execute(
        f"INSERT INTO texts VALUES (1, {', '.join(['%s'] * len(names))})", [SAMPLES[n] + ASCII for n in names]
    )
    ((_, row),) = read_log(db, start, known_table(db, "texts"))
    assert typed(row) == typed(Journal(cursor, found_table(db, "texts")).row(1))
    assert row == {"id": 1, **{name: SAMPLES[name] + ASCII for name in names}}


@pytest.mark.parametrize("charset", ["big5", "eucjpms", "ujis"])
def test_character_sets_that_are_refused(db: Database, charset: str) -> None:
    """Python reads some of their characters differently: nothing is better than another text."""
    db.execute(f"CREATE TABLE texts (id INT PRIMARY KEY, words VARCHAR(10) CHARACTER SET {charset})")
    start = end_of_log(db)
    db.execute("INSERT INTO texts VALUES (1, 'a')")
    table_map = next(e.body for e in rows_events(db, start, "texts") if e.type == TABLE_MAP)
    with pytest.raises(SourceError, match=f"Column words .* {charset}.*utf8mb4"):
        layout_of(parse_table_map(table_map, Flavour(db.flavour)), known_table(db, "texts"), lambda _: 0)
