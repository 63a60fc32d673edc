"""Messages of a slot → whole transactions of row changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cdc.capture.logical.transaction import (
    UNCHANGED,
    Assembler,
    Message,
    Names,
    Parent,
    RelationMessage,
    SlotLayout,
    SlotTransaction,
    decode,
    layout_of,
)
from cdc.database.postgres_types import type_of
from cdc.model.change import Operation, RowChange
from cdc.model.column import Column, ColumnKind, Table
from cdc.model.errors import MalformedEvent
from support.pgoutput import BOOL, FLOAT8, INT4, TEXT, begin, commit, delete, insert, relation, truncate, update

TYPES = {INT4: type_of("int4", "N"), TEXT: type_of("text", "S"), BOOL: type_of("bool", "B")}
TYPES[FLOAT8] = type_of("float8", "N")
USERS = relation(1, "users", [("id", INT4), ("pin", TEXT), ("level", FLOAT8), ("note", TEXT)])
OTHER = relation(2, "other", [("id", INT4)])
NAMES = Names(TYPES, lambda: UTC)
TIME = datetime(2000, 1, 1, tzinfo=UTC)


async def _layouts(found: RelationMessage) -> SlotLayout | None:
    if found.table == "other":
        return None
    return layout_of(found, ("id",), frozenset({"pin"}), NAMES)


def assembler(huge: int = 100, seen: int = 0) -> Assembler:
    return Assembler(_layouts, huge, seen)


async def fed(into: Assembler, *messages: bytes) -> list[SlotTransaction]:
    done = []
    for data in messages:
        message: Message | None = decode(data)
        assert message is not None
        committed = await into.add(message, len(data))
        if committed is not None:
            done.append(committed)
    return done


async def test_a_transaction() -> None:
    messages = (
        begin(100),
        USERS,
        insert(1, "1", "1234", "2", None),
        OTHER,
        insert(2, "9"),
        update(1, ["1", "1234", "2", "long"], ["1", "99", "3", UNCHANGED]),
        update(1, ["1", "99", "3", "long"], ["1", "99", "3", UNCHANGED]),
        update(1, ["1", "99", "3", None], ["2", "99", "3", None]),
        delete(1, "2", "99", "3", None),
        truncate(2, 1),
        commit(100, 140),
    )
    (done,) = await fed(assembler(), *messages)
    assert (done.token, done.end, done.time, done.gaps) == ("7.100", 140, TIME, {})
    first, last = {"id": 1, "level": 2.0, "note": "long"}, {"id": 1, "level": 3.0, "note": "long"}
    assert done.changes == [
        RowChange(Operation.CREATE, "users", {"id": 1}, None, {"id": 1, "level": 2.0, "note": None}, TIME, 0),
        RowChange(Operation.UPDATE, "users", {"id": 1}, first, last, TIME, 2, frozenset({"pin"})),
        RowChange(
            Operation.UPDATE, "users", {"id": 2}, {**last, "note": None}, {"id": 2, "level": 3.0, "note": None}, TIME, 4
        ),
        RowChange(Operation.DELETE, "users", {"id": 2}, {"id": 2, "level": 3.0, "note": None}, None, TIME, 5),
        RowChange(Operation.TRUNCATE, "users", {}, None, None, TIME, 7),
    ]


async def test_rows_that_the_log_does_not_hold_whole_are_gaps() -> None:
    messages = (
        begin(100),
        USERS,
        update(1, None, ["1", "1", "2", None]),
        update(1, ["1", None, None, None], ["2", "1", "2", None], kind=b"K"),
        update(1, ["1", "1", "2", UNCHANGED], ["1", "1", "3", UNCHANGED]),
        insert(1, "1", "1", "2", UNCHANGED),
        delete(1, "5", None, None, None, kind=b"K"),
        delete(1, None, None, None, None, kind=b"K"),
        commit(100, 140),
    )
    (done,) = await fed(assembler(), *messages)
    assert {table: gap.operation for table, gap in done.gaps.items()} == {"users": Operation.UPDATE}
    # of a deleted row the key is known, and that is told
    assert done.changes == [RowChange(Operation.DELETE, "users", {"id": 5}, {"id": 5}, None, TIME, 4)]


async def test_a_table_whose_key_is_not_known_is_a_gap() -> None:
    async def layouts(found: RelationMessage) -> SlotLayout | None:
        return layout_of(found, ("number",), frozenset(), NAMES)

    messages = (
        begin(1),
        USERS,
        insert(1, "1", "p", "2", None),
        delete(1, "1", None, None, None, kind=b"K"),
        commit(1, 2),
    )
    (done,) = await fed(Assembler(layouts, 100, 0), *messages)
    assert (done.changes, list(done.gaps)) == ([], ["users"])


async def test_a_table_looks_as_it_was_last_told() -> None:
    after = relation(1, "users", [("id", INT4), ("note", TEXT), ("fresh", BOOL)])
    messages = (begin(1), USERS, insert(1, "1", "p", "2", "n"), after, insert(1, "2", "n", "t"), commit(1, 2))
    (done,) = await fed(assembler(), *messages)
    assert [change.after for change in done.changes] == [
        {"id": 1, "level": 2.0, "note": "n"},
        {"id": 2, "note": "n", "fresh": True},
    ]


async def test_a_partition_shows_its_columns_in_the_order_of_its_table() -> None:
    columns = tuple(Column(name, ColumnKind.TEXT) for name in ("note", "level", "id"))
    parent = Parent(Table("people", columns, ("id",)), frozenset({1, 3}))

    async def layouts(found: RelationMessage) -> SlotLayout | None:
        return layout_of(found, ("id",), frozenset({"pin"}), NAMES, parent)

    third = relation(3, "users_3", [("id", INT4)])
    messages = (begin(1), USERS, third, insert(1, "1", "p", "2", "n"), truncate(1), truncate(1, 3), commit(1, 2))
    (done,) = await fed(Assembler(layouts, 100, 0), *messages)
    assert [change.table for change in done.changes] == ["people", "people"]
    assert list((done.changes[0].after or {}).items()) == [("note", "n"), ("level", 2.0), ("id", 1)]
    assert done.changes[1].operation is Operation.TRUNCATE
    assert done.gaps["people"].operation is Operation.TRUNCATE


async def test_what_is_stored_is_passed_over_and_the_rest_keeps_its_numbers() -> None:
    messages = (
        *(begin(100), USERS, insert(1, "1", "p", "2", "n"), commit(100, 140)),
        *(begin(140), insert(1, "2", "p", "2", "n"), commit(140, 180)),
        *(begin(100), USERS, insert(1, "1", "p", "2", "n"), commit(100, 140)),  # a second look begins again
    )
    (done,) = await fed(assembler(seen=140), *messages)
    assert (done.token, done.changes[0].ordinal) == ("7.140", 0)


async def test_a_huge_transaction_is_on_disk() -> None:
    rows = [insert(1, str(number % 50), "p", "2", str(number)) for number in range(120)]
    (done,) = await fed(assembler(huge=100), begin(1), USERS, *rows, commit(1, 2))
    assert (done.changes, done.rows) == ([], 120)
    assert done.spool is not None
    with done.spool as spool:
        parts = list(spool.parts(40))
    assert sorted(change.ordinal for part in parts for change in part.changes) == list(range(120))


async def test_long_rows_are_on_disk_too() -> None:
    rows = [insert(1, str(number), "p", "2", "x" * 1_000_000) for number in range(20)]
    (done,) = await fed(assembler(), begin(1), USERS, *rows, commit(1, 2))
    assert done.spool is not None
    done.spool.close()


@pytest.mark.parametrize(
    "messages",
    [
        (begin(1), begin(2)),
        (commit(1, 2),),
        (USERS, insert(1, "1", "p", "2", "n")),
        (begin(1), insert(1, "1", "p", "2", "n")),
        (begin(1), truncate(3)),
        (begin(1), USERS, insert(1, "1")),
        (begin(1), USERS, update(1, ["1", "p", "2", "n"], ["1"])),
    ],
)
async def test_messages_in_no_order_are_refused(messages: Any) -> None:
    with pytest.raises(MalformedEvent):
        await fed(assembler(), *messages)
