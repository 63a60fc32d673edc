"""The journal knows its outbox: another one, or an older state of it, reads nothing until it is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from cdc.capture.base import JournalLimits
from cdc.capture.journal.database import MOVED, JournalPosition, Marker
from cdc.capture.journal.source import JournalSource
from cdc.model.change import Batch, Operation, Position
from cdc.model.errors import OutboxOutdated
from support.memory_journal import MemoryJournal
from support.waiting import HANG_SECONDS


async def repaired(tables: Sequence[str]) -> None: ...


def wrote(journal: MemoryJournal, *tokens: str) -> None:
    for token in tokens:
        journal.commit([journal.write(token, Operation.CREATE, None, {"id": int(token), "value": 0})])


async def read(journal: MemoryJournal, position: Position | None, *, reread: bool = False) -> list[Batch]:
    """Everything that is visible, each batch acknowledged."""
    source = JournalSource("main", journal, repaired, JournalLimits(batch=6, idle=0), reread_lost=reread)
    await source.open(position)
    batches, seen = source.batches(), []
    while journal.visible:
        async with asyncio.timeout(HANG_SECONDS):
            seen.append(await anext(batches))
        await source.acknowledge(seen[-1].position)
        await source.acknowledge(seen[-1].position)  # waits for the deletion
    await source.close()
    return seen


def marker_of(batch: Batch) -> Marker:
    return JournalPosition.load(batch.position).marker


async def test_first_outbox_is_noted_with_the_first_deletion() -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    (batch,) = await read(journal, None)
    assert journal.marked == marker_of(batch)
    assert journal.marked.outbox
    wrote(journal, "2")
    (later,) = await read(journal, batch.position)
    assert journal.marked == marker_of(later) == Marker(marker_of(batch).outbox, marker_of(batch).batch + 1)


async def test_outbox_opened_without_reading_is_not_noted() -> None:
    journal = MemoryJournal()
    await read(journal, None)
    assert journal.marked == Marker()


async def test_position_of_an_earlier_version_is_noted_once_its_successor_is_stored() -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    source = JournalSource("main", journal, repaired)
    await source.open(Position('{"done":["1"],"huge":null,"rereads":[]}'))
    wrote(journal, "2")
    assert [each.token for each in (await anext(source.batches())).transactions] == ["2"]
    assert journal.marked == Marker(), "the outbox does not hold the name yet"


async def test_stored_batch_that_was_not_acknowledged_is_no_reason_to_stop() -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    (first,) = await read(journal, None)
    wrote(journal, "2")
    source = JournalSource("main", journal, repaired)
    await source.open(first.position)
    stored = await anext(source.batches())
    await source.close()  # killed before the acknowledgement
    await source.open(stored.position)
    wrote(journal, "3")
    assert [each.token for each in (await anext(source.batches())).transactions] == ["3"]
    assert journal.marked == marker_of(stored)


@pytest.mark.parametrize("outbox", ["empty", "older", "another", "of 0.1.0"])
async def test_outdated_outbox_deletes_nothing(outbox: str) -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    (older,) = await read(journal, None)
    wrote(journal, "2")
    await read(journal, older.position)
    wrote(journal, "3")
    positions = {
        "empty": None,
        "older": older.position,
        "another": JournalPosition(("2",), marker=Marker("another", 99)).dump(),
        "of 0.1.0": Position('{"done":["3"],"huge":null,"rereads":[]}'),
    }
    with pytest.raises(OutboxOutdated, match="cdc source adopt main"):
        await read(journal, positions[outbox])
    assert len(journal.visible) == 1


async def test_database_restored_from_an_older_copy_is_read_again() -> None:
    """Whatever its journal holds again: the events of it have the ids of before."""
    journal = MemoryJournal(table_rows=[{"id": 1, "value": 0}])
    wrote(journal, "1")
    (first,) = await read(journal, None)
    copy = journal.marked
    wrote(journal, "2")
    (second,) = await read(journal, first.position)
    wrote(journal, "3")
    (third,) = await read(journal, second.position)
    journal.marked = copy
    wrote(journal, "4")
    lost, *_, last = await read(journal, third.position)
    assert ([gap.table for gap in lost.gaps], lost.transactions) == (["item"], ())
    assert [each.table for each in JournalPosition.load(lost.position).rereads] == ["item"]
    assert [each.token for each in last.transactions] == ["4"]
    wrote(journal, "5")
    (again,) = await read(journal, last.position)
    assert again.gaps == ()


async def test_outdated_outbox_reads_its_tables_again_where_configured() -> None:
    journal = MemoryJournal(table_rows=[{"id": 1, "value": 0}])
    wrote(journal, "1")
    (first,) = await read(journal, None)
    before = journal.marked
    wrote(journal, "2")
    accepted, *_ = await read(journal, None, reread=True)
    assert ([gap.table for gap in accepted.gaps], accepted.transactions) == (["item"], ())
    found = JournalPosition.load(accepted.position)
    assert ([each.table for each in found.rereads], found.marker) == (["item"], before)
    wrote(journal, "3")
    with pytest.raises(OutboxOutdated):
        await read(journal, first.position)


async def test_position_that_was_moved_from_the_log_takes_over_what_is_noted() -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    (first,) = await read(journal, None)
    wrote(journal, "2")
    moved, batch = await read(journal, JournalPosition(marker=MOVED).dump())
    assert (moved.transactions, marker_of(moved)) == ((), marker_of(first))
    assert journal.marked == marker_of(batch)


async def test_journal_without_a_place_for_the_marker_is_read() -> None:
    journal = MemoryJournal(marked=None)
    wrote(journal, "1")
    await read(journal, None)
    wrote(journal, "2")
    await read(journal, None)
    assert journal.visible == []


@pytest.mark.parametrize("own", ["another outbox", "older state of the same"])
async def test_standby_takes_over_from_another_outbox_but_not_from_a_newer_state_of_its_own(own: str) -> None:
    journal = MemoryJournal()
    wrote(journal, "1")
    (first,) = await read(journal, None)
    wrote(journal, "2")
    await read(journal, first.position)
    journal.locked_by_other = True
    standby = JournalSource("main", journal, repaired, JournalLimits(batch=6, idle=0))
    opening = asyncio.create_task(standby.open(None if own == "another outbox" else first.position))
    while not standby.standby:  # noqa: ASYNC110 - nothing else tells
        await asyncio.sleep(0)
    journal.locked_by_other = False
    journal.changed.set()
    await opening
    if own == "another outbox":
        taken = await anext(standby.batches())
        assert (taken.transactions, marker_of(taken)) == ((), journal.marked)
    else:
        with pytest.raises(OutboxOutdated):
            await anext(standby.batches())
