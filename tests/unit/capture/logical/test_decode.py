"""Bytes of pgoutput → messages; any other bytes → one error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.capture.logical.transaction import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    RelationColumn,
    RelationMessage,
    Truncate,
    Update,
    decode,
)
from cdc.model.errors import MalformedEvent
from support import pgoutput

EXAMPLES = {
    pgoutput.begin(0x154A990, 731, 813_456_000_123_456): Begin(
        0x154A990, datetime(2025, 10, 11, 0, 0, 0, 123456, tzinfo=UTC), 731
    ),
    pgoutput.commit(1, 2): Commit(1, 2),
    pgoutput.relation(16384, "t", [("id", 23), ("ñ", 25)]): RelationMessage(
        16384, "public", "t", (RelationColumn("id", 23), RelationColumn("ñ", 25))
    ),
    pgoutput.relation(1, "pg_x", [], schema=""): RelationMessage(1, "pg_catalog", "pg_x", ()),
    pgoutput.insert(1, "1", None, "", "é"): Insert(1, ["1", None, "", "é"]),
    pgoutput.update(1, None, ["1", UNCHANGED]): Update(1, None, False, ["1", UNCHANGED]),
    pgoutput.update(1, ["1", "long"], ["2", UNCHANGED]): Update(1, ["1", "long"], False, ["2", UNCHANGED]),
    pgoutput.update(1, ["1", None], ["2", "x"], kind=b"K"): Update(1, ["1", None], True, ["2", "x"]),
    pgoutput.delete(1, "1"): Delete(1, ["1"], False),
    pgoutput.delete(1, "1", kind=b"K"): Delete(1, ["1"], True),
    pgoutput.truncate(1, 2): Truncate((1, 2)),
}


@pytest.mark.parametrize("data", EXAMPLES)
def test_messages(data: bytes) -> None:
    assert decode(data) == EXAMPLES[data]


def test_as_a_server_wrote_them() -> None:
    """Captured from PostgreSQL 15."""
    assert decode(b"B\x00\x00\x00\x00\x01TPX\x00\x03\x04\x0f\xc2\xfe\xd8\xbb\x00\x00\x02\xd8") == Begin(
        0x1545058, datetime(2026, 11, 25, 2, 57, 52, 634043, tzinfo=UTC), 728
    )
    assert decode(b"I\x00\x00@\x00N\x00\x02t\x00\x00\x00\x011t\x00\x00\x00\x01x") == Insert(16384, ["1", "x"])


@pytest.mark.parametrize("data", [b"Y\0\0\0\1public\0mood\0", b"O\0\0\0\0\0\0\0\1x\0", b"M..."])
def test_what_changes_no_row(data: bytes) -> None:
    assert decode(data) is None


@pytest.mark.parametrize("data", EXAMPLES)
def test_cut_or_longer_messages_are_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(MalformedEvent):
            decode(data[:end])
    with pytest.raises(MalformedEvent):
        decode(data + b"\0")


@given(st.binary(max_size=80), st.sampled_from([b"", *(bytes([kind]) for kind in b"BCRIUDTYOM")]))
def test_any_bytes(data: bytes, kind: bytes) -> None:
    try:
        decode(kind + data)
    except MalformedEvent:
        return


@given(st.sampled_from(list(EXAMPLES)), st.data())
def test_any_damage(message: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(message) - 1))
    damaged = message[:place] + bytes([data.draw(st.integers(0, 255))]) + message[place + 1 :]
    try:
        decode(damaged)
    except MalformedEvent:
        return
