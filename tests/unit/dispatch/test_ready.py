"""Leased deliveries that wait for a slot."""

from __future__ import annotations

from cdc.dispatch.batch_buffer import RequestBatch
from cdc.dispatch.ready_queue import ReadyQueue
from cdc.model.delivery import LeasedDelivery
from support.dispatching import endpoint
from support.manual_clock import START

PAIRS = {"pairs": endpoint("http://pairs", "pairs", batch_size=2, batch_wait=3.0)}


def leased(number: int, endpoint_id: str, attempt: int = 1) -> LeasedDelivery:
    name = f"evt_{number}"
    return LeasedDelivery(str(number), endpoint_id, name, "invoice.paid", f"f:{number}", attempt, START, b"{}")


def ids(load: RequestBatch | None) -> str:
    return " ".join(delivery.id for delivery in load or ())


def taken(ready: ReadyQueue) -> list[str]:
    """All loads that may go."""
    loads = []
    while load := ready.take(lambda _: True):
        loads.append(ids(load))
    return loads


def test_first_come_first_served_past_those_that_must_wait() -> None:
    ready = ReadyQueue()
    ready.add([leased(1, "full"), leased(2, "full"), leased(3, "free"), leased(4, "free")], {}, 0.0)
    asked: list[str] = []

    def may_start(endpoint_id: str) -> bool:
        asked.append(endpoint_id)
        return endpoint_id == "free"

    assert ids(ready.take(may_start)) == "3"
    assert asked == ["full", "free"]
    assert (len(ready), ready.count("full"), ready.count("free")) == (3, 2, 1)
    assert taken(ready) == ["1", "2", "4"]


def test_nothing_to_take() -> None:
    ready = ReadyQueue()
    assert ready.take(lambda _: True) is None
    ready.add([leased(1, "full")], {}, 0.0)
    assert ready.take(lambda _: False) is None
    assert len(ready) == 1


def test_what_waits_for_unknown_endpoints_is_dropped() -> None:
    ready = ReadyQueue()
    ready.add([leased(1, "gone"), leased(2, "known"), leased(3, "gone")], {}, 0.0)
    assert [one.id for one in ready.drop_all_but({"known"})] == ["1", "3"]
    assert ready.endpoints() == {"known"}
    assert ready.drop_all_but({"known"}) == []
    assert len(ready) == 1


def test_a_batch_goes_when_it_is_full_or_its_time_has_come() -> None:
    ready = ReadyQueue()
    ready.add([leased(1, "pairs"), leased(2, "other"), leased(3, "pairs"), leased(4, "pairs")], PAIRS, 0.0)
    assert (len(ready), ready.deliveries, ready.count("pairs"), ready.gathered("pairs")) == (2, 4, 1, 1)
    assert taken(ready) == ["2", "1 3"]
    due = 3.0
    assert ready.next_complete() == due
    ready.complete(due - 0.000001)
    assert taken(ready) == []
    ready.complete(due)
    assert taken(ready) == ["4"]
    assert (ready.deliveries, ready.endpoints(), ready.next_complete()) == (0, set(), None)


def test_what_gathers_goes_at_once_where_memory_is_short() -> None:
    ready = ReadyQueue()
    ready.add([leased(1, "pairs")], PAIRS, 0.0)
    ready.complete(0.0, at_once=True)
    assert taken(ready) == ["1"]


def test_attempts_keep_to_their_number_and_the_third_travels_alone() -> None:
    ready = ReadyQueue()
    attempts = [(1, 1), (2, 2), (3, 3), (4, 2), (5, 1), (6, 4)]
    ready.add([leased(number, "pairs", attempt) for number, attempt in attempts], PAIRS, 0.0)
    assert taken(ready) == ["3", "2 4", "1 5", "6"]


def test_what_was_put_back_is_next() -> None:
    ready = ReadyQueue()
    ready.add([leased(number, "pairs") for number in range(1, 5)], PAIRS, 0.0)
    first = ready.take(lambda _: True)
    assert first is not None
    ready.put_back(first[1:])
    assert (ready.count("pairs"), ready.deliveries) == (2, 3)
    assert taken(ready) == ["2", "3 4"]


def test_what_gathers_for_unknown_endpoints_is_dropped_too() -> None:
    ready = ReadyQueue()
    ready.add([leased(number, "pairs") for number in range(1, 4)], PAIRS, 0.0)
    assert [one.id for one in ready.drop_all_but({"other"})] == ["1", "2", "3"]
    assert (ready.deliveries, ready.endpoints(), ready.next_complete()) == (0, set(), None)
