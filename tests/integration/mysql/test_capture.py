"""What the triggers journal, and that the ERP does not notice them."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from cdc.model.change import Operation
from cdc.model.column import Capture
from support.database import Database
from support.mysql_capture import brief, drain, install

ITEM = """CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50), note TEXT, secret VARCHAR(50))
ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_520_ci"""
SECRET = Capture("item", frozenset({"secret"}))


def item(database: Database, capture: Capture = SECRET) -> Any:
    database.execute(ITEM)
    return install(database, capture)


def test_each_operation_gives_its_images(db: Database) -> None:
    item(db)
    db.execute("INSERT INTO item (name) VALUES ('a')")
    db.execute("UPDATE item SET name = 'b'")
    db.execute("DELETE FROM item")
    assert brief(drain(db), "id", "name") == [
        ("create", "item", None, (1, "a")),
        ("update", "item", (1, "a"), (1, "b")),
        ("delete", "item", (1, "b"), None),
    ]


def test_an_update_that_changes_nothing_writes_nothing(db: Database) -> None:
    item(db)
    db.execute("INSERT INTO item (name, note) VALUES ('a', NULL), ('b', '')")
    drain(db)
    db.execute("UPDATE item SET name = name, note = note, id = id")
    assert drain(db) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"id": "INT PRIMARY KEY", "total": "DOUBLE", "paid": "TINYINT(1)", "due": "DATE", "name": "VARCHAR(9)"},
        {"id": "DECIMAL(9) PRIMARY KEY", "total": "DOUBLE", "rate": "FLOAT"},
        {"id": "VARCHAR(9) PRIMARY KEY", "note": "TEXT", "count": "BIGINT"},
    ],
    ids=["amounts and others", "amounts", "no amounts"],
)
def test_a_change_of_any_column_alone_is_journaled(db: Database, columns: dict[str, str]) -> None:
    db.execute(f"CREATE TABLE item ({', '.join(f'{name} {kind}' for name, kind in columns.items())}) ENGINE=InnoDB")
    install(db, Capture("item"))
    row: dict[str, object] = {name: "2026-11-24" if name == "due" else "1" for name in columns}
    db.execute(f"INSERT INTO item VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))
    other = {name: "2026-11-25" if name == "due" else "0" for name in columns}
    for name, value in other.items():
        for each in (None, value) if name != "id" else (value,):
            drain(db)
            db.execute(f"UPDATE item SET {name} = %s", (each,))
            ((_, change, _),) = drain(db)
            assert change.before is not None
            assert change.after is not None
            assert [column for column in columns if change.before[column] != change.after[column]] == [name]
            db.execute(f"UPDATE item SET {name} = %s", (each,))
            assert drain(db) == []


@pytest.mark.parametrize("value", ["ADA", "áda", "ada ", "ada\t", "\U0001f600", "", None])
def test_what_the_collation_takes_for_equal_is_a_change(db: Database, value: str | None) -> None:
    item(db)
    db.execute("INSERT INTO item (name) VALUES ('ada')")
    drain(db)
    db.execute("UPDATE item SET name = %s", (value,))
    assert brief(drain(db), "name") == [("update", "item", ("ada",), (value,))]


def test_secrets_stay_in_the_database_but_their_change_is_known(db: Database) -> None:
    item(db)
    planted = "pLanted-s3cret"
    db.execute("INSERT INTO item (name, secret) VALUES ('a', %s)", (planted,))
    db.execute("UPDATE item SET secret = %s", (planted.upper(),))
    db.execute("UPDATE item SET name = 'b', secret = %s", (planted,))
    db.execute("UPDATE item SET name = 'c'")
    db.execute("DELETE FROM item")
    journal = str(db.execute("SELECT * FROM cdc_journal")) + str(db.execute("SELECT * FROM cdc_shape"))
    assert planted.lower() not in journal.lower()
    rows = drain(db)
    assert [sorted(row.change.secrets_changed) for row in rows] == [[], ["secret"], ["secret"], [], []]
    assert all("secret" not in (image or {}) for row in rows for image in (row.change.before, row.change.after))


def test_the_erp_reads_its_own_ids_and_counts(db: Database) -> None:
    item(db)
    connection = db.connect()
    cursor = connection.cursor()
    for n in range(1, 4):
        cursor.execute("INSERT INTO item (name) VALUES ('x')")
        assert cursor.lastrowid == n
        assert cursor.rowcount == 1
        cursor.execute("UPDATE item SET name = 'y' WHERE id = %s", (n,))
        cursor.execute("SELECT ROW_COUNT(), LAST_INSERT_ID()")
        assert cursor.fetchone() == (1, n)
    cursor.execute("INSERT INTO item (name) VALUES ('p'), ('q'), ('r')")
    assert cursor.lastrowid == 4
    connection.commit()
    cursor.execute("SELECT LAST_INSERT_ID()")
    assert cursor.fetchone() == (4,)
    cursor.execute("DELETE FROM item WHERE id > 3")
    assert cursor.rowcount == 3


def test_insert_on_duplicate_key_update_and_replace(db: Database) -> None:
    item(db)
    db.execute("INSERT INTO item (id, name) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = 'b'")
    db.execute("INSERT INTO item (id, name) VALUES (1, 'a') ON DUPLICATE KEY UPDATE name = 'b'")
    db.execute("REPLACE INTO item (id, name) VALUES (1, 'c')")
    assert brief(drain(db), "name") == [
        ("create", "item", None, ("a",)),
        ("update", "item", ("a",), ("b",)),
        ("delete", "item", ("b",), None),
        ("create", "item", None, ("c",)),
    ]


def tokens_by_row(database: Database) -> list[str]:
    return [row.token for row in drain(database)]


def groups(tokens: list[str]) -> list[int]:
    """Lengths of the runs of equal tokens; a token that comes again later is an error."""
    runs: list[list[str]] = []
    for token in tokens:
        if runs and runs[-1][0] == token:
            runs[-1].append(token)
        else:
            runs.append([token])
    assert len({run[0] for run in runs}) == len(runs)
    return [len(run) for run in runs]


def test_one_token_a_transaction(db: Database) -> None:
    item(db)
    connection = db.connect()
    cursor = connection.cursor()
    for count in (1, 3, 2):
        for _ in range(count):
            cursor.execute("INSERT INTO item (name) VALUES ('x')")
        connection.commit()
    cursor.execute("INSERT INTO item (name) VALUES ('rolled back')")
    connection.rollback()
    cursor.execute("INSERT INTO item (name) VALUES ('s1')")
    cursor.execute("SAVEPOINT here")
    cursor.execute("INSERT INTO item (name) VALUES ('undone')")
    cursor.execute("ROLLBACK TO SAVEPOINT here")
    cursor.execute("INSERT INTO item (name) VALUES ('s2')")
    cursor.execute("INSERT INTO item (name) SELECT name FROM (SELECT 'b' AS name UNION ALL SELECT 'c') AS two")
    connection.commit()
    rows = drain(db)
    assert groups([row.token for row in rows]) == [1, 3, 2, 4]
    assert [row.change.after["name"] for row in rows if row.change.after][-4:] == ["s1", "s2", "b", "c"]


def test_with_autocommit_each_statement_has_its_own_token(db: Database) -> None:
    item(db)
    cursor = db.connect(autocommit=True).cursor()
    for _ in range(3):
        cursor.execute("INSERT INTO item (name) VALUES ('x'), ('y')")
    assert groups(tokens_by_row(db)) == [2, 2, 2]


def test_connections_never_share_a_token(db: Database) -> None:
    item(db)
    one, two = db.connect(), db.connect()
    for _ in range(3):
        for connection in (one, two):
            connection.cursor().execute("INSERT INTO item (name) VALUES ('x')")
        two.commit()
        one.commit()
    assert len(set(tokens_by_row(db))) == 6


def test_many_connections_keep_one_token_a_transaction(db: Database) -> None:
    """The server keeps 16 caches of opened tables; the connections beyond share a copy that another one prepared."""
    item(db)

    def two_changes(connection: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO item (name) VALUES ('a')")
        cursor.execute("UPDATE item SET name = 'b' WHERE id = LAST_INSERT_ID()")
        connection.commit()

    pool = [db.connect() for _ in range(100)]
    for _ in range(2):
        for connection in pool:
            two_changes(connection)
        db.execute("FLUSH TABLES")
    for connection in pool:
        two_changes(connection)
        connection.close()
    for _ in pool:
        one_request = db.connect()
        two_changes(one_request)
        one_request.close()
    assert groups(tokens_by_row(db)) == [2] * 400


def test_without_its_binlog_a_session_never_merges_transactions(mariadb_binlog_db: Database) -> None:
    db = mariadb_binlog_db
    item(db)
    connection = db.connect()
    cursor = connection.cursor()
    for logged in (1, 0, 0, 1, 1):
        cursor.execute(f"SET SESSION sql_log_bin = {logged}")
        cursor.execute("INSERT INTO item (name) VALUES ('x')")
        connection.commit()
    assert len(set(tokens_by_row(db))) == 5


def test_a_foreign_server_setting_never_merges_transactions_on_mysql(mysql_db: Database) -> None:
    db = mysql_db
    item(db)
    connection = db.connect()
    cursor = connection.cursor()
    cursor.execute("INSERT INTO item (name) VALUES ('x')")
    connection.commit()
    cursor.execute("UPDATE performance_schema.threads SET INSTRUMENTED = 'NO' WHERE PROCESSLIST_ID = CONNECTION_ID()")
    for _ in range(2):
        cursor.execute("INSERT INTO item (name) VALUES ('x')")
        connection.commit()
    assert len(set(tokens_by_row(db))) == 3


CHANGES = {
    "dropped": "ALTER TABLE item DROP COLUMN note",
    "renamed": "ALTER TABLE item CHANGE note remark TEXT",
    "renamed secret": "ALTER TABLE item CHANGE secret hidden VARCHAR(50)",
    "dropped secret": "ALTER TABLE item DROP COLUMN secret",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_column_that_goes_leaves_gaps_and_never_a_failed_write(db: Database, change: str) -> None:
    there = item(db)
    db.execute("INSERT INTO item (name) VALUES ('a')")
    drain(db)
    db.execute(CHANGES[change])
    db.execute("INSERT INTO item (name) VALUES ('b')")
    db.execute("UPDATE item SET name = 'c' WHERE name = 'b'")
    db.execute("DELETE FROM item WHERE name = 'c'")
    rows = drain(db)
    assert {row.change.operation for row in rows if row.gap} <= {Operation.CREATE, Operation.UPDATE, Operation.DELETE}
    assert any(row.gap for row in rows)
    assert len(rows) == 3
    there.repair(["item"])
    db.execute("UPDATE item SET name = 'z'")
    assert brief(drain(db), "name") == [("gap", "update", "item"), ("update", "item", ("a",), ("z",))]


@pytest.mark.parametrize("change", ["ADD COLUMN more INT DEFAULT 7", "MODIFY note VARCHAR(99)", "MODIFY name TEXT"])
def test_a_column_that_comes_or_changes_type_loses_nothing(db: Database, change: str) -> None:
    there = item(db)
    db.execute(f"ALTER TABLE item {change}")
    db.execute("INSERT INTO item (name, note) VALUES ('b', 'n')")
    assert brief(drain(db), "name", "note") == [("create", "item", None, ("b", "n"))]
    there.repair(["item"])
    db.execute("UPDATE item SET name = 'z'")
    *gaps, row = drain(db)
    assert ("more" in (row.change.after or {})) == ("more" in change)
    assert len(gaps) == ("more" in change)  # what was written to the new column before the repair was not recorded


def test_a_type_change_that_no_longer_fits_is_a_gap_or_right(db: Database) -> None:
    item(db)
    db.execute("ALTER TABLE item MODIFY note LONGBLOB")
    db.execute("INSERT INTO item (name, note) VALUES ('b', X'FF00')")
    (row,) = drain(db)
    assert row.gap or (row.change.after or {})["note"] is not None
    assert db.execute("SELECT name FROM item") == [("b",)]


def test_an_image_longer_than_a_packet_is_a_gap(db: Database) -> None:
    db.execute("CREATE TABLE big (id INT PRIMARY KEY, text LONGTEXT) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")
    install(db, "big")
    db.execute("INSERT INTO big VALUES (1, REPEAT('a', @@max_allowed_packet - 100))")
    db.execute("UPDATE big SET text = CONCAT(LEFT(text, @@max_allowed_packet - 5000), REPEAT('\\\"', 4900))")
    rows = db.execute("SELECT gap, op, LENGTH(image_before), LENGTH(image_after) FROM cdc_journal ORDER BY id")
    assert rows[-1][0] == 1 or None in rows[-1][2:]
    assert db.execute("SELECT COUNT(*) FROM big WHERE text LIKE '%\\\"'") == [(1,)]


def test_a_failing_statement_of_the_erp_leaves_nothing(db: Database) -> None:
    item(db)
    with pytest.raises(pymysql.err.IntegrityError):
        db.execute("INSERT INTO item (id, name) VALUES (1, 'a'), (1, 'b')")
    assert drain(db) == []
