"""Pauses between attempts to sign in, and what is no way around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.access import failures
from cdc.access.failures import ADDRESS, USER, Throttle, ThrottleLimits
from cdc.model.errors import TooManyAttempts
from support.manual_clock import ManualClock


def refused(guard: Throttle, clock: ManualClock, name: str = "ann", address: str = "192.0.2.1") -> float:
    """The seconds to wait, 0 when the attempt was counted."""
    try:
        guard.count_attempt(name, address, clock.monotonic())
    except TooManyAttempts as error:
        return error.seconds
    return 0.0


def test_pauses_grow_to_a_bound() -> None:
    pauses = [USER.pause(failures) for failures in range(12)]
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert USER.pause(10_000) == 60
    assert ADDRESS.pause(10_000) == 900


def test_a_user_waits_longer_with_every_failure_wherever_the_attempts_come_from() -> None:
    guard, clock = Throttle(), ManualClock()
    waits = []
    for number in range(60):
        wait = refused(guard, clock, address=f"192.0.2.{number}")
        waits.append(wait)
        clock.advance(wait)
    # an attempt that is counted, and one that comes too early, in turn
    assert [wait for wait in waits if wait] == [1, 2, 4, 8, 16, 32, *[60] * 22]


def test_an_address_waits_whomever_it_names() -> None:
    guard, clock = Throttle(), ManualClock()
    assert [refused(guard, clock, name=f"user-{number}") for number in range(12)] == [0] * 11 + [1]


@pytest.mark.parametrize("other", ["ANN", " ann", "ann\t", "Ann ", "\uff41nn", "\u00a0ann"])
def test_case_and_white_space_are_no_way_around(other: str) -> None:
    guard, clock = Throttle(), ManualClock()
    for number in range(4):
        assert refused(guard, clock, ("ann", other)[number % 2], f"192.0.2.{number}") == 0
    assert refused(guard, clock, other, "192.0.2.9") == refused(guard, clock, "ann", "192.0.2.10") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"), ("fe80::1%a", "fe80::1")],
)
def test_other_ways_to_write_an_address_are_no_way_around(one: str, other: str) -> None:
    guard, clock = Throttle(), ManualClock()
    for number in range(11):
        assert refused(guard, clock, f"user-{number}", (one, other)[number % 2]) == 0
    assert refused(guard, clock, "x", one) == refused(guard, clock, "y", other) == 1
    assert refused(guard, clock, "z", "2001:db8:0:2::1") == 0


def test_many_attempts_at_once_are_no_way_around() -> None:
    """They count from their beginnings, before any of them has failed."""
    guard, clock = Throttle(), ManualClock()
    counted = [refused(guard, clock, address=f"192.0.2.{number}") == 0 for number in range(50)]
    assert sum(counted) == USER.free + 1


def test_a_success_forgets_the_users_failures_and_one_of_the_address() -> None:
    guard, clock = Throttle(), ManualClock()
    for _ in range(3):
        assert refused(guard, clock) == 0
    guard.succeeded("ANN", "192.0.2.1")
    assert [refused(guard, clock) for _ in range(4)] == [0] * 4
    assert refused(guard, clock) == 1


def test_an_account_of_ones_own_is_no_way_around() -> None:
    guard, clock = Throttle(), ManualClock()
    guesses = 0
    for number in range(40):
        if refused(guard, clock, f"victim-{number}") == 0:
            guesses += 1
        if refused(guard, clock, "eve") == 0:
            guard.succeeded("eve", "192.0.2.1")
    assert guesses == ADDRESS.free + 1


def test_failures_are_forgotten_after_an_hour() -> None:
    guard, clock = Throttle(), ManualClock()
    for number in range(4):
        refused(guard, clock, address=f"192.0.2.{number}")
    clock.advance(3600)
    assert [refused(guard, clock, address=f"198.51.100.{number}") for number in range(4)] == [0] * 4


def test_an_attempt_within_a_pause_does_not_lengthen_it() -> None:
    guard, clock = Throttle(), ManualClock()
    for _ in range(4):
        refused(guard, clock)
    assert [refused(guard, clock) for _ in range(5)] == [1] * 5
    clock.advance(1)
    assert refused(guard, clock) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_MOST", 10)
    guard = Throttle(address=ThrottleLimits(free=10**6, longest=1))
    for number in range(100):
        guard.count_attempt(f"user-{number}" + "x" * 1000, f"192.0.2.{number}", 0.0)
    assert len(guard._users._failures) == len(guard._addresses._failures) == 10


@given(st.lists(st.tuples(st.floats(0, 5000), st.booleans()), max_size=60))
def test_there_is_never_a_pause_beyond_the_bound(steps: list[tuple[float, bool]]) -> None:
    guard, clock = Throttle(), ManualClock()
    for seconds, succeeds in steps:
        clock.advance(seconds)
        wait = refused(guard, clock)
        assert 0 <= wait <= ADDRESS.longest
        if succeeds and not wait:
            guard.succeeded("ann", "192.0.2.1")


@pytest.mark.parametrize("step", [-3600, 3600])
def test_setting_the_clock_changes_no_pause(step: float) -> None:
    guard, clock = Throttle(), ManualClock()
    for _ in range(4):
        refused(guard, clock)
    clock.set_wall(step)
    assert refused(guard, clock) == 1
