"""What an endpoint lets through: rate, pauses, circuit breaker."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.dispatch.flow_control import (
    ADMITTED_FOR,
    ANY_NUMBER,
    CLAIM_MARGIN,
    FIRST_PROBE,
    JITTER,
    LAST_PROBE,
    LEAST_RESULTS,
    LONGEST_PAUSE,
    WINDOW,
    FlowControl,
    TokenBucket,
)
from cdc.model.delivery import Admitted, EndpointHold, Hold


def no_jitter() -> float:
    return 0.0


def flow(rate: float = 0.0, *, trying: bool = False) -> FlowControl:
    return FlowControl(rate, no_jitter, trying=trying)


def result(one: FlowControl, now: float, *, trouble: bool) -> float | None:
    return one.ended(one.start(now), now, trouble=trouble)


def tripped(now: float = 0.0) -> FlowControl:
    """A valve whose breaker has just opened."""
    one = flow()
    for _ in range(LEAST_RESULTS):
        result(one, now, trouble=True)
    assert one.hold(now) is Hold.BREAKER
    return one


# -- rate -------------------------------------------------------------------------------------------------------------

rates = st.floats(0.01, 500)
#: Seconds that pass before each attempt to start: often none, so that bursts come about.
steps = st.lists(st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 300)), max_size=300)


@given(rate=rates, waits=steps, origin=st.floats(-1e6, 1e6))
def test_no_window_holds_more_than_rate_and_burst(rate: float, waits: list[float], origin: float) -> None:
    pace, now, started = TokenBucket(rate), origin, list[float]()
    for wait in waits:
        now += wait
        if not pace.wait(now):
            pace.start(now)
            started.append(now)
    burst = max(rate, 1.0)
    for first, begin in enumerate(started):
        for last in range(first, len(started)):
            assert last - first + 1 <= rate * (started[last] - begin) + burst + 1e-3


@given(rate=rates, waits=steps)
def test_who_waits_as_told_may_start_and_room_says_how_often(rate: float, waits: list[float]) -> None:
    pace, now = TokenBucket(rate), 0.0
    for wait in waits:
        now += wait
        now += pace.wait(now)
        room = pace.room(now)
        assert 1 <= room <= max(rate, 1.0) + 1
        for _ in range(room):
            assert not pace.wait(now)
            pace.start(now)
        assert pace.wait(now)
        assert pace.room(now) == 0


@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1), (1, 1), (2.5, 2), (100, 100)])
def test_a_burst_of_one_second_and_at_least_one(rate: float, burst: int) -> None:
    assert TokenBucket(rate).room(0.0) == burst
    assert flow(rate).room(0.0) == burst


def test_the_rate_is_reached() -> None:
    pace, now = TokenBucket(10), 0.0
    for _ in range(1000):
        now += pace.wait(now)
        pace.start(now)
    assert now == pytest.approx((1000 - 10) / 10)


def test_any_rate() -> None:
    one = flow()
    for _ in range(10_000):
        one.start(0.0)
    assert (one.wait(0.0), one.room(0.0), one.hold(0.0)) == (0.0, ANY_NUMBER, None)


def test_a_changed_rate_holds_at_once() -> None:
    one = flow(0.01)
    one.start(0.0)
    assert (one.wait(0.0), one.hold(0.0)) == (pytest.approx(100), Hold.RATE)
    one.change_rate(5)
    assert one.room(0.0) == 5
    one.change_rate(0)
    assert one.room(0.0) == ANY_NUMBER


# -- breaker ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("faults", [LEAST_RESULTS // 2 - 1, LEAST_RESULTS // 2])
def test_breaker_opens_at_half_of_the_least_results(faults: int) -> None:
    one = flow()
    for number in range(LEAST_RESULTS):
        assert one.hold(0.0) is None
        result(one, 0.0, trouble=number >= LEAST_RESULTS - faults)
    assert one.hold(0.0) is (Hold.BREAKER if 2 * faults == LEAST_RESULTS else None)


# -- pauses -----------------------------------------------------------------------------------------------------------


def test_the_endpoint_pauses_for_as_long_as_it_asked() -> None:
    one = flow()
    one.ended(one.start(0.0), 0.0, trouble=True, retry_after=30)
    one.ended(one.start(0.0), 1.0, trouble=True, retry_after=2)
    assert (one.wait(10.0), one.room(10.0), one.hold(10.0)) == (20.0, 0, Hold.PAUSE)
    assert (one.wait(30.0), one.room(30.0), one.hold(30.0)) == (0.0, ANY_NUMBER, None)


def test_a_pause_has_a_bound() -> None:
    one = flow()
    one.ended(one.start(0.0), 0.0, trouble=True, retry_after=86_400)
    assert one.wait(0.0) == LONGEST_PAUSE


def test_a_probe_waits_for_the_pause_too() -> None:
    one = tripped()
    one.ended(one.start(5.0), 5.0, trouble=True, retry_after=120)
    assert one.wait(5.0) == 120


# -- breaker ----------------------------------------------------------------------------------------------------------


def test_it_opens_when_half_of_at_least_ten_results_speak_of_trouble() -> None:
    one = flow()
    for number in range(LEAST_RESULTS - 1):
        assert result(one, 0.0, trouble=number % 2 == 0) is None
    assert one.hold(0.0) is None
    assert result(one, 0.0, trouble=True) == FIRST_PROBE
    assert (one.hold(0.0), one.wait(0.0), one.room(0.0)) == (Hold.BREAKER, FIRST_PROBE, 0)


def test_it_stays_closed_while_more_than_half_are_well() -> None:
    one = flow()
    for number in range(500):
        assert result(one, number / 10, trouble=number % 5 in (1, 3)) is None
    assert one.hold(50.0) is None


def test_old_results_do_not_count() -> None:
    one = flow()
    for number in range(100):
        trouble = number % LEAST_RESULTS > 0  # nine in a row, and then a success
        assert result(one, number * (WINDOW / (LEAST_RESULTS - 1)), trouble=trouble) is None
    assert one.hold(1e4) is None


def test_ten_in_a_row_count_however_old_they_are() -> None:
    one = flow()
    for number in range(LEAST_RESULTS - 1):
        assert result(one, number * 3600.0, trouble=True) is None
    assert result(one, LEAST_RESULTS * 3600.0, trouble=True) == FIRST_PROBE


def test_only_the_newest_results_count() -> None:
    one = flow()
    for _ in range(1000):
        result(one, 0.0, trouble=False)
    for _ in range(LEAST_RESULTS):
        result(one, 0.0, trouble=True)
    assert one.hold(0.0) is Hold.BREAKER


def test_one_probe_at_a_time_ever_more_rarely() -> None:
    one, now, waits = tripped(), 0.0, []
    for _ in range(8):
        waits.append(one.wait(now))
        now += waits[-1]
        assert (one.wait(now), one.room(now)) == (0.0, 1)
        probe = one.start(now)
        assert (one.wait(now), one.room(now)) == (math.inf, 0)
        assert one.ended(probe, now, trouble=True) == one.wait(now)
    assert waits == [5, 10, 20, 40, 60, 60, 60, 60]


def test_jitter_only_adds() -> None:
    one = FlowControl(0, lambda: 0.5)
    for _ in range(LEAST_RESULTS):
        result(one, 0.0, trouble=True)
    assert one.wait(0.0) == FIRST_PROBE * (1 + JITTER / 2)
    now = 0.0
    for _ in range(2000):
        now += one.wait(now)
        result(one, now, trouble=True)
    assert one.wait(now) == pytest.approx(LAST_PROBE * (1 + JITTER / 2))


def test_a_probe_that_succeeds_closes_it() -> None:
    one = tripped()
    assert result(one, 5.0, trouble=False) is None
    assert (one.wait(5.0), one.room(5.0), one.hold(5.0)) == (0.0, ANY_NUMBER, None)
    for _ in range(LEAST_RESULTS):  # what was before does not count any more, and it begins anew with short waits
        assert one.hold(5.0) is None
        result(one, 5.0, trouble=True)
    assert one.wait(5.0) == FIRST_PROBE


def test_what_started_before_it_opened_says_nothing_new() -> None:
    one = flow()
    late = [one.start(0.0) for _ in range(20)]
    for started in late[:10]:
        one.ended(started, 0.0, trouble=True)
    assert one.ended(late[10], 1.0, trouble=True) == 4  # in doubt all the same, until the probe
    one.ended(late[11], 1.0, trouble=False)
    assert one.wait(1.0) == 4
    probe = one.start(5.0)
    one.ended(late[12], 5.0, trouble=False)
    assert one.wait(5.0) == math.inf
    assert one.ended(late[13], 5.0, trouble=True) == 0
    one.ended(probe, 6.0, trouble=False)
    for started in late[14:]:
        assert one.ended(started, 6.0, trouble=True) == math.inf
    assert one.hold(6.0) is None


def test_soon_after_it_closed_a_failure_is_in_doubt() -> None:
    one = tripped()
    result(one, 5.0, trouble=False)
    assert result(one, 5.0, trouble=True) == math.inf
    assert result(one, 5.0 + WINDOW - 0.01, trouble=True) == math.inf
    assert result(one, 5.0 + WINDOW, trouble=True) is None


def test_what_is_known_to_fail_begins_with_a_probe() -> None:
    one = flow(trying=True)
    assert (one.room(0.0), one.hold(0.0)) == (1, Hold.BREAKER)
    assert result(one, 0.0, trouble=True) == 2 * FIRST_PROBE
    assert result(one, 10.0, trouble=False) is None
    assert one.room(10.0) == ANY_NUMBER


def test_a_mended_endpoint_is_probed_at_once() -> None:
    one = tripped()
    old_probe = one.start(5.0)
    one.reset()
    assert one.room(5.0) == 1
    one.ended(old_probe, 5.0, trouble=True)  # went to the old URL
    assert one.room(5.0) == 1
    assert result(one, 5.0, trouble=False) is None
    assert one.hold(5.0) is None


def test_mending_ends_a_pause_but_not_the_rate() -> None:
    one = flow(1)
    one.ended(one.start(0.0), 0.0, trouble=True, retry_after=60)
    one.reset()
    assert (one.wait(0.0), one.hold(0.0)) == (1.0, Hold.RATE)


def test_probes_keep_to_the_rate() -> None:
    one = FlowControl(0.05, no_jitter, trying=True)
    result(one, 0.0, trouble=True)
    assert one.wait(0.0) == 20


# -- shared with other processes --------------------------------------------------------------------------------------


def shared(rate: float = 0.0) -> FlowControl:
    return FlowControl(rate, no_jitter, shared=True)


def test_requests_by_a_shared_rate_start_when_admitted() -> None:
    one = shared(10)
    assert not one.may_start(0.0)
    wanted = one.request(3, 5.0, 0.0)
    assert wanted == (3, 0.1, pytest.approx(0.9), 5.0 + CLAIM_MARGIN)
    one.admit(Admitted(2, 0.85, EndpointHold()), 0.0)
    one.start(0.0)
    assert not one.may_start(0.0), "others have booked 0.85 s: the second starts a little later"
    assert one.wait(0.0) == pytest.approx(0.05)
    one.start(0.06)
    assert not one.may_start(10.0), "none is left"
    one.admit(Admitted(5, 0.0, EndpointHold()), 20.0)
    assert one.may_start(20.0)
    assert not one.may_start(20.0 + ADMITTED_FOR), "what was admitted is not for later"


def test_without_rate_and_with_closed_breaker_nothing_is_asked() -> None:
    one = shared()
    assert one.may_start(0.0)
    assert one.request(9, 5.0, 0.0) is None
    assert not one.unpublished
    result(one, 0.0, trouble=False)
    assert not one.unpublished


def test_opening_is_published_and_the_probe_waits_to_be_admitted() -> None:
    one = shared()
    for _ in range(LEAST_RESULTS):
        result(one, 0.0, trouble=True)
    assert one.unpublished
    one.follow(EndpointHold(), 0.0)
    assert one.hold(0.0) is Hold.BREAKER, "what others do not know yet is not undone"
    hold = one.take(0.0)
    assert hold == EndpointHold(FIRST_PROBE, 0)
    assert not one.unpublished
    one.put_back(hold)
    assert one.take(0.0) == hold, "publishing failed"
    assert one.request(4, 5.0, 0.0) is None, "it is not time"
    now = FIRST_PROBE
    assert one.request(0, 5.0, now) is None, "no request has room: another process may probe"
    assert one.request(4, 5.0, now) == (1, 0.0, 0.0, 5.0 + CLAIM_MARGIN)
    one.admit(Admitted(0, 0.0, EndpointHold(15.0, 0)), now)
    assert one.wait(now) == pytest.approx(15.0), "another process probes"
    one.follow(EndpointHold(0.0, 2), now)
    one.admit(Admitted(1, 0.0, EndpointHold(-0.1, 2)), now)
    assert one.may_start(now)
    started = one.start(now)
    one.follow(EndpointHold(20.0, 2), now)
    one.ended(started, now, trouble=True)
    assert one.take(now) == EndpointHold(FIRST_PROBE * 8, 3, probed=True)


def test_success_of_another_process_closes() -> None:
    one = shared()
    one.follow(EndpointHold(30.0, 1, paused=5.0), 0.0)
    assert one.hold(0.0) is Hold.BREAKER
    one.follow(EndpointHold(paused=5.0), 0.0)
    assert one.hold(0.0) is Hold.PAUSE
    one.follow(EndpointHold(), 0.0)
    assert one.hold(0.0) is None
    assert one.may_start(0.0)


def test_pause_is_published() -> None:
    one = shared()
    one.ended(one.start(0.0), 0.0, trouble=True, retry_after=60.0)
    assert one.take(10.0) == EndpointHold(None, 0, 50.0)
