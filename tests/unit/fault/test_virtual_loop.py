"""The loop of simulated runs: time passes at once, processes pause and die."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest

from support.simulated.loop import PROCESS, Endless, Process, VirtualLoop
from support.simulated.network import NOWHERE


def begin(loop: VirtualLoop, process: Process, coroutine: object) -> None:
    context = NOWHERE.copy()
    context.run(PROCESS.set, process)
    loop.create_task(coroutine, context=context)  # type: ignore[arg-type]  # a coroutine of any kind


def test_time_passes_only_when_nothing_can_run() -> None:
    loop, seen = VirtualLoop(), list[tuple[float, str]]()

    async def work(name: str, *delays: float) -> None:
        for delay in delays:
            await asyncio.sleep(delay)
            seen.append((loop.time(), name))

    async def main() -> None:
        async with asyncio.timeout(10_000), asyncio.TaskGroup() as group:
            group.create_task(work("a", 5, 5))
            group.create_task(work("b", 0, 7))
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        loop.run(main())
    assert seen == [(0, "b"), (5, "a"), (7, "b"), (10, "a")]
    assert loop.time() == 10_000
    loop.close()


def test_a_paused_process_catches_up_in_order() -> None:
    loop, seen, process = VirtualLoop(), list[float](), Process("p")

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    async def main() -> None:
        begin(loop, process, work())
        await asyncio.sleep(1.5)
        process.pause()
        await asyncio.sleep(8.5)
        assert seen == [1]
        loop.resume(process)
        await asyncio.sleep(5)

    loop.run(main())
    assert seen == [1, 10, 11]
    loop.close()


def test_a_killed_process_does_nothing_more() -> None:
    loop, seen, process = VirtualLoop(), list[str](), Process("p")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(f"dead: {process.dead}")

    async def main() -> None:
        begin(loop, process, work())
        await asyncio.sleep(1)
        loop.kill(process)
        await asyncio.sleep(1)

    loop.run(main())
    assert seen == ["dead: True"]
    assert not process.tasks
    loop.close()


def test_sets_of_tasks_keep_the_order_of_their_creation() -> None:
    loop = VirtualLoop()

    async def main() -> list[str]:
        tasks = {asyncio.create_task(asyncio.sleep(0), name=str(number)) for number in range(6)}
        await asyncio.wait(tasks)
        return [task.get_name() for task in tasks]

    assert loop.run(main()) == list("012345")
    loop.close()


def test_a_program_that_never_lets_time_pass_is_found() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        for _ in count():
            await asyncio.sleep(0)

    with pytest.raises(Endless):
        loop.run(main())
    loop.close()
