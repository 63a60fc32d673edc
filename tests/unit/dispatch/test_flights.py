"""Bounds on attempts that are on their way."""

from __future__ import annotations

from cdc.dispatch.flights import STALLED_AFTER, STALLED_FACTOR, Flights
from support.dispatching import endpoint


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_free_is_the_limit_less_what_flies() -> None:
    flights = Flights(3, Seconds())
    tokens = [flights.start("a"), flights.start("b")]
    assert (len(flights), flights.free()) == (2, 1)
    flights.end(tokens[0], "a")
    assert (len(flights), flights.free()) == (1, 2)


def test_room_is_each_endpoints_own() -> None:
    flights = Flights(10, Seconds())
    flights.start("a")
    token = flights.start("a")
    assert flights.room(endpoint("http://a", "a", concurrency=2)) == 0
    assert flights.room(endpoint("http://a", "a", concurrency=1)) == -1
    assert flights.room(endpoint("http://b", "b", concurrency=5)) == 5
    flights.end(token, "a")
    assert flights.room(endpoint("http://a", "a", concurrency=2)) == 1


def test_stalled_attempts_make_room_for_others() -> None:
    clock = Seconds()
    flights = Flights(2, clock)
    flights.start("stuck")
    clock.now = STALLED_AFTER
    flights.start("busy")
    assert flights.free() == 1
    flights.start("busy")
    assert flights.free() == 0
    clock.now = 2 * STALLED_AFTER
    assert flights.free() == 2


def test_stalled_attempts_are_bounded_too() -> None:
    clock = Seconds()
    flights = Flights(2, clock)
    while flights.free():
        flights.start("stuck")
        clock.now += STALLED_AFTER
    assert len(flights) == 2 * STALLED_FACTOR
