"""Leased deliveries that wait for a slot, and bounds on the requests in flight."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from cdc.dispatch.scheduler import STALLED_AFTER, STALLED_FACTOR, WAITING, Flight, Scheduler
from cdc.model.delivery import LeasedDelivery
from support.dispatching import endpoint, no_jitter
from support.manual_clock import START, ManualClock


def scheduler(clock: ManualClock, limit: int = 10, **endpoints: dict[str, Any]) -> Scheduler:
    """``endpoints``: what is special of each."""
    made = Scheduler(limit, clock, no_jitter)
    made.follow(endpoint(f"http://{name}", name, **fields) for name, fields in endpoints.items())
    return made


def pairs(clock: ManualClock) -> Scheduler:
    return scheduler(clock, pairs={"batch_size": 2, "batch_wait": 3.0}, other={})


def leased(number: int, endpoint_id: str, attempt: int = 1) -> LeasedDelivery:
    until = START + timedelta(hours=1)
    name = f"evt_{number}"
    return LeasedDelivery(str(number), endpoint_id, name, "invoice.paid", f"f:{number}", attempt, until, b"{}")


def ids(flight: Flight | None) -> str:
    return " ".join(delivery.id for delivery in flight.batch) if flight else ""


def started(scheduler: Scheduler) -> list[str]:
    """All requests that may start; they end at once."""
    requests = []
    while flight := scheduler.start():
        scheduler.ended(flight)
        requests.append(ids(flight))
    return requests


# -- the queue --------------------------------------------------------------------------------------------------------


def test_first_come_first_served_past_endpoints_without_room() -> None:
    one = scheduler(ManualClock(), full={"concurrency": 1}, free={})
    one.add([leased(1, "full"), leased(2, "full"), leased(3, "free"), leased(4, "full")])
    first, second = one.start(), one.start()
    assert (ids(first), ids(second)) == ("1", "3")
    assert one.start() is None
    assert (one.waiting, one.channels["full"].ready, one.channels["free"].ready) == (2, 2, 0)
    assert first is not None
    one.ended(first)
    assert started(one) == ["2", "4"]
    assert one.waiting == 0


def test_empty_queue_starts_nothing() -> None:
    assert scheduler(ManualClock(), a={}).start() is None


def test_deliveries_of_removed_endpoints_are_orphans() -> None:
    one = scheduler(ManualClock(), gone={"batch_size": 2}, removed={}, known={})
    one.add([leased(1, "removed"), leased(2, "known"), leased(3, "removed"), leased(4, "gone")])
    one.follow([one.channels["known"].endpoint])
    assert one.waiting == 1
    assert [each.id for each in one.adopt()] == ["1", "3", "4"]
    assert (one.adopt(), one.orphans) == ([], [])
    assert started(one) == ["2"]


def test_deliveries_of_new_endpoints_wait_until_these_are_known() -> None:
    one = scheduler(ManualClock(), known={})
    one.add([leased(1, "new"), leased(2, "known"), leased(3, "other")])
    one.follow([one.channels["known"].endpoint, endpoint("http://new", "new")])
    assert [each.id for each in one.adopt()] == ["3"]
    assert started(one) == ["2", "1"]


@pytest.mark.parametrize(
    "change", [{"rate": 5.0}, {"url": "http://new"}, {"enabled": False}, {"concurrency": 1}, {"timeout": 9.0}, None]
)
def test_change_of_one_endpoint_keeps_the_state_of_others(change: dict[str, Any] | None) -> None:
    clock = ManualClock()
    one = scheduler(clock, down={}, paused={}, slow={"rate": 0.01}, changed={})
    down, paused, slow = (one.channels[name].flow for name in ("down", "paused", "slow"))
    for turn in [down.start(0) for _ in range(10)]:
        down.ended(turn, 0, trouble=True)
    paused.ended(paused.start(0), 0, trouble=True, retry_after=600)
    slow.start(0)
    one.reconfigure(3)
    changed = [] if change is None else [endpoint(change.pop("url", "http://changed"), "changed", **change)]
    one.follow([*(one.channels[name].endpoint for name in ("down", "paused", "slow")), *changed])
    assert [one.channels[name].flow for name in ("down", "paused", "slow")] == [down, paused, slow]
    assert [each.wait(1) for each in (down, paused, slow)] == [4, 599, 99]


def test_leases_of_an_endpoint_that_is_held_are_released() -> None:
    clock = ManualClock()
    one = scheduler(clock, slow={"rate": 0.1}, free={})
    one.add([leased(1, "slow"), leased(2, "slow"), leased(3, "free")])
    assert started(one) == ["1", "3"]
    one.release_held()
    assert [each.id for each in one.to_release] == ["2"]
    assert (one.waiting, one.start()) == (0, None)


def test_lease_that_ends_too_soon_is_released_unsent() -> None:
    clock = ManualClock()
    one = scheduler(clock, a={"timeout": 5.0})
    one.add([leased(1, "a"), leased(2, "a")._replace(lease_until=START + timedelta(hours=2))])
    clock.advance(3600 - 5)
    with capture_logs() as logs:
        assert started(one) == ["2"]
    assert [each.id for each in one.to_release] == ["1"]
    assert [entry["event"] for entry in logs] == ["lease too short to send"]


# -- batches ----------------------------------------------------------------------------------------------------------


def test_batch_goes_when_it_is_full_or_its_time_has_come() -> None:
    clock = ManualClock()
    one = pairs(clock)
    one.add([leased(1, "pairs"), leased(2, "other"), leased(3, "pairs"), leased(4, "pairs")])
    channel = one.channels["pairs"]
    assert (one.waiting, channel.ready, channel.gathered) == (4, 1, 1)
    assert started(one) == ["2", "1 3"]
    assert one.next_complete() == clock.monotonic() + 3.0
    clock.advance(2.999999)
    one.complete()
    assert started(one) == []
    clock.advance(0.000001)
    one.complete()
    assert started(one) == ["4"]
    assert (one.waiting, channel.gathered, one.next_complete()) == (0, 0, None)


def test_incomplete_batches_go_at_once_where_memory_is_short() -> None:
    one = scheduler(ManualClock(), pairs={"batch_size": 2, "batch_wait": 3.0}, other={})
    one.add([leased(1, "pairs"), *(leased(number, "other") for number in range(2, 2001))])
    one.complete()
    assert started(one)[-1] == "1"


def test_attempts_keep_to_their_number_and_the_third_travels_alone() -> None:
    one = pairs(ManualClock())
    attempts = [(1, 1), (2, 2), (3, 3), (4, 2), (5, 1), (6, 4)]
    one.add([leased(number, "pairs", attempt) for number, attempt in attempts])
    assert started(one) == ["3", "2 4", "1 5", "6"]


def test_rest_of_a_batch_that_became_too_large_is_next() -> None:
    one = pairs(ManualClock())
    one.add([leased(number, "pairs") for number in range(1, 5)])
    one.follow([endpoint("http://pairs", "pairs", batch_size=1)])
    assert ids(one.start()) == "1"
    assert (one.waiting, one.channels["pairs"].ready) == (3, 2)
    assert started(one) == ["2", "3", "4"]


def test_incomplete_batches_of_removed_endpoints_are_orphans_too() -> None:
    one = pairs(ManualClock())
    one.add([leased(number, "pairs") for number in range(1, 4)])
    one.follow([])
    assert [each.id for each in one.orphans] == ["1", "2", "3"]
    assert (one.waiting, one.next_complete()) == (0, None)


# -- requests in flight -----------------------------------------------------------------------------------------------


def busy(clock: ManualClock, limit: int) -> Scheduler:
    """More deliveries than may start, for endpoints that have room for all."""
    many = {"concurrency": 1000}
    one = scheduler(clock, limit, stuck=many, busy=many)
    one.add([leased(number, "stuck") for number in range(100)])
    return one


def test_no_more_requests_start_than_the_limit() -> None:
    one = busy(ManualClock(), 3)
    flights = [one.start() for _ in range(4)]
    assert (flights[3], len(one.in_flight)) == (None, 3)
    assert flights[0] is not None
    one.ended(flights[0])
    assert one.start() is not None
    assert one.start() is None


def test_more_is_leased_until_half_of_the_limit_waits() -> None:
    one = scheduler(ManualClock(), a={"concurrency": 10})
    one.add([leased(number, "a") for number in range(10)])
    assert (one.capacity(), len([one.start() for _ in range(10)])) == (10, 10)
    one.add([leased(number, "a") for number in range(10, 15)])
    assert one.capacity() == 5
    assert not one.underfilled(one.channels["a"].tenant)
    one.add([leased(15, "a")])
    assert one.capacity() == 0


def test_endpoint_of_batches_gets_half_of_the_memory_that_it_leaves_to_others() -> None:
    one = scheduler(ManualClock(), a={"batch_size": 100, "batch_wait": 3.0, "concurrency": 1000})
    one.add([leased(0, "a")])
    assert one.room() == [(WAITING - 1, {"a": (WAITING - 2) // 2})]


def test_room_is_each_endpoints_own() -> None:
    one = scheduler(ManualClock(), a={"concurrency": 2}, b={"concurrency": 5})
    one.add([leased(number, "a") for number in range(3)])
    a, b = one.channels["a"], one.channels["b"]
    flights = [one.start(), one.start()]
    assert (one.start(), a.room(), b.room()) == (None, 0, 5)
    one.follow([endpoint("http://a", "a", concurrency=1), b.endpoint])
    assert a.room() == -1
    for flight in flights:
        assert flight is not None
        one.ended(flight)
    assert a.room() == 1


def test_stalled_requests_make_room_for_others() -> None:
    clock = ManualClock()
    one = busy(clock, 2)
    assert one.start() is not None
    clock.advance(STALLED_AFTER)
    assert one.start() is not None
    assert one.start() is not None
    assert one.start() is None
    clock.advance(STALLED_AFTER)
    assert one.start() is not None
    assert one.start() is not None
    assert one.start() is None


def test_stalled_requests_are_bounded_too() -> None:
    clock = ManualClock()
    one = busy(clock, 2)
    while one.start() is not None:
        clock.advance(STALLED_AFTER)
    assert len(one.in_flight) == 2 * STALLED_FACTOR


def test_nothing_is_leased_for_a_consumer_and_what_was_before_it_was_known_is_released() -> None:
    one = scheduler(ManualClock(), plain={})
    one.add([leased(1, "consumer"), leased(2, "plain")])
    one.follow([endpoint("http://plain", "plain"), endpoint("pull:orders", "consumer", concurrency=0)])
    ((_, rooms),) = one.room()
    assert (rooms["consumer"], rooms["plain"] > 0) == (0, True)
    assert one.adopt() == []
    assert started(one) == ["2"]
    one.release_held()
    assert [each.id for each in one.to_release] == ["1"]
