"""The journal source on a journal in memory: order, whole transactions, resumption, huge transactions, gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.capture.base import JournalLimits
from cdc.capture.journal.database import JournalPage, JournalPosition, JournalRow
from cdc.capture.journal.source import JournalSource
from cdc.capture.pages import PageRequest
from cdc.model.change import Batch, Operation, Position, Row, RowChange
from cdc.model.errors import InstallError, SourceError
from cdc.model.finding import Repaired
from support.memory_journal import MemoryJournal
from support.selection import examples
from support.waiting import HANG_SECONDS

LIMITS = JournalLimits(batch=6, huge=10, heads=4, idle=0, reread_pause=timedelta(0))


async def repaired(tables: Sequence[str]) -> Repaired:
    return Repaired()


def source(journal: MemoryJournal, limits: JournalLimits = LIMITS) -> JournalSource:
    return JournalSource("main", journal, repaired, limits)


def item(number: int, value: int) -> Row:
    return {"id": number, "value": value}


async def next_batch(batches: AsyncIterator[Batch]) -> Batch:
    async with asyncio.timeout(HANG_SECONDS):
        return await anext(batches)


def waits(journal: MemoryJournal, position: Position | None) -> bool:
    """Whether there is anything to read behind the position; what it covers is deleted when reading begins."""
    return not {row.token for row in journal.visible} <= set(JournalPosition.load(position).done)


async def drain(journal: MemoryJournal, position: Position | None = None) -> tuple[list[Batch], Position | None]:
    """Everything that is visible, each batch acknowledged."""
    reader = source(journal)
    await reader.open(position)
    batches = reader.batches()
    seen = []
    while journal.visible:
        batch = await next_batch(batches)
        seen.append(batch)
        position = batch.position
        await reader.acknowledge(position)
    return seen, position


def inserts(journal: MemoryJournal, token: str, numbers: range) -> list[JournalRow]:
    return [journal.write(token, Operation.CREATE, None, item(number, 0)) for number in numbers]


async def test_transactions_are_whole_and_ordered_by_their_latest_change() -> None:
    journal = MemoryJournal()
    long_first = journal.write("long", Operation.CREATE, None, item(1, 0))
    short = journal.write("short", Operation.CREATE, None, item(2, 0))
    long_last = journal.write("long", Operation.UPDATE, item(2, 0), item(2, 1))
    journal.commit([short])
    journal.commit([long_first, long_last])

    (batch,), _ = await drain(journal)

    assert [(each.token, len(each.changes)) for each in batch.transactions] == [("short", 1), ("long", 2)]


async def test_a_transaction_that_commits_late_is_not_skipped() -> None:
    journal = MemoryJournal()
    late = journal.write("late", Operation.CREATE, None, item(1, 0))
    journal.commit([journal.write("early", Operation.CREATE, None, item(2, 0))])
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    first = await next_batch(batches)
    await reader.acknowledge(first.position)
    journal.commit([late])
    second = await next_batch(batches)
    assert [each.token for batch in (first, second) for each in batch.transactions] == ["early", "late"]


async def test_what_the_position_covers_is_not_yielded_again_though_it_was_not_acknowledged() -> None:
    journal = MemoryJournal()
    journal.commit(inserts(journal, "a", range(2)))
    reader = source(journal)
    await reader.open(None)
    stored = await next_batch(reader.batches())
    journal.commit(inserts(journal, "b", range(2, 4)))

    batches, _ = await drain(journal, stored.position)

    assert [each.token for batch in batches for each in batch.transactions] == ["b"]


async def test_a_huge_transaction_comes_in_parts_of_whole_records_within_the_limit() -> None:
    journal = MemoryJournal()
    rows = inserts(journal, "huge", range(20))
    rows += [journal.write("huge", Operation.UPDATE, item(n, 0), item(n, 1)) for n in range(19, -1, -1)]
    journal.commit(rows)

    batches, _ = await drain(journal)

    parts = [batch.transactions[0] for batch in batches]
    assert len(parts) > 1
    assert {part.token for part in parts} == {"huge"}
    records = [{change.key["id"] for change in part.changes} for part in parts]
    assert sum(len(each) for each in records) == len(set().union(*records)) == 20
    assert all([c.operation for c in part.changes].count(Operation.CREATE) * 2 == len(part.changes) for part in parts)
    assert journal.most_rows <= LIMITS.batch + 1


async def test_a_renamed_record_stays_whole_within_a_huge_transaction() -> None:
    journal = MemoryJournal()
    rows = inserts(journal, "huge", range(1))
    rows.append(journal.write("huge", Operation.UPDATE, item(0, 0), item(100, 0)))
    rows += inserts(journal, "huge", range(1, 20))
    rows.append(journal.write("huge", Operation.UPDATE, item(100, 0), item(100, 7)))
    journal.commit(rows)

    batches, _ = await drain(journal)

    first = batches[0].transactions[0].changes
    assert [change.key["id"] for change in first if change.key["id"] in (0, 100)] == [0, 100, 100]


async def test_a_huge_transaction_resumes_behind_the_stored_parts() -> None:
    journal = MemoryJournal()
    journal.commit(inserts(journal, "huge", range(40)))
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    stored = [await next_batch(batches)]
    await reader.acknowledge(stored[0].position)
    stored.append(await next_batch(batches))
    assert len(journal.visible) == 40  # nothing is forgotten before the last part

    rest, _ = await drain(journal, stored[1].position)

    keys = [change.key["id"] for batch in [*stored, *rest] for change in batch.transactions[0].changes]
    assert keys == list(range(40))


async def test_a_gap_is_told_repaired_and_its_table_read_again() -> None:
    journal = MemoryJournal(table_rows=[item(number, 5) for number in range(8)])
    repairs: list[Sequence[str]] = []

    async def repair(tables: Sequence[str]) -> Repaired:
        repairs.append(tables)
        return Repaired()

    journal.commit([journal.gap("t"), journal.write("t", Operation.CREATE, None, item(1, 0))])
    reader = JournalSource("main", journal, repair, LIMITS)
    await reader.open(None)
    batches = reader.batches()
    found = await next_batch(batches)
    await reader.acknowledge(found.position)

    assert repairs == [["item"]]
    assert [gap.table for gap in found.gaps] == ["item"]
    assert len(found.transactions[0].changes) == 1
    assert await reread_keys(reader, batches, 2) == list(range(8))


async def test_a_change_whose_key_column_was_renamed_is_a_gap_and_its_table_read_again() -> None:
    journal = MemoryJournal(table_rows=[item(1, 5)])
    old = journal.write("t", Operation.UPDATE, {"former_id": 1, "value": 4}, {"former_id": 1, "value": 5})
    journal.commit([old, journal.write("t", Operation.CREATE, None, item(2, 0))])
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    found = await next_batch(batches)
    await reader.acknowledge(found.position)
    assert [gap.table for gap in found.gaps] == ["item"]
    assert [change.key for change in found.transactions[0].changes] == [{"id": 2}]
    assert await reread_keys(reader, batches, 1) == [1]


async def test_a_key_in_a_gap_is_a_deletion_only_if_the_record_is_gone() -> None:
    """A REPLACE within a gap deletes a record that exists afterwards; foreign keys delete one by several paths."""
    journal = MemoryJournal(table_rows=[item(1, 5)])
    deletions = [journal.write(f"t{n}", Operation.DELETE, {"id": key}, None) for n, key in enumerate((1, 2, 2))]
    journal.commit([row._replace(gap=True) for row in deletions])
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    found = await next_batch(batches)
    await reader.acknowledge(found.position)
    assert [change.key for each in found.transactions for change in each.changes] == [{"id": 2}]
    assert [gap.table for gap in found.gaps] == ["item"] * 3
    assert await reread_keys(reader, batches, 1) == [1]


async def test_a_gap_of_a_table_that_is_gone_is_told_and_does_not_stop_the_rest() -> None:
    journal = MemoryJournal()
    gap = journal.gap("t")
    gone = gap._replace(change=gap.change._replace(table="plugin"))
    journal.commit([gone, journal.write("u", Operation.CREATE, None, item(2, 0))])
    with structlog.testing.capture_logs() as logs:
        batches, position = await drain(journal)
    assert [each.token for batch in batches for each in batch.transactions] == ["u"]
    assert [line["table"] for line in logs if line["event"] == "lost"] == ["plugin"]
    assert position is not None
    assert JournalPosition.load(position).rereads == ()


async def test_a_reread_resumes_after_a_restart() -> None:
    journal = MemoryJournal(table_rows=[item(number, 5) for number in range(14)])
    journal.commit([journal.gap("t")])
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    await reader.acknowledge((await next_batch(batches)).position)
    page = await next_batch(batches)

    again = source(journal)
    await again.open(page.position)

    assert await reread_keys(again, again.batches(), 2) == list(range(6, 14))


async def test_a_table_is_read_again_although_the_repair_is_not_allowed() -> None:
    async def forbidden(tables: Sequence[str]) -> None:
        raise InstallError("no privilege")

    journal = MemoryJournal(table_rows=[item(1, 5)])
    journal.commit([journal.gap("t")])
    reader = JournalSource("main", journal, forbidden, LIMITS)
    await reader.open(None)
    batches = reader.batches()
    await reader.acknowledge((await next_batch(batches)).position)
    assert await reread_keys(reader, batches, 1) == [1]


class CommitsMeanwhile(MemoryJournal):
    """Two transactions commit just before a page is read: the page shows them, and they wait in the journal."""

    async def page(self, wanted: PageRequest, most: int) -> JournalPage | None:
        if not self.visible:
            for value in (6, 7):
                self.commit([self.write(f"w{value}", Operation.UPDATE, item(1, value - 1), item(1, value))])
            self.table_rows = [item(1, 7), item(2, 5)]
        return await super().page(wanted, most)


async def test_what_waits_in_the_snapshot_of_a_page_is_told_before_the_page() -> None:
    journal = CommitsMeanwhile(table_rows=[item(1, 5), item(2, 5)])
    journal.commit([journal.gap("t")])
    reader = source(journal)
    await reader.open(None)
    batches = reader.batches()
    told = []
    for _ in range(3):
        batch = await next_batch(batches)
        await reader.acknowledge(batch.position)
        told += [(change.operation, change.after) for each in batch.transactions for change in each.changes]
    changed = [(Operation.UPDATE, item(1, 6)), (Operation.UPDATE, item(1, 7))]
    assert told == [*changed, (Operation.READ, item(1, 7)), (Operation.READ, item(2, 5))]


async def reread_keys(reader: JournalSource, batches: AsyncIterator[Batch], pages: int) -> list[object]:
    keys: list[object] = []
    for _ in range(pages):
        batch = await next_batch(batches)
        await reader.acknowledge(batch.position)
        for change in batch.transactions[0].changes:
            assert change.operation is Operation.READ
            keys.append(change.key["id"])
    return keys


async def test_a_second_consumer_waits_until_the_first_is_gone() -> None:
    journal = MemoryJournal(locked_by_other=True)
    standby = source(journal)
    opening = asyncio.create_task(standby.open(None))
    await asyncio.sleep(0)
    assert not opening.done()
    journal.locked_by_other = False
    journal.changed.set()
    async with asyncio.timeout(HANG_SECONDS):
        await opening


async def test_a_position_of_another_kind_of_source_is_refused() -> None:
    with pytest.raises(SourceError, match="not written by a trigger source"):
        await source(MemoryJournal()).open(Position("0-1-55"))


# -- property: any interleaving, any commit order that row locks allow, any crash -------------------------------------

#: Per transaction: the records that it changes, one after another.
TRANSACTIONS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=16), min_size=1, max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(TRANSACTIONS, st.randoms(use_true_random=False))
def test_nothing_is_lost_doubled_or_reordered(work: list[list[int]], random: object) -> None:
    asyncio.run(_check(work, random))


async def _check(work: list[list[int]], random: object) -> None:
    journal = MemoryJournal()
    expected: dict[int, list[int]] = {}
    position: Position | None = None
    seen: list[RowChange] = []
    choose = random.random  # type: ignore[attr-defined]  # hypothesis' Random
    for committed in _committed(journal, work, random, expected):
        journal.commit(committed)
        if choose() < 0.5:
            position = await _read_some(journal, position, choose, seen)
    while waits(journal, position):
        position = await _read_some(journal, position, choose, seen)
    found: dict[int, list[int]] = {}
    for change in seen:
        assert change.after is not None
        found.setdefault(int(str(change.key["id"])), []).append(int(str(change.after["value"])))
    assert found == expected


def _committed(
    journal: MemoryJournal, work: list[list[int]], random: object, expected: dict[int, list[int]]
) -> list[list[JournalRow]]:
    """The rows of each transaction in commit order, from an interleaving in which row locks are held until commit."""
    pending = [(f"t{number}", list(records)) for number, records in enumerate(work)]
    rows: dict[str, list[JournalRow]] = {token: [] for token, _ in pending}
    locks: dict[int, str] = {}
    commits: list[list[JournalRow]] = []
    while pending:
        able = [each for each in pending if locks.get(each[1][0], each[0]) == each[0]]
        if not able:  # a deadlock: the database would roll one back
            victim = pending.pop()
            locks = {record: token for record, token in locks.items() if token != victim[0]}
            continue
        token, records = random.choice(able)  # type: ignore[attr-defined]  # hypothesis' Random
        record = records.pop(0)
        locks[record] = token
        row = journal.write(token, Operation.UPDATE, item(record, 0), item(record, journal._order))
        rows[token].append(row)
        if not records:
            pending = [each for each in pending if each[0] != token]
            locks = {record: owner for record, owner in locks.items() if owner != token}
            commits.append(rows[token])
            for each in rows[token]:
                after = each.change.after
                assert after is not None
                expected.setdefault(int(str(after["id"])), []).append(int(str(after["value"])))
    return commits


async def _read_some(
    journal: MemoryJournal, position: Position | None, choose: object, seen: list[RowChange]
) -> Position | None:
    """Open at the stored position, read a few batches, and die before or after an acknowledgement."""
    reader = source(journal)
    await reader.open(position)
    batches = reader.batches()
    for _ in range(3):
        if not waits(journal, position):
            break
        batch = await next_batch(batches)
        seen.extend(change for transaction in batch.transactions for change in transaction.changes)
        position = batch.position
        if choose() < 0.3:  # type: ignore[operator]  # stored, but the acknowledgement never came
            break
        await reader.acknowledge(position)
    return position
