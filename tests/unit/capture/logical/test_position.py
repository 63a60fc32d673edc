"""What the outbox keeps of a source that reads PostgreSQL's log."""

from __future__ import annotations

import pytest

from cdc.capture.base import Reread
from cdc.capture.logical.position import HugePart, LogicalPosition
from cdc.database.postgres_capture import Identity, SlotMemory, lsn_number, lsn_text, slot_name
from cdc.model.change import Position
from cdc.model.errors import SourceError


def test_a_position_comes_back_as_it_was() -> None:
    rereads = (Reread("t", "1.2", {"id": 7}, 3),)
    position = LogicalPosition(2**63 + 1, "77", ("v",), huge=HugePart("1.2", 4, ("t", "u")), rereads=rereads)
    assert LogicalPosition.load(position.dump()) == position
    assert LogicalPosition.load(LogicalPosition(0, "").dump()) == LogicalPosition(0, "")


@pytest.mark.parametrize("text", ["", "{}", '{"done":[],"huge":null,"rereads":[]}', "[1]", '{"lsn":"x"}'])
def test_positions_of_others_are_refused(text: str) -> None:
    with pytest.raises(SourceError, match="moving between sources"):
        LogicalPosition.load(Position(text))


def test_places_in_the_log() -> None:
    assert lsn_text(0x16_B374_D848) == "16/B374D848"
    assert lsn_number("16/B374D848") == 0x16_B374_D848
    assert [lsn_number(lsn_text(number)) for number in (0, 1, 2**64 - 1)] == [0, 1, 2**64 - 1]
    with pytest.raises(ValueError, match="nonsense"):
        lsn_number("nonsense")


def test_slots_of_different_databases_have_different_names() -> None:
    names = ["fs", "FS", "fs-1", "fs_1", "fs.1", "ñ", "x" * 63, "x" * 62 + "y"]
    slots = [slot_name(name) for name in names]
    assert slots[0] == "cdc_fs"
    assert len(set(slots)) == len(names)
    assert all(len(slot) <= 63 and slot.replace("_", "").isalnum() and slot.isascii() for slot in slots)


def test_the_memory_of_the_installation() -> None:
    memory = SlotMemory("public", {"a": Identity("d"), "b": Identity("i", "b_idx")})
    assert SlotMemory.load(memory.dump()) == memory
    assert [SlotMemory.load(text) for text in (None, "", "hello", "{}", '{"cdc":99}', "[]")] == [None] * 6
