"""Files of a log that are rotated, purged and begun by restarts: each position names the file and its own beginning."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.capture.binlog.item import Item, LogTransaction
from cdc.capture.binlog.layout import UnreadableTable
from cdc.capture.binlog.log_position import FILE_START, LogPosition
from cdc.capture.binlog.stream import file_begun, read_log
from cdc.database.mysql_connection import Flavour
from cdc.model.errors import SourceUnavailable
from support.log_stream import LogFiles
from support.selection import examples

both = pytest.mark.parametrize("flavour", Flavour)
thorough = settings(max_examples=examples(150))
OURS = UnreadableTable("ours", "", None)


@st.composite
def logs(draw: st.DrawFn, flavour: Flavour) -> LogFiles:
    """Files may be begun in the same second, and be as short as files can be."""
    now = 1_700_000_000
    log = LogFiles(flavour, now)
    for act in draw(st.lists(st.sampled_from(["commit", "rotate", "stop", "kill", "purge"]), max_size=12)):
        now += draw(st.integers(0, 2))
        match act:
            case "commit":
                log.commit()
            case "rotate":
                log.rotate(now)
            case "purge":
                log.purge()
            case _:
                log.restart(now, killed=act == "kill")
    return log


@st.composite
def cut(draw: st.DrawFn, sent: bytes) -> list[bytes]:
    """Chunks as a socket gives them: all at once, or cut anywhere."""
    cuts = sorted(draw(st.sets(st.integers(0, len(sent)), max_size=8)))
    return [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


def items(chunks: list[bytes], start: LogPosition, flavour: Flavour) -> Iterator[Item]:
    return read_log(chunks, lambda _: OURS, start, flavour, server="me")


def value(item: Item) -> list[int]:
    if not isinstance(item, LogTransaction):
        return []
    return [int.from_bytes(each.body[-4:], "little") for each in item.rows]


@both
@thorough
@given(data=st.data())
def test_file_says_when_it_was_begun_however_its_log_is_cut(flavour: Flavour, data: st.DataObject) -> None:
    log = data.draw(logs(flavour))
    for name, file in log.files.items():
        assert file_begun(data.draw(cut(log.sent(name))), name, flavour) == file.begun


@both
@thorough
@given(data=st.data(), by_gtids=st.booleans())
def test_position_is_in_a_file_of_the_log_and_continues_it(
    flavour: Flavour, data: st.DataObject, by_gtids: bool
) -> None:
    """Each position between two items says when its file was begun, and reading from it gives the rest."""
    log = data.draw(logs(flavour))
    oldest, first = next(iter(log.files.items()))
    rest = list(range(first.before + 1, log.last + 1))
    start = LogPosition(oldest, FILE_START, "", data.draw(st.sampled_from([0, first.begun])))
    for item in items(data.draw(cut(log.sent(oldest))), start, flavour):
        rest = rest[len(value(item)) :]
        position = item.position
        assert log.files[position.file].begun == position.begun
        if by_gtids and position.gtids:
            known = int(position.gtids.rpartition("-")[2].rpartition(":")[2])
            again = items(data.draw(cut(log.sent_after(known))), position, flavour)
        else:
            sent = log.sent(position.file, position.offset)
            again = items(data.draw(cut(sent)), position._replace(gtids=""), flavour)
        assert [number for each in again for number in value(each)] == rest
    assert rest == []


@both
@thorough
@given(data=st.data(), begun=st.integers(1_700_001_000, 1_700_002_000))
def test_log_that_was_reset_is_never_read_on(flavour: Flavour, data: st.DataObject, begun: int) -> None:
    log = data.draw(logs(flavour))
    name, file = data.draw(st.sampled_from(list(log.files.items())))
    position = LogPosition(name, data.draw(st.sampled_from([4, *file.ends.values()])), "", file.begun)
    log.reset(begun)
    while name not in log.files:
        log.rotate(begun)
    while next(reversed(log.files.values())).stream.offset < position.offset:
        log.commit()
    with pytest.raises(SourceUnavailable, match="started again"):
        list(items(data.draw(cut(log.sent(name, position.offset))), position, flavour))
