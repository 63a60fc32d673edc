"""Rows of a transaction, in memory and on disk."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.binlog.item import LogRows, SpilledRows, TransactionRows
from cdc.capture.binlog.layout import UnreadableTable
from cdc.model.errors import SourceUnavailable

LAYOUTS = [UnreadableTable(name, "", None) for name in "abc"]
numbers = st.integers(0, 2**32 - 1)
rows = st.builds(LogRows, st.sampled_from(LAYOUTS), st.integers(0, 255), st.binary(max_size=40), numbers)
steps = st.one_of(rows, st.tuples(st.sampled_from(["set", "undo"]), st.sampled_from([b"`x`", b"`y`"])))


@given(st.lists(steps, max_size=40), st.integers(0, 200))
def test_the_same_rows_come_back_wherever_they_were(work: list[LogRows | tuple[str, bytes]], limit: int) -> None:
    kept, expected = TransactionRows(limit), list[LogRows]()
    marks: list[tuple[bytes, int]] = []
    for step in work:
        if isinstance(step, LogRows):
            kept.add(step)
            expected.append(step)
        elif step[0] == "set":
            kept.savepoint(step[1])
            marks.append((step[1], len(expected)))
        elif any(name == step[1] for name, _ in marks):
            kept.roll_back_to(step[1])
            while marks[-1][0] != step[1]:
                marks.pop()
            del expected[marks[-1][1] :]
    taken = kept.taken()
    assert list(taken) == expected
    assert list(taken) == expected
    assert len(taken) == len(kept) == len(expected)
    assert all(each in taken for each in expected)
    assert LogRows(LAYOUTS[0], 300, b"") not in taken


def test_two_readers_of_a_file_do_not_disturb_each_other() -> None:
    kept = TransactionRows(0)
    for number in range(10):
        kept.add(LogRows(LAYOUTS[0], 23, bytes([number])))
    taken = kept.taken()
    assert isinstance(taken, SpilledRows)
    assert [(one.body, two.body) for one, two in zip(taken, taken, strict=True)] == [
        (bytes([n]),) * 2 for n in range(10)
    ]


def test_the_file_goes_with_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = tempfile.TemporaryFile

    def remembering(**options: object) -> object:
        opened.append(real(**options))  # type: ignore[call-overload] - passed on as they came
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", remembering)
    kept = TransactionRows(0)
    kept.add(LogRows(LAYOUTS[0], 23, b"x"))
    taken = kept.taken()
    del kept
    assert len(taken) == 1
    assert not opened[0].closed
    del taken
    gc.collect()
    assert opened[0].closed


def test_a_full_disk_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, which is a disk without room")
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        kept = TransactionRows(3)
        kept.add(LogRows(LAYOUTS[0], 23, b"abc"))
        with pytest.raises(SourceUnavailable, match="No space left") as caught:
            kept.add(LogRows(LAYOUTS[0], 23, b"d"))
    assert "TMPDIR" in caught.value.hint
