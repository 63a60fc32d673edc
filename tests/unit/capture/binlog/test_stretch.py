"""Items of a log become chunks: whole transactions, cut where the schema may change, huge ones in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cdc.capture.base import HugePart
from cdc.capture.binlog.chunk import ChunkLimits, ChunkReader, LogChunk
from cdc.capture.binlog.item import Idle, Item, LogRows, LogTransaction, Missed, SchemaChange
from cdc.capture.binlog.layout import Image, LogLayout, UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.model.change import Operation, Row
from cdc.model.column import SecretColumns
from cdc.model.errors import SourceUnavailable

TIME = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
Rows = list[tuple[Image | None, Image | None]]


class Given(LogLayout):
    """Whatever the event's body, these rows."""

    def __init__(self, rows: Rows, table: str = "t", names: tuple[str, ...] = ("id", "v", "pin")) -> None:
        super().__init__(table, names, ("id",))
        self.given = rows

    def rows(self, body: bytes, event_type: int) -> Rows:
        return self.given


def at(offset: int) -> LogPosition:
    return LogPosition("binlog.000001", offset, "")


def event(rows: Rows, size: int = 10, table: str = "t") -> LogRows:
    return LogRows(Given(rows, table), 0, b"x" * size)


def inserted(*numbers: int) -> Rows:
    return [(None, (number, 0, "secret")) for number in numbers]


def committed(token: str, offset: int, *events: LogRows) -> LogTransaction:
    return LogTransaction(token, TIME, at(offset), events)


def idle(offset: int) -> Idle:
    return Idle(at(offset), at(offset))


def statement(text: str, offset: int, *, changes_rows: bool = False) -> SchemaChange:
    return SchemaChange("fs", text, at(offset), at(offset), f"s{offset}", TIME, changes_rows)


def reader(batch: int = 100, huge: int = 100, resume: HugePart | None = None, size: int = 10_000) -> ChunkReader:
    secrets = {"t": SecretColumns(frozenset({"pin"})), "other": SecretColumns()}
    return ChunkReader(
        "main", "fs", secrets, at(4), ChunkLimits(batch, huge, size), lambda: True, lambda: False, resume
    )


def read(*items: Item, by: ChunkReader | None = None) -> list[LogChunk]:
    return list((by or reader()).read(items))


def tokens(chunk: LogChunk) -> list[str]:
    return [transaction.token for transaction in chunk.transactions]


def test_what_was_committed_comes_together_when_nothing_more_is_there() -> None:
    one = committed("1", 10, event(inserted(1)), event([((1, 0, "a"), (1, 1, "a"))]))
    (chunk,) = read(one, committed("2", 20, event(inserted(2))), idle(25))
    assert tokens(chunk) == ["1", "2"]
    assert chunk.position == at(25)
    assert chunk.caught_up
    first = chunk.transactions[0].changes
    assert [(each.operation, each.ordinal, each.key) for each in first] == [
        (Operation.CREATE, 0, {"id": 1}),
        (Operation.UPDATE, 1, {"id": 1}),
    ]
    row: Row = {"id": 1, "v": 1}
    assert first[1].after == row
    assert first[1].time == TIME


def test_secret_columns_are_left_out_and_unchanged_rows_keep_their_number() -> None:
    same: Image = (1, 0, "a")
    rows: Rows = [(same, same), ((1, 0, "a"), (1, 0, "b")), ((1, 0, "b"), None)]
    (chunk,) = read(committed("1", 10, event(rows)), idle(10))
    update, delete = chunk.transactions[0].changes
    assert (update.ordinal, update.before, update.after) == (1, {"id": 1, "v": 0}, {"id": 1, "v": 0})
    assert update.secrets_changed == {"pin"}
    assert (delete.operation, delete.ordinal, delete.before, delete.after) == (
        Operation.DELETE,
        2,
        {"id": 1, "v": 0},
        None,
    )
    assert not delete.secrets_changed


def test_a_transaction_that_changed_nothing_moves_the_position_only() -> None:
    same: Image = (1, 0, "a")
    (chunk,) = read(committed("1", 10, event([(same, same)])), idle(10))
    assert (chunk.transactions, chunk.position) == ((), at(10))


def test_a_backlog_is_cut_between_transactions() -> None:
    items = [committed(str(n), n, event(inserted(n, n + 100))) for n in range(1, 6)]
    chunks = read(*items, idle(9), by=reader(batch=4))
    assert [(tokens(each), each.position, each.caught_up) for each in chunks] == [
        (["1", "2"], at(2), False),
        (["3", "4"], at(4), False),
        (["5"], at(9), True),
    ]


def test_events_of_many_bytes_cut_it_too() -> None:
    items = [committed(str(n), n, event(inserted(n), size=600)) for n in range(1, 5)]
    assert [tokens(each) for each in read(*items, idle(9), by=reader(size=1000))] == [["1", "2"], ["3", "4"], []]


def test_a_huge_transaction_comes_in_parts_of_whole_records() -> None:
    rows = inserted(*range(6)) + [((n, 0, ""), (n, 1, "")) for n in range(6)]
    huge = committed("huge", 20, *(event(rows[start : start + 3]) for start in range(0, 12, 3)))
    chunks = read(committed("1", 10, event(inserted(99))), huge, idle(30), by=reader(batch=4, huge=5))
    first, *parts, last = chunks
    assert (tokens(first), first.position) == (["1"], at(10))
    assert [(part.position, part.huge) for part in parts] == [
        (at(10), HugePart("huge", 2)),
        (at(10), HugePart("huge", 4)),
        (at(20), None),
    ]
    assert [[each.ordinal for each in part.transactions[0].changes] for part in parts] == [
        [0, 1, 6, 7],
        [2, 3, 8, 9],
        [4, 5, 10, 11],
    ]
    assert last.transactions == ()


def test_a_huge_transaction_goes_on_behind_the_records_that_are_stored() -> None:
    huge = committed("huge", 20, event(inserted(*range(6))))
    resumed = reader(batch=2, huge=3, resume=HugePart("huge", 2))
    chunks = read(huge, committed("2", 30, event(inserted(9))), idle(30), by=resumed)
    assert [[each.key["id"] for each in s.transactions[0].changes] for s in chunks] == [[2, 3], [4, 5], [9]]
    assert [each.huge for each in chunks] == [HugePart("huge", 4), None, None]


def test_the_records_of_another_transaction_are_not_passed_over() -> None:
    (chunk,) = read(committed("1", 10, event(inserted(1))), idle(10), by=reader(resume=HugePart("huge", 2)))
    assert tokens(chunk) == ["1"]


def test_a_statement_about_a_table_ends_the_stretch_before_it() -> None:
    items = (
        committed("1", 10, event(inserted(1))),
        statement("ALTER TABLE elsewhere ADD x int", 15),
        statement("ALTER TABLE `T` ADD x int", 20),
        committed("2", 30, event(inserted(2))),
        idle(30),
    )
    before, change, after = read(*items)
    assert (tokens(before), before.position, before.altered) == (["1"], at(15), frozenset())
    assert (change.transactions, change.position, change.altered, change.reached) == ((), at(20), {"t"}, at(20))
    assert (tokens(after), after.altered) == (["2"], frozenset())


def test_truncate_is_a_change() -> None:
    (chunk,) = read(committed("1", 10, event(inserted(1))), statement("TRUNCATE other", 20), idle(20))
    one, two = chunk.transactions
    assert one.token == "1"
    assert [(each.operation, each.table, each.key) for each in two.changes] == [(Operation.TRUNCATE, "other", {})]
    assert two.token == "s20"


def test_rows_that_cannot_be_read_are_a_gap_and_counted() -> None:
    unreadable = LogRows(UnreadableTable("t", "It was altered.", Given(inserted(1, 2, 3))), 0, b"")
    (chunk,) = read(committed("1", 10, event(inserted(7)), unreadable, event(inserted(8), table="other")), idle(10))
    assert [each.ordinal for each in chunk.transactions[0].changes] == [0, 4]
    (lost,) = chunk.lost
    assert (lost.token, lost.gap.table) == ("1", "t")


def test_a_statement_in_place_of_rows_is_a_gap_of_the_tables_that_it_names() -> None:
    items = (
        statement("UPDATE t SET v = 1", 10, changes_rows=True),
        statement("UPDATE x SET v = 1", 20, changes_rows=True),
    )
    (chunk,) = read(*items, idle(20))
    assert [each.gap.table for each in chunk.lost] == ["t"]


def test_rows_replaced_by_a_statement_are_a_gap_with_the_altered_tables() -> None:
    items = committed("1", 5, event(inserted(1))), statement("RENAME TABLE t TO x, other TO t", 10)
    before, altered, after = read(*items, idle(20))
    assert tokens(before) == ["1"]
    assert (altered.altered, altered.transactions) == ({"t", "other"}, ())
    assert [each.gap.table for each in altered.lost] == ["other", "t"]
    assert after.lost == ()


def test_dropped_tables_are_emptied() -> None:
    altered, _ = read(statement("DROP TABLE other, t", 10), idle(20))
    assert altered.altered == {"t", "other"}
    (transaction,) = altered.transactions
    assert [(each.operation, each.table, each.ordinal) for each in transaction.changes] == [
        (Operation.TRUNCATE, "other", 0),
        (Operation.TRUNCATE, "t", 1),
    ]
    assert altered.lost == ()


def test_what_the_server_missed_is_a_gap_of_every_table() -> None:
    (chunk,) = read(Missed("1", TIME, at(10), "An incident."), idle(10))
    assert sorted(each.gap.table for each in chunk.lost) == ["other", "t"]


def test_gaps_of_a_huge_transaction_come_with_its_last_part() -> None:
    unreadable = LogRows(UnreadableTable("t", "It was altered.", None), 0, b"")
    huge = committed("huge", 20, unreadable, event(inserted(*range(6)), table="other"))
    *parts, _ = read(huge, idle(30), by=reader(batch=2, huge=3))
    assert [len(part.lost) for part in parts] == [0, 0, 1]


def test_closing_ends_the_reading_of_a_transaction() -> None:
    closed = replace(reader(), closed=lambda: True)

    def items() -> Iterator[Item]:
        yield committed("1", 10, event(inserted(1)))

    with pytest.raises(SourceUnavailable):
        list(closed.read(items()))
