"""How often the API is asked."""

from __future__ import annotations

import pytest

from cdc.capture.rest.client import Budget
from support.polling import PassingClock


@pytest.mark.parametrize("per_minute", [6, 7, 60, 601])
async def test_no_minute_has_more_requests_than_allowed(per_minute: int) -> None:
    clock = PassingClock()
    budget, times = Budget(per_minute, clock), []
    for number in range(3 * per_minute):
        if number % per_minute == per_minute // 2:
            clock.advance(47)  # nobody wants anything for a while
        await budget.take()
        times.append(clock.monotonic())
    assert all(last - first >= 60 for first, last in zip(times, times[per_minute:], strict=False))
    assert times[-1] < 3 * 61 * 6 / 5 + 3 * 47 + 1, "and little is given away"


async def test_a_pause_that_the_server_asks_for_is_kept() -> None:
    clock = PassingClock()
    budget = Budget(60, clock)
    budget.hold(30)
    await budget.take()
    assert clock.monotonic() == pytest.approx(30, abs=0.1)
    budget.hold(0)
    await budget.take()
    assert clock.monotonic() < 33
