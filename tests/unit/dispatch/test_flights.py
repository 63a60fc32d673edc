"""Bounds on attempts that are on their way."""

from __future__ import annotations

from cdc.dispatch.in_flight import STALLED_AFTER, STALLED_FACTOR, InFlight
from support.dispatching import endpoint


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_free_is_the_limit_less_what_flies() -> None:
    in_flight = InFlight(3, Seconds())
    tokens = [in_flight.start("a"), in_flight.start("b")]
    assert (len(in_flight), in_flight.free()) == (2, 1)
    in_flight.end(tokens[0], "a")
    assert (len(in_flight), in_flight.free()) == (1, 2)


def test_room_is_each_endpoints_own() -> None:
    in_flight = InFlight(10, Seconds())
    in_flight.start("a")
    token = in_flight.start("a")
    assert in_flight.room(endpoint("http://a", "a", concurrency=2)) == 0
    assert in_flight.room(endpoint("http://a", "a", concurrency=1)) == -1
    assert in_flight.room(endpoint("http://b", "b", concurrency=5)) == 5
    in_flight.end(token, "a")
    assert in_flight.room(endpoint("http://a", "a", concurrency=2)) == 1


def test_stalled_attempts_make_room_for_others() -> None:
    clock = Seconds()
    in_flight = InFlight(2, clock)
    in_flight.start("stuck")
    clock.now = STALLED_AFTER
    in_flight.start("busy")
    assert in_flight.free() == 1
    in_flight.start("busy")
    assert in_flight.free() == 0
    clock.now = 2 * STALLED_AFTER
    assert in_flight.free() == 2


def test_stalled_attempts_are_bounded_too() -> None:
    clock = Seconds()
    in_flight = InFlight(2, clock)
    while in_flight.free():
        in_flight.start("stuck")
        clock.now += STALLED_AFTER
    assert len(in_flight) == 2 * STALLED_FACTOR
