"""Logs of real servers: every kind of transaction, compression, checksums, GTIDs, TLS."""

from __future__ import annotations

import threading
import tracemalloc
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from cdc.capture.binlog.item import Idle, Item, LogTransaction, SchemaChange
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import read_log
from cdc.database.mysql_connection import Flavour, connect
from cdc.model.connection import ConnectionInfo, Tls
from cdc.model.errors import SourceError
from support.database import Database, create_database
from support.log_reading import Seen, head, numbers, opened, plain, read, read_all, tables_of
from support.server import Spec
from support.servers import KeeperClient, own_server
from support.waiting import HANG_SECONDS

LARGE = 17 << 20
OPTIONS = {
    "mariadb": ("--max-allowed-packet=64M", "--log-bin-compress-min-len=10", "--server-id=5"),
    "mysql": ("--max-allowed-packet=64M", "--server-id=5"),
}


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def server_db(request: pytest.FixtureRequest, keeper: KeeperClient) -> Iterator[Database]:
    """A server of this module's own: some settings are the whole server's, and its log is read from the beginning."""
    server = own_server(keeper, Spec(request.param, binlog=True, options=OPTIONS[request.param]))
    database = Database(server, create_database(server, erp=False))
    yield database
    database.close()
    server.discard()


@pytest.fixture
def db(server_db: Database) -> Iterator[Database]:
    """With a table ``a`` that has transactions, and one, ``my``, that has none."""
    server_db.script(
        "DROP TABLE IF EXISTS a, my, made;"
        "CREATE TABLE a (v LONGTEXT, id INT PRIMARY KEY) ENGINE=InnoDB;"
        "CREATE TABLE my (v VARCHAR(20), id INT PRIMARY KEY) ENGINE=MyISAM"
    )
    yield server_db
    for form, first, second, name in server_db.execute("XA RECOVER"):  # of a test that failed: it would hold locks
        server_db.execute(f"XA ROLLBACK %s, %s, {form}", [name[:first], name[first : first + second]])
    server_db.close()


def committed(items: Iterator[Item]) -> Iterator[LogTransaction]:
    return (item for item in items if isinstance(item, LogTransaction))


def tables(found: list[Seen]) -> list[list[object]]:
    return [[row[0] if isinstance(row, tuple) else row for row in each.what] for each in found]


def test_transactions_come_whole_and_in_order(db: Database) -> None:
    start = head(db)
    db.script(
        "INSERT INTO a VALUES ('one', 1);"
        "BEGIN; INSERT INTO a VALUES ('two', 2), ('three', 3); UPDATE a SET v = 'x' WHERE id = 2;"
        "DELETE FROM a WHERE id = 1; COMMIT;"
        "BEGIN; INSERT INTO a VALUES ('never', 9); ROLLBACK;"
        "UPDATE a SET v = 'x' WHERE id = 2;"  # changes nothing: not in the log
        "INSERT INTO a VALUES ('four', 4)"
    )
    assert numbers(read_all(db.info, start)) == [[1], [3, 2, 1], [4]]


def test_savepoints(db: Database) -> None:
    start = head(db)
    db.script(
        "BEGIN; INSERT INTO a VALUES ('', 1); SAVEPOINT s; INSERT INTO a VALUES ('', 2); ROLLBACK TO s;"
        "INSERT INTO a VALUES ('', 3); SAVEPOINT s; RELEASE SAVEPOINT s; INSERT INTO a VALUES ('', 4); COMMIT"
    )
    assert numbers(read_all(db.info, start)) == [[1, 3, 4]]


def test_tables_without_transactions(db: Database) -> None:
    """Their rows are in the log at once, whatever becomes of the transaction."""
    start = head(db)
    if db.flavour == "mysql":  # which GTIDs would not allow within transactions
        db.script("INSERT INTO my VALUES ('', 1), ('', 2); DELETE FROM my WHERE id = 1")
        assert numbers(read_all(db.info, start)) == [[2], [1]]
        return
    db.script(
        "INSERT INTO my VALUES ('', 1), ('', 2);"
        "BEGIN; INSERT INTO a VALUES ('', 3); INSERT INTO my VALUES ('', 4); ROLLBACK;"
        "BEGIN; INSERT INTO a VALUES ('', 5); SAVEPOINT s; INSERT INTO my VALUES ('', 6);"
        "INSERT INTO a VALUES ('', 7); ROLLBACK TO s; COMMIT"
    )
    found = read_all(db.info, start)
    assert tables(found) == [["my"], ["my"], ["my"], ["a"]]
    assert numbers(found) == [[2], [4], [6], [5]]


def test_a_statement_that_commits_what_came_before(db: Database) -> None:
    start = head(db)
    db.script(
        "BEGIN; INSERT INTO a VALUES ('', 1); CREATE TABLE made (id INT); INSERT INTO a VALUES ('', 2); COMMIT;"
        "BEGIN; INSERT INTO a VALUES ('', 3); TRUNCATE TABLE my"
    )
    found = read_all(db.info, start)
    assert tables(found) == [["a"], ["CREATE TABLE made (id INT)"], ["a"], ["a"], ["TRUNCATE TABLE my"]]


def test_a_table_made_of_a_query(db: Database) -> None:
    db.execute("INSERT INTO a VALUES ('', 1)")
    start = head(db)
    db.execute("CREATE TABLE made AS SELECT id FROM a")
    with opened(db.info, start) as connection:
        change, rows = (item for item in connection.items(tables_of(db.name)) if not isinstance(item, Idle))
    assert isinstance(change, SchemaChange)
    assert isinstance(rows, LogTransaction)
    assert change.statement.startswith("CREATE TABLE `made`")
    assert change.token == rows.token
    assert change.position == start
    assert [each.layout.table for each in rows.rows] == ["made"]


def test_statement_format_is_told(db: Database) -> None:
    start = head(db)
    connection = db.connect(autocommit=True)
    connection.cursor().execute("SET SESSION binlog_format = 'STATEMENT'")
    connection.cursor().execute("INSERT INTO a VALUES ('', 1)")
    with opened(db.info, start) as log:
        changes = [item for item in log.items(tables_of(db.name)) if isinstance(item, SchemaChange)]
    assert [(each.statement, each.changes_rows) for each in changes] == [("INSERT INTO a VALUES ('', 1)", True)]


class TestXa:
    def test_rows_count_when_the_transaction_commits(self, db: Database) -> None:
        start = head(db)
        one, two = db.connect(autocommit=True).cursor(), db.connect(autocommit=True).cursor()
        for statement in ("XA START 'x', 'b', 7", "INSERT INTO a VALUES ('', 1)", "XA END 'x', 'b', 7"):
            one.execute(statement)
        one.execute("XA PREPARE 'x', 'b', 7")
        two.execute("INSERT INTO a VALUES ('', 2)")
        seen = list(read(db.info, start))
        assert [(numbers([each]), position) for each, position in seen if each] == [([[2]], start)]
        one.execute("XA COMMIT 'x', 'b', 7")
        two.execute("INSERT INTO a VALUES ('', 3)")
        found = list(read(db.info, start))
        assert numbers(each for each, _ in found if each) == [[2], [1], [3]]
        assert found[-1][1] == head(db)

    def test_and_never_when_it_is_rolled_back(self, db: Database) -> None:
        start = head(db)
        db.script(
            "XA START 'x'; INSERT INTO a VALUES ('', 1); XA END 'x'; XA PREPARE 'x'; XA ROLLBACK 'x';"
            "XA START 'y'; INSERT INTO a VALUES ('', 2); XA END 'y'; XA ROLLBACK 'y';"
            "XA START 'z'; INSERT INTO a VALUES ('', 3); XA END 'z'; XA COMMIT 'z' ONE PHASE"
        )
        found = list(read(db.info, start))
        assert numbers(each for each, _ in found if each) == [[3]]
        assert found[-1][1] == head(db)

    def test_one_that_was_prepared_earlier_is_missed(self, db: Database) -> None:
        db.script("XA START 'x'; INSERT INTO a VALUES ('', 1); XA END 'x'; XA PREPARE 'x'")
        start = head(db)
        db.execute("XA COMMIT 'x'")
        (missed,) = read_all(db.info, start)
        assert "prepared before reading began" in str(missed.what[0])


def test_an_event_over_16_mb(db: Database) -> None:
    start = head(db)
    db.script(
        f"INSERT INTO a VALUES ('', 1); INSERT INTO a VALUES (REPEAT('x', {LARGE}), 2);"
        f"UPDATE a SET v = REPEAT('y', {LARGE}) WHERE id = 2; INSERT INTO a VALUES ('', 3)"
    )
    found = read_all(db.info, start)
    assert numbers(found) == [[1], [2], [2], [3]]
    before, after = (each.what[0] for each in found[1:3])
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert before[2].endswith(b"x" * LARGE + (2).to_bytes(4, "little"))
    assert after[2].count(b"x") == LARGE
    assert after[2].count(b"y") == LARGE
    with opened(db.info, start) as connection:
        assert [type(item) for item in connection.items(lambda _: None)][-1] is Idle


def test_a_huge_transaction_waits_on_disk(db: Database) -> None:
    """Not in memory."""
    rows = 100_000
    series = SERIES[db.flavour].format(rows)
    start = head(db)
    db.script(f"SET SESSION {DEPTH[db.flavour]}; INSERT INTO a (id) {series}")
    with opened(db.info, start) as connection:
        tracemalloc.start()
        items = read_log(
            connection.chunks(),
            tables_of(db.name),
            start,
            connection.flavour,
            server=connection.server,
            spill_bytes=1 << 20,
        )
        (transaction,) = committed(items)
        values = array("I")
        for each in transaction.rows:
            values.extend(int.from_bytes(row, "little") for row in ids(each.body, db.flavour))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert values == array("I", range(1, rows + 1))
    assert most < 8 << 20


SERIES = {
    "mariadb": "SELECT seq FROM seq_1_to_{}",
    "mysql": "WITH RECURSIVE s AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s",
}
#: More steps than a series needs; MariaDB has one built in.
DEPTH = {"mariadb": "sql_mode = DEFAULT", "mysql": "cte_max_recursion_depth = 1000000"}


def ids(body: bytes, flavour: str) -> Iterator[bytes]:
    """Of a WRITE_ROWS with ``v`` NULL: behind the fixed part, a byte of NULL flags and the number each."""
    start = 8 + 2 if flavour == "mariadb" else 8 + 2 + 2
    return (body[at + 1 : at + 5] for at in range(start, len(body), 5))


COMPRESSED = (
    "INSERT INTO a VALUES (REPEAT('text ', 60), 1), (REPEAT('more ', 60), 2);"
    "UPDATE a SET v = REPEAT('other ', 60);"
    "BEGIN; DELETE FROM a WHERE id = 1; INSERT INTO my VALUES ('', 3); DELETE FROM my; COMMIT"
)


def test_compressed_rows_are_those_that_were_compressed(db: Database) -> None:
    work = (
        COMPRESSED
        if db.flavour == "mariadb"
        else COMPRESSED.replace("INSERT INTO my VALUES ('', 3); DELETE FROM my;", "")
    )
    start = head(db)
    db.script(work)
    size = head(db).offset - start.offset
    expected = read_all(db.info, start)
    db.script("TRUNCATE a; TRUNCATE my")
    start = head(db)
    if db.flavour == "mariadb":
        db.execute("SET GLOBAL log_bin_compress = ON")
        db.script(work)
        db.execute("SET GLOBAL log_bin_compress = OFF")
    else:
        connection = db.connect(autocommit=True)
        cursor = connection.cursor()
        cursor.execute("SET SESSION binlog_transaction_compression = ON")
        cursor.execute(work)
        while cursor.nextset():
            pass
    behind = head(db)
    assert [each.what for each in read_all(db.info, start)] == [each.what for each in expected]
    if db.flavour == "mysql":
        assert b"\x28\xb5\x2f\xfd" in raw(db, start)  # zstandard's first bytes
    else:
        assert behind.offset - start.offset < size


def raw(db: Database, start: LogPosition) -> bytes:
    """The stream as it comes, to the end of the log (whose packet is short)."""
    data = b""
    with opened(db.info, start) as connection:
        for chunk in connection.chunks():
            data += chunk
            if data[-9:-6] == b"\5\0\0":
                break
    return data


def test_checksums_may_be_switched_at_any_time(db: Database) -> None:
    start = head(db)
    found = []
    for number, kind in enumerate(("CRC32", "NONE", "CRC32")):
        db.execute(f"SET GLOBAL binlog_checksum = '{kind}'")
        db.execute(f"INSERT INTO a VALUES ('', {number})")
        found.append(numbers(read_all(db.info, start)))
    assert found == [[[0]], [[0], [1]], [[0], [1], [2]]]


def test_the_log_from_its_beginning(db: Database) -> None:
    """Files and GTIDs from the first event on, in the end the same position as the server's."""
    db.script("FLUSH BINARY LOGS; INSERT INTO a VALUES ('', 1); FLUSH BINARY LOGS")
    first = str(db.execute("SHOW BINARY LOGS")[0][0])
    *_, (_, position) = read(db.info, LogPosition(first, 4, ""))
    expected = head(db)
    if db.flavour == "mysql":
        assert position.place() <= expected.place()  # behind the last transaction; the file goes on a little
        assert position.gtids == expected.gtids
    else:
        assert position.gtids == expected.gtids
        assert position.file == expected.file


class TestGtids:
    def test_domains_of_mariadb(self, db: Database) -> None:
        if db.flavour != "mariadb":
            pytest.skip("MySQL has no domains")
        db.execute("INSERT INTO a VALUES ('', 0)")
        start = head(db)
        connection = db.connect(autocommit=True).cursor()
        for number, domain in enumerate((0, 7, 3, 7, 0), 1):
            connection.execute(f"SET SESSION gtid_domain_id = {domain}")
            connection.execute(f"INSERT INTO a VALUES ('', {number})")
        found = list(read(db.info, start))
        assert numbers(each for each, _ in found if each) == [[1], [2], [3], [4], [5]]
        for at, (_, position) in enumerate([each for each in found if each[0]], 1):
            assert position.gtids != start.gtids
            assert numbers(read_all(db.info, position)) == [[n] for n in range(at + 1, 6)]
        assert sorted(found[-1][1].gtids.split(",")) == sorted(head(db).gtids.split(","))

    def test_tags_of_mysql(self, db: Database) -> None:
        if db.flavour != "mysql":
            pytest.skip("MariaDB has no tags")
        db.execute("INSERT INTO a VALUES ('', 0)")
        start = head(db)
        connection = db.connect(autocommit=True).cursor()
        for number, tag in enumerate((":loader", "", ":b", ":loader"), 1):
            connection.execute(f"SET SESSION gtid_next = 'AUTOMATIC{tag}'")
            connection.execute(f"INSERT INTO a VALUES ('', {number})")
        found = list(read(db.info, start))
        tokens = [each.token for each, _ in found if each]
        assert [":loader:" in token for token in tokens] == [True, False, False, True]
        for at, (_, position) in enumerate([each for each in found if each[0]], 1):
            assert numbers(read_all(db.info, position)) == [[n] for n in range(at + 1, 5)]
        assert found[-1][1] == head(db)

    @pytest.mark.parametrize("by_gtids", [True, False])
    def test_the_time_is_that_of_the_commit(self, db: Database, by_gtids: bool) -> None:
        start = head(db) if by_gtids else head(db)._replace(gtids="")
        precise = 6 if db.flavour == "mysql" else 0
        (before,) = db.execute(f"SELECT CAST(UNIX_TIMESTAMP(NOW({precise})) AS CHAR)")[0]
        db.execute("INSERT INTO a VALUES ('', 1)")
        (after,) = db.execute(f"SELECT CAST(UNIX_TIMESTAMP(NOW({precise})) AS CHAR)")[0]
        (found,) = read_all(db.info, start)
        assert float(before) <= found.time.timestamp() <= float(after)


def test_mysql_without_gtids(keeper: KeeperClient) -> None:
    options = ("--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--server-id=6")
    server = own_server(keeper, Spec("mysql", options=options))
    db = Database(server, create_database(server, erp=False))
    db.script(
        "CREATE TABLE a (v TEXT, id INT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE my (id INT PRIMARY KEY) ENGINE=MyISAM"
    )
    start = head(db)
    assert start.gtids == ""
    db.script(
        "INSERT INTO a VALUES ('', 1); FLUSH BINARY LOGS;"
        "BEGIN; INSERT INTO a VALUES ('', 2); SAVEPOINT s; INSERT INTO my VALUES (3); INSERT INTO a VALUES ('', 4);"
        "ROLLBACK TO s; COMMIT;"
        "BEGIN; INSERT INTO a VALUES ('', 5); INSERT INTO my VALUES (6); ROLLBACK;"
        "XA START 'x'; INSERT INTO a VALUES ('', 7); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'"
    )
    found = list(read(db.info, start))
    assert numbers(each for each, _ in found if each) == [[1], [3], [2], [6], [7]]
    assert found[-1][1] == head(db)
    tokens = [each.token for each, _ in found if each]
    assert len(set(tokens)) == 5
    (uuid,) = db.execute("SELECT @@server_uuid")[0]
    assert all(token.startswith(f"{uuid}/binlog.") for token in tokens)
    for each, position in found:
        if each:
            behind = tokens[tokens.index(each.token) + 1 :]
            assert [later.token for later in read_all(db.info, position)] == behind
    db.script("SET GLOBAL gtid_mode = OFF_PERMISSIVE; SET GLOBAL gtid_mode = ON_PERMISSIVE")
    db.script("SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = ON; INSERT INTO a VALUES ('', 8)")
    behind = list(read(db.info, found[-1][1]))
    assert numbers(each for each, _ in behind if each) == [[8]]
    assert behind[-1][1].gtids == f"{uuid}:1" == head(db).gtids
    db.close()
    server.discard()


class TestConnection:
    @pytest.mark.parametrize("mode", ["require", "disable"])
    def test_with_and_without_tls(self, db: Database, mode: str) -> None:
        """MySQL's accounts are of caching_sha2_password, which asks for the server's key when there is no TLS."""
        start = head(db)
        db.execute("INSERT INTO a VALUES (REPEAT('x', 300000), 1)")
        account = f"tls_{mode}"
        password = "IDENTIFIED BY 'secret-too'"
        if db.flavour == "mysql":
            password = "IDENTIFIED WITH caching_sha2_password BY 'secret-too'"
        db.execute(
            f"CREATE OR REPLACE USER {account} {password}"
            if db.flavour == "mariadb"
            else f"CREATE USER {account} {password}"
        )
        db.execute(f"GRANT REPLICATION SLAVE ON *.* TO {account}")
        db.execute(f"GRANT SELECT ON {db.name}.* TO {account}")
        info = replace(db.info.as_user(account, "secret-too"), tls=Tls(mode))
        with opened(info, start, follow=True) as connection:
            assert hasattr(connection._socket, "cipher") is (mode == "require")
            assert next(committed(connection.items(tables_of(db.name)))).rows
        assert numbers(read_all(info, start)) == [[1]]

    def test_without_the_grant(self, db: Database) -> None:
        db.execute("DROP USER IF EXISTS reader")
        db.execute("CREATE USER reader IDENTIFIED BY 'secret-too'")
        db.execute(f"GRANT SELECT ON {db.name}.* TO reader")
        with pytest.raises(SourceError) as caught:
            read_all(db.info.as_user("reader", "secret-too"), head(db))
        assert "GRANT REPLICATION SLAVE" in caught.value.hint
        assert "secret-too" not in str(caught.value)
        db.execute("GRANT REPLICATION SLAVE ON *.* TO reader")
        assert read_all(db.info.as_user("reader", "secret-too"), head(db)) == []

    def test_heartbeats_come_when_nothing_happens(self, db: Database) -> None:
        start = head(db)
        with opened(db.info, start, heartbeat=0.1, follow=True) as connection:
            items = connection.items(tables_of(db.name))
            assert [next(items) for _ in range(4)] == [Idle(start, start)] * 4

    def test_close_from_another_thread_ends_reading(self, db: Database) -> None:
        with opened(db.info, head(db), heartbeat=30, follow=True) as connection:
            reading = threading.Event()
            found: list[object] = []

            def read_on() -> None:
                reading.set()
                found.extend(connection.items(tables_of(db.name)))

            thread = threading.Thread(target=read_on)
            thread.start()
            reading.wait()
            connection.close()
            thread.join(HANG_SECONDS)
            assert not thread.is_alive()
            assert all(isinstance(item, Idle) for item in found)
            connection.close()
            assert connection.at_end()
            assert list(connection.chunks()) == []

    @pytest.mark.parametrize("mode", ["require", "disable"])
    def test_at_end_says_whether_more_has_come(self, db: Database, mode: str) -> None:
        start = head(db)
        info = replace(db.info, tls=Tls(mode))
        with opened(info, start, heartbeat=60, follow=True) as connection:
            db.execute("INSERT INTO a VALUES ('', 1)")
            items = connection.items(tables_of(db.name))
            assert next(committed(items))
            assert isinstance(next(items), Idle)
            assert connection.at_end()
            db.execute("INSERT INTO a VALUES ('', 2)")
            assert connection._selector.select(5)
            assert not connection.at_end()
            assert next(committed(items))


def test_a_server_without_a_log(mariadb_db: Database) -> None:
    with pytest.raises(SourceError, match="no binary log"), opened(mariadb_db.info, LogPosition("x", 4, "")):
        pass


def test_the_head_of_an_empty_log_knows_all_gtids(keeper: KeeperClient) -> None:
    """So that what follows can be asked for on another server."""
    server = own_server(keeper, Spec("mariadb", binlog=True))
    db = Database(server, create_database(server, erp=False))
    db.execute("RESET MASTER")
    start = head(db)
    assert (start.offset, start.gtids) == (4, "")
    db.execute("CREATE TABLE a (id INT)")
    db.execute("INSERT INTO a VALUES (1)")
    *_, (_, position) = read(db.info, start)
    assert position == head(db)
    assert position.gtids
    db.close()
    server.discard()


@pytest.fixture
def plain_info(db: Database) -> ConnectionInfo:
    return plain(db.info)


def test_the_server_says_what_it_is(db: Database, plain_info: ConnectionInfo) -> None:
    with closing(connect(plain_info)) as asked, opened(plain_info, head(db)) as connection:
        cursor = asked.cursor()
        cursor.execute("SELECT @@server_uuid" if db.flavour == "mysql" else "SELECT @@server_id")
        assert connection.server == str(cursor.fetchone()[0])
        assert connection.flavour is Flavour(db.flavour)
        assert connection.by_gtids
