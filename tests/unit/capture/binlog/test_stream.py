"""What a replication stream means: transactions, statements, positions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from struct import pack

import pytest

from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.item import Idle, Item, Layouts, LogTransaction, Missed, SchemaChange
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import read_log
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import LogRefused, MalformedEvent, SourceError, SourceUnavailable
from support.log_stream import SERVER_TEXT, LogStream, query, rows, table_map

START = LogPosition("log.000001", 4, "")
both = pytest.mark.parametrize("flavour", Flavour)


def of_shop(table: TableMap) -> UnreadableTable | None:
    return UnreadableTable(table.table, "", None) if table.database == "shop" else None


def read(
    log: LogStream | bytes,
    flavour: Flavour = Flavour.MARIADB,
    start: LogPosition = START,
    layouts: Layouts = of_shop,
    chunks: Iterable[bytes] = (),
    **options: int,
) -> list[Item]:
    data = log if isinstance(log, bytes) else log.bytes
    return list(read_log(chunks or [data], layouts, start, flavour, server="me", **options))


def stated(items: Iterable[Item]) -> list[object]:
    """Each item in short: rows as (table, body behind the fixed part)."""
    short: list[object] = []
    for item in items:
        match item:
            case LogTransaction():
                short.append([(each.layout.table, each.body[10:]) for each in item.rows])
            case SchemaChange():
                short.append((item.database, item.statement))
            case Missed():
                short.append(item.reason)
    return short


def row(value: int) -> bytes:
    return b"\0" + pack("<i", value)


@both
@pytest.mark.parametrize("checksums", [True, False])
def test_a_transaction_comes_whole_with_its_name_its_time_and_its_place(flavour: Flavour, checksums: bool) -> None:
    log = LogStream(flavour, checksums=checksums)
    log.begin(number=5)
    log.change("a", 1)
    log.change("b", 2, 3)
    log.commit()
    first, last = read(log, flavour)
    gtid = "0-1-5" if flavour is Flavour.MARIADB else f"{SERVER_TEXT}:5"
    assert isinstance(first, LogTransaction)
    assert first.token == gtid
    assert first.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert first.position == LogPosition("log.000001", log.offset, "")
    assert [(each.layout.table, each.event_type, each.body[10:]) for each in first.rows] == [
        ("a", 23, row(1)),
        ("b", 23, row(2) + row(3)),
    ]
    assert last == Idle(first.position, first.position)


@both
def test_rows_of_other_tables_only_move_the_position(flavour: Flavour) -> None:
    log = LogStream(flavour)
    for number in range(3):
        log.transaction("a", number)
    items = read(log, flavour, layouts=lambda _: None)
    assert [type(item) for item in items] == [Idle]
    assert isinstance(items[0], Idle)
    assert items[0].position.offset == log.offset


@both
def test_layouts_are_asked_for_once_and_again_after_a_statement(flavour: Flavour) -> None:
    asked = []

    def layouts(table: TableMap) -> UnreadableTable:
        asked.append(table.table)
        return UnreadableTable(table.table, "", None)

    log = LogStream(flavour)
    log.transaction("a", 1)
    log.transaction("a", 2)
    log.statement(b"ALTER TABLE a ADD n INT")
    log.transaction("a", 3)
    read(log, flavour, layouts=layouts)
    assert asked == ["a", "a"]


@both
def test_a_statement_comes_between_the_transactions_around_it(flavour: Flavour) -> None:
    log = LogStream(flavour)
    log.transaction("a", 1)
    log.statement(b"ALTER TABLE a ADD n INT", time=1_700_000_001)
    behind = log.offset
    log.transaction("a", 2)
    items = read(log, flavour)
    assert stated(items) == [[("a", row(1))], ("shop", "ALTER TABLE a ADD n INT"), [("a", row(2))]]
    change = items[1]
    assert isinstance(change, SchemaChange)
    assert change.position == change.reached == LogPosition("log.000001", behind, "")
    assert change.token.endswith("-2" if flavour is Flavour.MARIADB else ":2")
    assert change.time == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)
    assert not change.changes_rows


@both
def test_a_statement_within_a_transaction_stands_before_its_rows_and_moves_nothing(flavour: Flavour) -> None:
    """As CREATE TABLE … SELECT is logged."""
    log = LogStream(flavour)
    log.transaction("a", 1)
    before = log.offset
    log.begin()
    log.event(2, query(b"CREATE TABLE c (n INT)", "shop"))
    log.change("c", 7)
    log.commit()
    items = read(log, flavour)
    assert stated(items) == [[("a", row(1))], ("shop", "CREATE TABLE c (n INT)"), [("c", row(7))]]
    assert isinstance(items[1], SchemaChange)
    assert isinstance(items[2], LogTransaction)
    assert items[1].position == LogPosition("log.000001", before, "")
    assert items[1].token == items[2].token


@both
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (b"INSERT INTO a VALUES (1)", True),
        (b"/* by hand */ update a set n = 1", True),
        (b"(SELECT f())", True),
        (b"-- one\n# two\nCALL p()", True),
        (b"WITH x AS (SELECT 1) DELETE FROM a", True),
        (b"/*!40000 ALTER TABLE a DISABLE KEYS */", False),
        (b"TRUNCATE a", False),
        (b"DROP TABLE a /* generated by server */", False),
        (b"", False),
    ],
)
def test_data_changes_in_statement_format_are_told(flavour: Flavour, statement: bytes, expected: bool) -> None:
    log = LogStream(flavour)
    log.begin()
    log.event(2, query(statement, "shop"))
    log.commit()
    (change,) = (item for item in read(log, flavour) if isinstance(item, SchemaChange))
    assert change.changes_rows is expected


def test_a_statement_is_read_in_the_character_set_of_its_client() -> None:
    log = LogStream(Flavour.MARIADB)
    latin1 = b"\0\0\0\0\0\1\0\0\0\0\0\0\0\0\6\3std\4\x08\0\x08\0\x08\0"
    log.gtid(1, standalone=True)
    log.event(2, query(b"DROP TABLE `a\xf1o`", "shop", latin1))
    assert stated(read(log)) == [("shop", "DROP TABLE `año`")]


@both
def test_a_transaction_that_was_rolled_back_is_none(flavour: Flavour) -> None:
    log = LogStream(flavour)
    log.begin()
    log.change("a", 1)
    log.event(2, query(b"ROLLBACK"))
    log.transaction("a", 2)
    assert stated(read(log, flavour)) == [[("a", row(2))]]


@both
@pytest.mark.parametrize("spill", [1 << 20, 0])
def test_what_came_behind_a_savepoint_is_undone(flavour: Flavour, spill: int) -> None:
    log = LogStream(flavour)
    log.begin()
    log.event(2, query(b"SAVEPOINT `zero`"))
    log.change("a", 1)
    log.event(2, query(b"SAVEPOINT `One two`"))
    log.change("a", 2)
    log.event(2, query(b"SAVEPOINT `three`"))
    log.change("a", 3)
    log.event(2, query(b"ROLLBACK TO `one TWO`"))
    log.change("a", 4)
    log.event(2, query(b"RELEASE SAVEPOINT `one two`"))
    log.commit()
    log.begin()
    log.event(2, query(b"SAVEPOINT `zero`"))
    log.change("a", 5)
    log.event(2, query(b"ROLLBACK TO `zero`"))
    log.commit()
    assert stated(read(log, flavour, spill_bytes=spill)) == [[("a", row(1)), ("a", row(4))]]


@both
def test_non_transactional_tables_end_with_a_statement(flavour: Flavour) -> None:
    log = LogStream(flavour)
    log.begin()
    log.change("a", 1)
    log.event(2, query(b"COMMIT", "shop"))
    assert stated(read(log, flavour)) == [[("a", row(1))]]


@both
def test_what_a_server_that_fell_over_did_not_finish_did_not_happen(flavour: Flavour) -> None:
    log = LogStream(flavour)
    log.begin(number=1)
    log.change("a", 1)
    log.rotated("log.000002", made_up=True)
    log.format(checksums=True)
    log.begin(number=1)
    log.change("a", 2)
    log.begin(number=2)
    log.change("a", 3)
    log.commit()
    assert stated(read(log, flavour)) == [[("a", row(3))]]


class TestXa:
    """Rows count when an XA transaction commits, whenever that is."""

    @staticmethod
    def prepare(log: LogStream, name: str, value: int, number: int, *, one_phase: bool = False) -> None:
        log.gtid(number)
        if log.flavour is Flavour.MYSQL:
            log.event(2, query(f"XA START X'{name.encode().hex()}',X'',1".encode()), flags=8)
        log.change("a", value)
        log.event(2, query(f"XA END X'{name.encode().hex()}',X'',1".encode() + b"\0"))
        log.event(38, pack("<BIII", one_phase, 1, len(name), 0) + name.encode())

    @staticmethod
    def finish(log: LogStream, how: str, name: str, number: int) -> None:
        log.gtid(number, standalone=True)
        log.event(2, query(f"XA {how} X'{name.encode().hex().upper()}',X'',1".encode()))

    @both
    def test_committed(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        self.prepare(log, "nm", 1, 1)
        log.transaction("a", 2, number=2)
        self.finish(log, "COMMIT", "nm", 3)
        items = read(log, flavour)
        assert stated(items) == [[("a", row(2))], [("a", row(1))]]
        assert isinstance(items[1], LogTransaction)
        assert items[1].token.endswith("3")

    @both
    def test_a_prepared_one_holds_the_position_back(self, flavour: Flavour) -> None:
        known = "0-1-0" if flavour is Flavour.MARIADB else f"{SERVER_TEXT}:1-9"
        start = START._replace(gtids=known)
        log = LogStream(flavour)
        log.transaction("a", 0, number=10)
        before = log.offset
        self.prepare(log, "one", 1, 11)
        self.prepare(log, "two", 2, 12)
        log.transaction("a", 3, number=13)
        self.finish(log, "ROLLBACK", "two", 14)
        log.transaction("a", 4, number=15)
        reached = log.offset
        self.finish(log, "ROLLBACK", "one", 16)
        log.transaction("a", 5, number=17)
        items = read(log, flavour, start)
        assert stated(items) == [[("a", row(n))] for n in (0, 3, 4, 5)]
        positions = [item.position for item in items if isinstance(item, LogTransaction)]
        assert [each.offset for each in positions] == [before, before, before, log.offset]
        gtids = [known.replace("1-9", "1-10") if flavour is Flavour.MYSQL else "0-1-10"] * 3
        gtids.append(known.replace("1-9", "1-17") if flavour is Flavour.MYSQL else "0-1-17")
        assert [each.gtids for each in positions] == gtids
        last = read(log.bytes[: log.ends[-7 if flavour is Flavour.MARIADB else -8]], flavour, start)[-1]
        assert isinstance(last, Idle)
        assert (last.position.offset, last.reached.offset) == (before, reached)

    @both
    def test_in_one_phase(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        self.prepare(log, "x", 1, 1, one_phase=True)
        (first, _) = read(log, flavour)
        assert isinstance(first, LogTransaction)
        assert first.token.endswith("1")

    @both
    def test_one_that_was_prepared_before_reading_began_is_said_to_be_missed(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        self.finish(log, "COMMIT", "old", 1)
        self.finish(log, "ROLLBACK", "older", 2)
        missed, _ = read(log, flavour)
        assert isinstance(missed, Missed)
        assert "prepared before reading began" in missed.reason
        assert missed.token.endswith("1")


def test_an_incident_is_said_to_be_missed() -> None:
    log = LogStream(Flavour.MYSQL)
    log.event(26, b"\1\0\4lost", time=60)
    log.transaction("a", 1)
    missed, committed, _ = read(log, Flavour.MYSQL)
    assert isinstance(missed, Missed)
    assert "(lost)" in missed.reason
    assert missed.time == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert isinstance(committed, LogTransaction)


class TestPlaces:
    """File and offset, of which events have only 32 bits."""

    @both
    def test_rotation(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        log.transaction("a", 1)
        log.event(4, pack("<Q", 4) + b"log.000002")
        log.rotated("log.000002", made_up=True)
        log.format(checksums=True)
        log.transaction("a", 2)
        items = read(log, flavour)
        assert stated(items) == [[("a", row(1))], [("a", row(2))]]
        assert isinstance(items[1], LogTransaction)
        assert items[1].position == LogPosition("log.000002", log.offset, "")

    def test_rotation_alone_moves_the_position(self) -> None:
        """Not before the new file has said when it was begun: a position without that is not checked."""
        log = LogStream(Flavour.MARIADB)
        assert read(log) == []
        log.rotated("log.000002")
        assert read(log) == []
        log.format(checksums=True, time=9)
        place = LogPosition("log.000002", 4, "", 9)
        assert read(log) == [Idle(place, place)]

    @both
    def test_another_file_of_the_same_name(self, flavour: Flavour) -> None:
        """It may be the first one where reading begins by GTIDs: the server was cloned.  Later, the log was reset."""
        log = LogStream(flavour, begun=9)
        log.transaction("a", 2, number=2)
        gtids = "0-1-1" if flavour is Flavour.MARIADB else f"{SERVER_TEXT}:1"
        start = LogPosition("log.000001", 50_000, gtids, 5)
        transaction, _ = read(log, flavour, start)
        assert transaction.position[:2] == ("log.000001", log.offset)
        assert transaction.position.begun == 9
        log.rotated("log.000001", made_up=True)
        log.format(checksums=True, time=10)
        for each in (start, start._replace(gtids="", begun=9)):
            with pytest.raises(SourceUnavailable, match="started again"):
                read(log, flavour, each)

    @both
    def test_a_file_that_grows_beyond_4_gb(self, flavour: Flavour) -> None:
        start = LogPosition("log.000001", 2**32 - 300, "")
        log = LogStream(flavour, offset=start.offset)
        for number in range(4):
            log.transaction("a", number)
        assert log.offset > 2**32
        items = read(log, flavour, start)
        assert stated(items) == [[("a", row(n))] for n in range(4)]
        assert isinstance(items[-1], Idle)
        assert items[-1].position.offset == log.offset

    @both
    def test_a_file_that_cannot_be_asked_for_from_there_is_read_from_its_beginning(self, flavour: Flavour) -> None:
        log = LogStream(flavour, offset=2**32 - 300)
        log.transaction("a", 0)
        log.statement(b"DROP TABLE b")
        log.transaction("a", 1)
        start = LogPosition("log.000001", log.offset, "")
        assert start.offset > 2**32
        log.transaction("a", 2)
        log.event(4, pack("<Q", 4) + b"log.000002")
        log.rotated("log.000002", made_up=True)
        log.format(checksums=True)
        log.transaction("a", 3)
        items = read(log, flavour, start)
        assert stated(items) == [[("a", row(2))], [("a", row(3))]]

    def test_a_transaction_of_more_than_4_gb(self) -> None:
        """The bytes between are only said to have come: nobody wants to make them."""
        from cdc.capture.binlog.stream import MySQLReader  # noqa: PLC0415 - the one test that goes behind read_log

        reader = MySQLReader(of_shop, START, "me", 1)
        log = LogStream(Flavour.MYSQL, checksums=False)
        for length in (100, 2**31 + 100, 2**32 - 100, 2**32 + 200, 3 * 2**32):
            log.offset += length
            event = log.raw_event(16, pack("<Q", 1))
            log.offset += len(event)
            reader.unplaced += length + len(event) - 50  # events that the server did not send
            assert reader.handlers[16](event, 0, len(event)) == ()
            assert reader.reached().offset == log.offset

    @both
    def test_a_position_without_gtids_learns_them_where_a_file_begins(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        if flavour is Flavour.MARIADB:
            log.event(163, pack("<IIIQIIQIIQ", 3, 0, 1, 4, 0, 2, 5, 7, 9, 1))
            expected = ["0-2-5,7-9-1", "0-1-6,7-9-1", "0-1-7,7-9-1"]
        else:
            log.event(35, pack("<Q16sQQQ", 1, bytes(16), 1, 1, 6), flags=0x80)
            zero = "00000000-0000-0000-0000-000000000000:1-5"
            expected = [zero, f"{zero},{SERVER_TEXT}:6", f"{zero},{SERVER_TEXT}:6-7"]
        log.transaction("a", 1, number=6)
        log.transaction("a", 2, number=7)
        items = read(log, flavour)
        assert [item.position.gtids for item in items if isinstance(item, LogTransaction)] == expected[1:]
        beginning = read(log.bytes[: log.ends[2]], flavour)
        assert beginning == []

    @both
    def test_the_beginning_of_a_file_that_was_read_in_part_teaches_nothing(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        state = pack("<IIIQ", 1, 0, 1, 4) if flavour is Flavour.MARIADB else pack("<Q16sQQQ", 1, bytes(16), 1, 1, 6)
        log.event(163 if flavour is Flavour.MARIADB else 35, state)
        start = LogPosition("log.000001", log.offset, "")
        log.transaction("a", 1)
        data = LogStream(flavour, offset=start.offset).bytes + log.bytes[log.ends[1] :]
        items = read(data, flavour, start)
        assert {item.position.gtids for item in items if isinstance(item, LogTransaction)} == {""}

    def test_domains_of_mariadb_go_on_each_by_itself(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.transaction("a", 1, number=11)
        log.transaction("a", 2, number=3, domain=5)
        log.transaction("a", 3, number=12)
        items = read(log, start=START._replace(gtids="0-1-10,9-4-7"))
        committed = [item for item in items if isinstance(item, LogTransaction)]
        assert [item.token for item in committed] == ["0-1-11", "5-1-3", "0-1-12"]
        assert [item.position.gtids for item in committed] == [
            "0-1-11,9-4-7",
            "0-1-11,9-4-7,5-1-3",
            "0-1-12,9-4-7,5-1-3",
        ]

    def test_gtids_with_tags(self) -> None:
        log = LogStream(Flavour.MYSQL)
        log.gtid(4, tag="loader")
        log.event(2, query(b"BEGIN"))
        log.change("a", 1)
        log.commit()
        first, _ = read(log, Flavour.MYSQL, START._replace(gtids=f"{SERVER_TEXT}:1-9:loader:1-3"))
        assert isinstance(first, LogTransaction)
        assert first.token == f"{SERVER_TEXT}:loader:4"
        assert first.position.gtids == f"{SERVER_TEXT}:1-9:loader:1-4"
        assert first.time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)

    def test_without_gtids_the_place_and_the_time_are_the_name(self) -> None:
        log = LogStream(Flavour.MYSQL)
        log.event(34, pack("<B16sqB16x", 0, bytes(16), 0, 2) + (1_700_000_000_000_001).to_bytes(7, "little"))
        log.event(2, query(b"BEGIN"))
        log.change("a", 1)
        log.commit()
        first, _ = read(log, Flavour.MYSQL, START._replace(gtids=f"{SERVER_TEXT}:1-9"))
        assert isinstance(first, LogTransaction)
        assert first.token == f"me/log.000001:{log.offset}@1700000000000001"
        assert first.position == LogPosition("log.000001", log.offset, "")
        assert first.time.microsecond == 1


class TestHeartbeats:
    def test_one_says_where_the_server_is(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.event(27, b"log.000001", made_up=True, log_pos=900)
        place = LogPosition("log.000001", 900, "")
        assert read(log) == [Idle(place, place)]

    def test_with_64_bits(self) -> None:
        log = LogStream(Flavour.MYSQL)
        log.event(41, b"\1\x0alog.000001\2\x09\xfe" + pack("<Q", 2**33) + b"\0", made_up=True)
        place = LogPosition("log.000001", 2**33, "")
        assert read(log, Flavour.MYSQL) == [Idle(place, place)]

    def test_one_of_another_file_moves_nothing(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.event(27, b"log.000009", made_up=True, log_pos=900)
        assert read(log) == [Idle(START, START)]


class TestLongEvents:
    """Events over 16 MB come in several packets."""

    VALUES = bytes(range(200)) * 17_000  # numbers that Python holds once

    @both
    def test_one_arrives_whole(self, flavour: Flavour) -> None:
        log = LogStream(flavour)
        log.transaction("a", *self.VALUES)
        data = log.bytes
        chunks = [data[at : at + 1_000_003] for at in range(0, len(data), 1_000_003)]
        first, _ = read(log, flavour, chunks=chunks)
        assert isinstance(first, LogTransaction)
        assert [each.body for each in first.rows] == [rows(7, *self.VALUES)]

    def test_one_of_no_interest_leaves_nothing_in_memory(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.transaction("a", *self.VALUES)
        log.transaction("b", 1)
        items = read(log, layouts=lambda table: of_shop(table) if table.table == "b" else None)
        assert stated(items) == [[("b", row(1))]]

    @pytest.mark.parametrize("missing", [-1, 0, 1, 2])
    def test_one_about_as_long_as_a_packet(self, missing: int) -> None:
        log = LogStream(Flavour.MARIADB, checksums=False)
        log.begin()
        log.event(19, table_map(7, "shop", "a"))
        body = rows(7)
        body += bytes(0xFFFFFF - 1 - 19 - len(body) - missing)
        log.event(23, body)
        log.commit()
        first, _ = read(log)
        assert isinstance(first, LogTransaction)
        assert [each.body for each in first.rows] == [body]

    def test_one_of_another_length_than_it_says(self) -> None:
        log = LogStream(Flavour.MARIADB, checksums=False)
        log.packet(b"\0" + log.raw_event(2, query(bytes(0xFFFFFF)))[:-1])
        with pytest.raises(MalformedEvent, match="does not have the length"):
            read(log)


class TestWhatIsRefused:
    def test_rows_of_a_table_that_was_not_announced(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.begin()
        log.event(23, rows(9, 1))
        with pytest.raises(MalformedEvent, match="did not announce"):
            read(log)

    def test_but_the_event_that_only_closes_tables_passes(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.begin()
        log.change("a", 1)
        log.event(23, rows(0xFFFFFF))
        log.commit()
        assert stated(read(log)) == [[("a", row(1))]]

    def test_parts_of_json_values(self) -> None:
        log = LogStream(Flavour.MYSQL)
        log.begin()
        log.event(19, table_map(7, "shop", "a"))
        log.event(39, rows(7))
        log.commit()
        transaction, _ = read(log, Flavour.MYSQL)
        assert isinstance(transaction, LogTransaction)
        (rows_,) = transaction.rows
        assert isinstance(rows_.layout, UnreadableTable)
        assert "SET GLOBAL binlog_row_value_options = ''" in rows_.layout.reason
        assert [type(item) for item in read(log, Flavour.MYSQL, layouts=lambda _: None)] == [Idle]

    def test_an_unknown_event_unless_it_may_be_skipped(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.event(99, b"", flags=0x80)
        assert read(log) == []
        log.event(99, b"")
        with pytest.raises(MalformedEvent, match="unknown kind 99"):
            read(log)

    @pytest.mark.parametrize("kind", [19, 23, 2])
    def test_a_wrong_checksum_in_what_is_used(self, kind: int) -> None:
        log = LogStream(Flavour.MARIADB)
        log.begin()
        if kind == 2:
            log.event(2, query(b"DROP TABLE a"))
        else:
            log.event(19, table_map(7, "shop", "a"))
            if kind == 23:
                log.event(23, rows(7, 1))
        with pytest.raises(MalformedEvent, match="checksum"):
            read(log.bytes[:-1] + bytes([log.bytes[-1] ^ 1]))

    def test_another_format(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.event(15, pack("<H50sIB", 3, b"", 1, 19) + bytes(40))
        with pytest.raises(MalformedEvent, match="format 3"):
            read(log)

    def test_what_is_no_event(self) -> None:
        with pytest.raises(MalformedEvent, match="not an event"):
            read(LogStream(Flavour.MARIADB).bytes + b"\1\0\0\0\x17")

    @pytest.mark.parametrize(
        ("code", "error", "words"),
        [(1236, LogRefused, "gone"), (1227, SourceError, "gone"), (1053, SourceUnavailable, "gone")],
    )
    def test_what_the_server_refuses_is_said_in_its_words(
        self, code: int, error: type[SourceError], words: str
    ) -> None:
        log = LogStream(Flavour.MARIADB)
        log.error(code, words)
        with pytest.raises(error, match=f"gone \\(error {code}\\)") as caught:
            read(log)
        assert type(caught.value) is error

    def test_nothing_is_read_behind_the_end(self) -> None:
        log = LogStream(Flavour.MARIADB)
        log.transaction("a", 1)
        log.end()
        chunks = iter([log.bytes, b"never asked for"])
        assert stated(read_log(chunks, of_shop, START, Flavour.MARIADB)) == [[("a", row(1))]]
        assert next(chunks) == b"never asked for"
