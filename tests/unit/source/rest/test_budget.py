"""How often the API is asked, and how often it may refuse."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.source.rest.budget import BAN_SECONDS, BanGuard, Budget
from support.manual_clock import START
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


def test_after_two_refusals_only_what_was_allowed_is_asked_for_and_after_three_nothing() -> None:
    guard = BanGuard()
    assert guard.free_at(START, allowed_before=False) is None
    guard.note(START)
    guard.note(START + timedelta(seconds=100))
    now = START + timedelta(seconds=200)
    assert guard.free_at(now, allowed_before=True) is None
    assert guard.free_at(now, allowed_before=False) == START + timedelta(seconds=BAN_SECONDS)
    guard.note(now)
    assert guard.free_at(now, allowed_before=True) == START + timedelta(seconds=BAN_SECONDS)
    assert guard.free_at(START + timedelta(seconds=BAN_SECONDS), allowed_before=True) is None


def test_a_new_process_remembers_refusals() -> None:
    guard, later = BanGuard(), BanGuard()
    for seconds in range(3):
        guard.note(START + timedelta(seconds=seconds))
    later.remember(guard.refused)
    later.remember(guard.refused)
    assert later.refused == guard.refused
    assert later.free_at(START, allowed_before=True) is not None


@given(st.lists(st.floats(0, 700), max_size=60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_a_ban_is_never_near(pauses: list[float], allowed: list[bool]) -> None:
    guard, now, refused = BanGuard(), START, []
    for pause, known in zip(pauses, allowed, strict=False):
        now += timedelta(seconds=pause)
        if guard.free_at(now, allowed_before=known) is None:
            guard.note(now)
            refused.append(now)
    later = zip(refused, refused[3:], strict=False)
    assert all((fourth - first).total_seconds() >= BAN_SECONDS for first, fourth in later)
