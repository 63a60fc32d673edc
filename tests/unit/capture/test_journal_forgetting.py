"""What is stored is deleted from the journal while the next rows are read, and a position tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from cdc.capture.base import JournalLimits
from cdc.capture.journal.database import NO_MARKER, JournalPosition, Marker, TransactionHead
from cdc.capture.journal.source import JournalSource
from cdc.model.change import Batch, Operation, Position
from cdc.model.errors import SourceUnavailable
from cdc.model.finding import Repaired
from support.memory_journal import MemoryJournal
from support.waiting import HANG_SECONDS

LIMITS = JournalLimits(batch=2, heads=20, idle=0)


@dataclass
class SlowJournal(MemoryJournal):
    """Deletes when ``may`` is set, or fails with ``failure``; ``asked``: what it was to delete."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    failure: SourceUnavailable | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def delete(self, tokens: Sequence[str], marker: Marker = NO_MARKER) -> None:
        self.asked.append(tuple(tokens))
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        await super().delete(tokens)

    async def heads(self, limit: int) -> list[TransactionHead]:
        assert self.may.is_set() or not self.asked, "looked at while something was being deleted"
        return await super().heads(limit)


def backlog(transactions: int) -> SlowJournal:
    """Of transactions "0", "1", … with two rows each: each is a batch."""
    journal = SlowJournal()
    for token in range(transactions):
        for number in (1, 2):
            journal.commit([journal.write(str(token), Operation.CREATE, None, {"id": number, "value": token})])
    return journal


async def opened(journal: SlowJournal, position: Position | None = None) -> JournalSource:
    async def repaired(_tables: Sequence[str]) -> Repaired:
        return Repaired()

    source = JournalSource("main", journal, repaired, LIMITS)
    async with asyncio.timeout(HANG_SECONDS):
        await source.open(position)
    return source


async def one_under_way(journal: SlowJournal) -> tuple[JournalSource, AsyncIterator[Batch]]:
    """The first batch is acknowledged, and is being deleted."""
    source = await opened(journal)
    batches = source.batches()
    async with asyncio.timeout(HANG_SECONDS):
        await source.acknowledge((await anext(batches)).position)
    return source, batches


def done(batch: Batch) -> tuple[str, ...]:
    return JournalPosition.load(batch.position).done


async def test_a_position_names_what_is_being_deleted_and_no_more() -> None:
    journal = backlog(5)
    source = await opened(journal)
    batches = source.batches()
    async with asyncio.timeout(HANG_SECONDS):
        first = await anext(batches)
        await source.acknowledge(first.position)
        second = await anext(batches)
        assert (done(first), done(second)) == (("0",), ("0", "1"))
        journal.may.set()
        await source.acknowledge(second.position)
        journal.may.clear()
        third = await anext(batches)
        await asyncio.sleep(0)
        assert done(third) in (("2",), ("1", "2"))
        journal.may.set()
        await source.acknowledge(third.position)
        fourth = await anext(batches)
        await source.acknowledge(fourth.position)
        last = await anext(batches)
        await source.acknowledge(last.position)
    assert journal.asked == [("0",), ("1",), ("2",), ("3",), ("4",)]
    assert journal.visible == [], "behind the last one of a list nothing is under way"
    await source.close()


async def test_what_was_being_deleted_when_the_process_ended_is_not_told_again() -> None:
    """Whether the position was stored before the next batch, or with it."""
    for stored in (1, 2):
        journal = backlog(4)
        source = await opened(journal)
        batches = source.batches()
        async with asyncio.timeout(HANG_SECONDS):
            seen = [await anext(batches)]
            await source.acknowledge(seen[0].position)
            seen.append(await anext(batches))
        left = SlowJournal(visible=journal.visible)  # killed here: nothing was deleted
        left.may.set()
        again = await opened(left, seen[stored - 1].position)
        batches = again.batches()
        async with asyncio.timeout(HANG_SECONDS):
            assert (await anext(batches)).transactions[0].token == str(stored)
        await again.close()
        journal.may.set()
        await source.close()


async def test_a_deletion_that_fails_is_told() -> None:
    journal = backlog(4)
    source, batches = await one_under_way(journal)
    async with asyncio.timeout(HANG_SECONDS):
        journal.failure = SourceUnavailable("the server is gone")
        journal.may.set()
        second = await anext(batches)
        assert done(second) == ("0", "1")
        with pytest.raises(SourceUnavailable, match="the server is gone"):
            await source.acknowledge(second.position)
        await source.close()


async def test_closing_waits_for_the_deletion() -> None:
    journal = backlog(4)
    source, _ = await one_under_way(journal)
    async with asyncio.timeout(HANG_SECONDS):
        closing = asyncio.create_task(source.close())
        await asyncio.sleep(0)
        assert not closing.done()
        journal.may.set()
        await closing
    assert {row.token for row in journal.visible} == {"1", "2", "3"}


async def test_who_waits_for_a_deletion_may_give_up_and_it_goes_on() -> None:
    journal = backlog(4)
    source, batches = await one_under_way(journal)
    async with asyncio.timeout(HANG_SECONDS):
        acknowledging = asyncio.create_task(source.acknowledge((await anext(batches)).position))
        await asyncio.sleep(0)
        acknowledging.cancel()
        await asyncio.gather(acknowledging, return_exceptions=True)
        journal.may.set()
        await source.close()
    assert {row.token for row in journal.visible} == {"1", "2", "3"}
