"""The bound on awaits behaves as asyncio's own does."""

from __future__ import annotations

import asyncio

import pytest

from cdc.dispatch.sender import Deadline


async def test_awaits_that_end_in_time_are_left_alone() -> None:
    with Deadline(60):
        assert await asyncio.sleep(0, "done") == "done"
    await asyncio.sleep(0)  # nothing was cancelled


async def test_what_takes_longer_is_cut_short() -> None:
    with pytest.raises(TimeoutError), Deadline(0.01):
        await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task goes on
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_errors_pass_through() -> None:
    with pytest.raises(KeyError), Deadline(60):
        raise KeyError


async def test_a_cancellation_from_elsewhere_is_one() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with Deadline(60):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_moment_wins() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        with Deadline(0):
            asyncio.get_running_loop().call_later(0, task.cancel)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())


async def test_an_inner_deadline_is_not_taken_for_the_outer_one() -> None:
    with Deadline(60):
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.Event().wait()
        assert await asyncio.sleep(0, "goes on") == "goes on"
