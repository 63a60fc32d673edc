"""What the answer to one request means for each delivery that travelled in it."""

from __future__ import annotations

from cdc.dispatch.retry import DELIVERED, Answer, judge
from cdc.dispatch.sender import outcomes, removed
from cdc.model.delivery import DeliveryState, LeasedDelivery
from support.dispatching import no_jitter
from support.manual_clock import START
from support.outboxes import at, endpoint

TO = endpoint("ep_1", url="https://receiver.example/")


def load(count: int) -> tuple[LeasedDelivery, ...]:
    return tuple(
        LeasedDelivery(f"dlv_{n}", "ep_1", f"evt_{n}", f"invoice.v{n}", f"f:{n}", 2, START, b"{}", f"s{n}")
        for n in range(count)
    )


def test_a_success_delivers_all() -> None:
    made = outcomes(load(3), TO, Answer(204, 0.25, body=b"o\0k"), DELIVERED, START)
    assert [each.attempt[:4] for each in made] == [(f"dlv_{n}", 2, f"evt_{n}", f"invoice.v{n}") for n in range(3)]
    assert {each.attempt[4:] for each in made} == {(TO.url, 204, START, 0.25, "", "o\ufffdk")}
    assert {each[1:6] for each in made} == {(DeliveryState.DELIVERED, None, "", 3, "ep_1")}
    assert [each.source for each in made] == ["s0", "s1", "s2"]


def test_a_failure_is_one_for_all() -> None:
    answer = Answer(500, 0.25)
    made = outcomes(load(2), TO, answer, judge(answer, (5, 25), 2, at(0), no_jitter), START)
    assert {(each.state, each.due_at) for each in made} == {(DeliveryState.PENDING, at(25))}
    assert {each.attempt.error for each in made} == {"The endpoint answered 500 Internal Server Error."}


def test_an_endpoint_that_is_gone_is_disabled_once() -> None:
    answer = Answer(410, 0.25)
    made = outcomes(load(3), TO, answer, judge(answer, (5,), 2, at(0), no_jitter), START)
    assert [each.disable_reason for each in made] == ["It answered 410 Gone.", "", ""]
    assert {(each.state, each.due_at) for each in made} == {(DeliveryState.PENDING, at(0))}


def test_nothing_was_sent_for_an_endpoint_that_was_removed() -> None:
    made = removed(load(1)[0], START)
    assert (made.state, made.attempt.status, made.batch) == (DeliveryState.CANCELLED, None, 1)
