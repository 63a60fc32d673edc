"""Parts of a backlog are read before they are asked for, but not all of them, and none behind a huge transaction."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from cdc.capture.journal.database import JournalRow, ReadAhead, TransactionHead
from cdc.model.errors import SourceUnavailable
from support.waiting import HANG_SECONDS

HUGE = TransactionHead("huge", 5000)


@dataclass
class Server:
    """Answers when it is let.  ``asked``: the first tokens of the questions; ``under_way``: of those that were neither
    answered nor given up; ``two``: there were two of these."""

    answers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    asked: list[str] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)
    two: asyncio.Event = field(default_factory=asyncio.Event)
    failure: SourceUnavailable | None = None

    async def read(self, tokens: Sequence[str]) -> list[JournalRow]:
        self.asked.append(tokens[0])
        self.under_way.add(tokens[0])
        if len(self.under_way) == 2:
            self.two.set()
        try:
            await self.answers.acquire()
            if self.failure is not None:
                raise self.failure
            return [tokens[0]]  # type: ignore[list-item]  # nobody looks into a row
        finally:
            self.under_way.discard(tokens[0])


async def test_two_parts_are_read_at_once_and_no_more_while_one_is_worked_on() -> None:
    server = Server(asyncio.Semaphore(10))
    ahead = ReadAhead(server.read)
    ahead.begin([["a"], ["b"], ["c"], ["d"]])
    told = []
    while (part := await ahead.next()) is not None:
        told.append(part)
        await asyncio.sleep(0)
        assert server.asked == ["a", "b", "c", "d"][: len(told) + 1]
        assert ahead.under_way == (len(told) < 4)
    assert told == [["a"], ["b"], ["c"], ["d"]]
    assert await ahead.next() is None


async def test_nothing_behind_a_huge_transaction_is_read_before_it_was_told() -> None:
    server = Server(asyncio.Semaphore(10))
    ahead = ReadAhead(server.read)
    ahead.begin([["a"], HUGE, ["b"]])
    assert await ahead.next() == ["a"]
    assert await ahead.next() == HUGE
    assert not ahead.under_way
    assert server.asked == ["a"]
    assert await ahead.next() == ["b"]
    assert await ahead.next() is None


async def test_who_drops_what_is_read_waits_until_nothing_is_under_way() -> None:
    server = Server()
    ahead = ReadAhead(server.read)
    ahead.begin([["a"], ["b"], ["c"]])
    waiting = asyncio.create_task(ahead.next())
    async with asyncio.timeout(HANG_SECONDS):
        await server.two.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await ahead.drop()
    assert server.under_way == set()
    assert not ahead.under_way
    assert await ahead.next() is None, "nor is the rest read"
    assert server.asked == ["a", "b"]


async def test_a_failure_is_told_to_who_asks_and_only_to_them() -> None:
    left: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: left.append(context))
    server = Server(asyncio.Semaphore(2), failure=SourceUnavailable("the server is gone"))
    ahead = ReadAhead(server.read)
    ahead.begin([["a"], ["b"]])
    with pytest.raises(SourceUnavailable):
        await ahead.next()
    await ahead.drop()
    gc.collect()
    await asyncio.sleep(0)
    assert not ahead.under_way
    assert not left, "of the one that nobody asked for"
