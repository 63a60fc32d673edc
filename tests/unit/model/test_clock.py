from __future__ import annotations

import asyncio
import time

from cdc.model.clock import SystemClock


async def test_event_that_is_set_while_its_time_runs_out() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(SystemClock().wait(event, 0.001))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.002, event.set)
    time.sleep(0.01)  # noqa: ASYNC251 - the loop is blocked on purpose: both timers are due when it continues
    assert await waiting
