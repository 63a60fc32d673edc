"""Parts that run side by side: who goes on, who is replaced, and that nothing begins before its predecessor ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cdc.model.clock import SystemClock
from cdc.model.errors import OutboxLost
from cdc.model.observer import SILENT
from cdc.runtime.components import Components, Parts, ProcessPart


class Diary:
    """Parts that write down when they begin and end; one that is ``slow`` ends when it is let."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    def part(self, name: str, key: object = 1) -> ProcessPart:
        async def run(stop: asyncio.Event) -> None:
            self.lines.append(f"{name} begins")
            await stop.wait()
            await self.may_end.wait()
            self.lines.append(f"{name} ends")

        return ProcessPart(key, run)


def parts_of(group: asyncio.TaskGroup) -> Parts:
    return Parts(group, Components(SystemClock(), SILENT))


async def _turn() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_part_that_adopts_a_change_continues() -> None:
    diary, adopted = Diary(), list[int]()
    async with asyncio.TaskGroup() as group:
        parts = parts_of(group)

        def part(key: int) -> ProcessPart:
            return replace(diary.part("a", key), adopt=lambda: adopted.append(key))

        for key, changed in [(1, ["a"]), (2, ["a"]), (2, [])]:
            assert await parts.become({"a": part(key)}) == changed
            await _turn()
        assert adopted == [1, 2]
        assert diary.lines == ["a begins"]
        assert await parts.become({}) == ["a"]
    assert diary.lines == ["a begins", "a ends"]


async def test_what_did_not_change_goes_on() -> None:
    diary = Diary()
    async with asyncio.TaskGroup() as group:
        parts = parts_of(group)
        assert await parts.become({"a": diary.part("a"), "b": diary.part("b")}) == ["a", "b"]
        await _turn()
        diary.lines.clear()
        changed = await parts.become({"a": diary.part("other a"), "b": diary.part("b2", 2), "c": diary.part("c")})
        await _turn()
        assert changed == ["b", "c"]
        assert diary.lines == ["b ends", "b2 begins", "c begins"]
        assert await parts.become({"a": diary.part("a")}) == ["b", "c"]
        assert await parts.become({"a": diary.part("a")}) == []
        diary.lines.clear()
        parts.stop()
    assert diary.lines == ["a ends"]


async def test_the_new_one_waits_for_the_end_of_the_former() -> None:
    diary = Diary()
    async with asyncio.TaskGroup() as group:
        parts = parts_of(group)
        await parts.become({"a": diary.part("a")})
        await _turn()
        diary.may_end.clear()
        becoming = group.create_task(parts.become({"a": diary.part("a2", 2)}))
        await _turn()
        assert diary.lines == ["a begins"]
        diary.may_end.set()
        await becoming
        await _turn()
        assert diary.lines == ["a begins", "a ends", "a2 begins"]
        parts.stop()


async def test_nothing_begins_once_all_is_stopped() -> None:
    diary = Diary()
    async with asyncio.TaskGroup() as group:
        parts = parts_of(group)
        await parts.become({"a": diary.part("a")})
        await _turn()
        diary.may_end.clear()
        becoming = group.create_task(parts.become({"a": diary.part("a2", 2), "b": diary.part("b")}))
        await _turn()
        parts.stop()
        diary.may_end.set()
        assert await becoming == []
    assert diary.lines == ["a begins", "a ends"]


async def test_lost_outbox_ends_all() -> None:
    async def broken(_stop: asyncio.Event) -> None:
        raise OutboxLost("It was deleted.")

    diary = Diary()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            await parts_of(group).become({"a": diary.part("a"), "broken": ProcessPart(1, broken)})
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as failed:
        await all_of_them()
    assert [str(error) for error in failed.value.exceptions] == ["It was deleted."]
