"""Rates have a floor and a ceiling that pauses can be made of, also those that an older version has stored."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cdc.dispatch.flow_control import TokenBucket
from cdc.model.clock import SystemClock
from cdc.model.endpoint import check_rate, usable_rate
from cdc.model.errors import UsageError

IMPOSSIBLE = [1e-300, 5e-324, 1e-4, 1e300, float("inf"), float("nan"), -1.0]


@pytest.mark.parametrize("rate", IMPOSSIBLE)
def test_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="a second is not possible"):
        check_rate(rate)


@pytest.mark.parametrize("rate", [0.0, 0.001, 1.0, 100_000.0])
def test_possible_rate_is_taken(rate: float) -> None:
    check_rate(rate)
    assert usable_rate(rate) == rate


@pytest.mark.parametrize("rate", [1e-300, 5e-324, 1e300, float("inf")])
async def test_stored_rate_makes_pauses_that_are_times(rate: float) -> None:
    pace = TokenBucket(rate)
    for _ in range(3):
        pace.start(0.0)
    wait = pace.wait(0.0)
    assert timedelta(seconds=wait) < timedelta(days=1)
    event = asyncio.Event()
    event.set()
    assert await SystemClock().wait(event, wait)
