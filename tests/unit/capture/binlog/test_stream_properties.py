"""A stream means the same however it is cut, and nothing in it can do harm."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc.capture.binlog.event import TableMap
from cdc.capture.binlog.item import Idle, Item, LogTransaction
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import LogPosition
from cdc.capture.binlog.stream import read_log
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import SourceError
from support.log_stream import LogStream, query
from support.selection import examples

START = LogPosition("binlog.000001", 4, "")
RECORDED = {each: (Path(__file__).parents[3] / f"golden/binlog/{each}.bin").read_bytes() for each in Flavour}
slow = settings(deadline=None, max_examples=examples(200), suppress_health_check=[HealthCheck.data_too_large])
both = pytest.mark.parametrize("flavour", Flavour)


def layout(table: TableMap) -> UnreadableTable:
    return UnreadableTable(f"{table.database}.{table.table}", "", None)


def read(chunks: list[bytes], flavour: Flavour) -> list[Item]:
    """Without the pauses, which are where the chunks end.  Rows become lists, which can be compared."""
    items = read_log(chunks, layout, START, flavour, server="me")
    return [
        item._replace(rows=list(item.rows)) if isinstance(item, LogTransaction) else item
        for item in items
        if not isinstance(item, Idle)
    ]


@both
@slow
@given(data=st.data())
def test_it_does_not_matter_where_the_stream_is_cut(flavour: Flavour, data: st.DataObject) -> None:
    stream = RECORDED[flavour]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=40)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(chunks, flavour) == read([stream], flavour)


@both
def test_byte_by_byte(flavour: Flavour) -> None:
    stream = RECORDED[flavour]
    assert read([stream[at : at + 1] for at in range(len(stream))], flavour) == read([stream], flavour)


@both
@slow
@given(data=st.data())
def test_changed_bytes_give_items_or_one_of_our_errors(flavour: Flavour, data: st.DataObject) -> None:
    stream = bytearray(RECORDED[flavour])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with suppress(SourceError):
        read([bytes(stream)], flavour)


@both
@slow
@given(seed=st.integers(0, 2**32))
def test_changed_bytes_without_checksums(flavour: Flavour, seed: int) -> None:
    """No checksum keeps them from the parsers here.  Lengths stay right, so that the change is in an event."""
    chance = random.Random(seed)
    log = LogStream(flavour, checksums=False)
    recorded = RECORDED[flavour]
    at = 0
    while at < len(recorded) - 9:
        end = at + 4 + int.from_bytes(recorded[at : at + 3], "little")
        kind, body = recorded[at + 9], bytearray(recorded[at + 24 : end - 4])
        if body and chance.random() < 0.15:
            body[chance.randrange(len(body))] = chance.randrange(256)
        if body and chance.random() < 0.02:
            del body[chance.randrange(len(body)) :]
        if kind not in (4, 15):
            log.event(kind, bytes(body))
        at = end
    with suppress(SourceError):
        read([log.bytes], flavour)


@both
@slow
@given(body=st.binary(max_size=300), kind=st.integers(0, 255))
def test_any_body_of_any_event(flavour: Flavour, body: bytes, kind: int) -> None:
    log = LogStream(flavour, checksums=False)
    log.begin()
    log.change("a", 1)
    log.event(kind, body)
    log.commit()
    with suppress(SourceError):
        read([log.bytes], flavour)


@st.composite
def logs(draw: st.DrawFn, flavour: Flavour) -> tuple[LogStream, list[list[int]]]:
    """A log, and the values that its transactions changed, in order."""
    log = LogStream(flavour, checksums=draw(st.booleans()))
    expected = []
    for number in range(1, draw(st.integers(1, 12))):
        log.begin(number=number)
        changes: list[int] = []
        marks: list[tuple[str, int]] = []
        for _ in range(draw(st.integers(0, 8))):
            match draw(st.sampled_from(["rows", "rows", "others", "savepoint", "undo"])):
                case "rows":
                    changes += values if (values := draw(st.lists(st.integers(0, 9), min_size=1))) else []
                    log.change("ours", *values)
                case "others":
                    log.change("theirs", 1, table_id=9)
                case "savepoint":
                    name = draw(st.sampled_from("abc"))
                    marks = [mark for mark in marks if mark[0] != name] + [(name, len(changes))]
                    log.event(2, query(f"SAVEPOINT `{name}`".encode()))
                case _ if marks:
                    keep = draw(st.integers(0, len(marks) - 1))
                    del marks[keep + 1 :]
                    del changes[marks[keep][1] :]
                    log.event(2, query(f"ROLLBACK TO `{marks[keep][0]}`".encode()))
        if draw(st.integers(0, 4)):
            expected += [changes] if changes else []
            log.commit()
        elif draw(st.booleans()):
            log.event(2, query(b"ROLLBACK"))
    return log, expected


@both
@slow
@given(data=st.data(), spill=st.sampled_from([0, 20, 1 << 20]))
def test_what_was_committed_comes_in_order(flavour: Flavour, data: st.DataObject, spill: int) -> None:
    log, expected = data.draw(logs(flavour))
    start = LogPosition("log.000001", 4, "")
    items = read_log(
        [log.bytes], lambda table: layout(table) if table.table == "ours" else None, start, flavour, spill_bytes=spill
    )
    found = []
    for item in items:
        if isinstance(item, LogTransaction):
            bodies = b"".join(each.body[10:] for each in item.rows)
            found.append([int.from_bytes(bodies[at + 1 : at + 5], "little") for at in range(0, len(bodies), 5)])
    assert found == expected
