"""Leased deliveries that wait for a slot."""

from __future__ import annotations

from cdc.delivery import LeasedDelivery
from cdc.dispatch.ready import Ready
from support.manual_clock import START


def leased(number: int, endpoint_id: str) -> LeasedDelivery:
    return LeasedDelivery(str(number), endpoint_id, f"evt_{number}", "invoice.paid", f"f:{number}", 1, START, b"{}")


def test_first_come_first_served_past_those_that_must_wait() -> None:
    ready = Ready()
    ready.add([leased(1, "full"), leased(2, "full"), leased(3, "free"), leased(4, "free")])
    asked: list[str] = []

    def may_start(endpoint_id: str) -> bool:
        asked.append(endpoint_id)
        return endpoint_id == "free"

    taken = ready.take(may_start)
    assert taken is not None
    assert taken.id == "3"
    assert asked == ["full", "free"]
    assert (len(ready), ready.count("full"), ready.count("free")) == (3, 2, 1)
    assert [one.id for one in (ready.take(lambda _: True), ready.take(lambda _: True)) if one] == ["1", "2"]


def test_nothing_to_take() -> None:
    ready = Ready()
    assert ready.take(lambda _: True) is None
    ready.add([leased(1, "full")])
    assert ready.take(lambda _: False) is None
    assert len(ready) == 1


def test_what_waits_for_unknown_endpoints_is_dropped() -> None:
    ready = Ready()
    ready.add([leased(1, "gone"), leased(2, "known"), leased(3, "gone")])
    assert [one.id for one in ready.drop_all_but({"known"})] == ["1", "3"]
    assert ready.endpoints() == {"known"}
    assert ready.drop_all_but({"known"}) == []
    assert len(ready) == 1
