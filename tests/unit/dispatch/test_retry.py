"""What an answer means for its delivery."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.dispatch.retry import (
    JITTER,
    LONGEST_RETRY_AFTER,
    SCHEDULES,
    Answer,
    is_trouble,
    judge,
    longest_wait,
    next_delay,
    pause_asked,
    retry_after_seconds,
    schedule,
)
from cdc.model.delivery import DeliveryState
from cdc.model.errors import UsageError

NOW = datetime(2026, 11, 24, 21, 48, tzinfo=UTC)
DELAYS = SCHEDULES["facturascripts"]


def no_jitter() -> float:
    return 0.0


def answered(status: int, retry_after: str | None = None) -> Answer:
    return Answer(status, 0.1, retry_after)


def due_in(answer: Answer, attempt: int = 1) -> float:
    verdict = judge(answer, DELAYS, attempt, NOW, no_jitter)
    assert verdict.state is DeliveryState.PENDING
    assert verdict.due_at is not None
    return (verdict.due_at - NOW).total_seconds()


def test_preset_facturascripts_has_five_retries_growing_fivefold() -> None:
    assert [next_delay(DELAYS, attempt, no_jitter) for attempt in range(1, 7)] == [5, 25, 125, 625, 3125, None]


def test_preset_standard() -> None:
    hours = [delay / 3600 for delay in schedule("standard")[3:]]
    assert schedule("standard")[:3] == (5, 300, 1800)
    assert hours == [2, 5, 10, 14, 20, 24]


def test_an_unknown_preset_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="facturascripts, standard"):
        schedule("never")


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_only_adds_and_at_most_a_tenth(name: str, attempt: int, random: float) -> None:
    delay = next_delay(SCHEDULES[name], attempt, lambda: random)
    if attempt > len(SCHEDULES[name]):
        assert delay is None
    else:
        planned = SCHEDULES[name][attempt - 1]
        assert delay is not None
        assert planned <= delay <= planned * 1.1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(status: int) -> None:
    assert judge(answered(status), DELAYS, 1, NOW, no_jitter) == (DeliveryState.DELIVERED, "", None, "")


@pytest.mark.parametrize("status", [100, 300, 301, 302, 307, 308, 400, 401, 404, 408, 409, 422, 500, 502, 599, 999])
def test_every_other_status_is_a_failed_attempt(status: int) -> None:
    assert due_in(answered(status)) == 5
    verdict = judge(answered(status), DELAYS, 6, NOW, no_jitter)
    assert verdict.state is DeliveryState.DEAD
    assert verdict.due_at is None
    assert str(status) in verdict.error
    assert verdict.error.endswith(".")
    assert ("redirects are not followed" in verdict.error) is (300 <= status < 400)


def test_no_answer_carries_its_sentence() -> None:
    verdict = judge(Answer(None, 10.0, error="receiver.example did not answer within 10 s."), DELAYS, 2, NOW, no_jitter)
    assert verdict.error == "receiver.example did not answer within 10 s."
    assert verdict.due_at == NOW + timedelta(seconds=25)


@pytest.mark.parametrize("doubt", [None, 30.0])
def test_event_that_the_receiver_never_takes_is_not_sent_again(doubt: float | None) -> None:
    answer = answered(413)._replace(final=True)
    assert judge(answer, DELAYS, 1, NOW, no_jitter, doubt=doubt).state is DeliveryState.DEAD


@pytest.mark.parametrize("attempt", [1, 6, 7])
def test_410_disables_the_endpoint_and_keeps_the_delivery(attempt: int) -> None:
    verdict = judge(answered(410), DELAYS, attempt, NOW, no_jitter)
    assert verdict.state is DeliveryState.PENDING
    assert verdict.due_at == NOW
    assert verdict.disable_reason == "It answered 410 Gone."


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_counts_when_it_is_later(status: int) -> None:
    assert due_in(answered(status)) == 5
    assert due_in(answered(status, "1")) == 5
    assert due_in(answered(status, "60")) == 60
    assert due_in(answered(status, "60"), attempt=3) == 125
    assert due_in(answered(status, format_datetime(NOW + timedelta(seconds=90), usegmt=True))) == 90
    assert judge(answered(status, "60"), DELAYS, 6, NOW, no_jitter).state is DeliveryState.DEAD


def test_retry_after_of_other_answers_is_not_heeded() -> None:
    assert due_in(answered(500, "60")) == 5
    assert pause_asked(answered(500, "60"), NOW) == 0
    assert pause_asked(answered(503, "60"), NOW) == 60


@pytest.mark.parametrize("attempt", [1, 5, 6, 1440])
def test_in_doubt_no_attempt_is_the_last(attempt: int) -> None:
    verdict = judge(answered(503), DELAYS, attempt, NOW, no_jitter, doubt=4.5)
    assert (verdict.state, verdict.due_at) == (DeliveryState.PENDING, NOW + timedelta(seconds=4.5))
    verdict = judge(answered(503, "60"), DELAYS, attempt, NOW, no_jitter, doubt=4.5)
    assert verdict.due_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (5, 3125), (6, 3125), (60, 3125)])
def test_in_doubt_without_a_time_the_schedule_says_when(attempt: int, seconds: float) -> None:
    verdict = judge(answered(503), DELAYS, attempt, NOW, no_jitter, doubt=math.inf)
    assert (verdict.state, verdict.due_at) == (DeliveryState.PENDING, NOW + timedelta(seconds=seconds))


def test_who_wants_no_retries_gets_none() -> None:
    assert judge(answered(503), (), 1, NOW, no_jitter, doubt=4.5).state is DeliveryState.DEAD


@pytest.mark.parametrize("status", [None, 101, 301, 304, 408, 429, 500, 503, 599])
def test_what_speaks_of_the_endpoint(status: int | None) -> None:
    assert is_trouble(Answer(status, 0.1))


@pytest.mark.parametrize("status", [200, 204, 400, 401, 404, 410, 422])
def test_what_speaks_of_the_event(status: int) -> None:
    assert not is_trouble(Answer(status, 0.1))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 120 ", 120),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 500, 86400),
        ("1000000", 86400),
        ("Tue, 24 Nov 2026 21:49:00 GMT", 60),
        ("Tuesday, 24-Nov-26 21:49:00 GMT", 60),
        ("Tue Nov 24 21:49:00 2026", 60),
        ("Tue, 24 Nov 2026 21:49:00 -0000", 60),
        ("Tue, 24 Nov 2026 23:49:00 +0200", 60),
        ("Tue, 24 Nov 2026 21:47:00 GMT", 0),
        ("Tue, 24 Nov 2036 21:47:00 GMT", 86400),
        ("Tue, 99 Nov 2026 21:47:00 GMT", 0),
    ],
)
def test_forms_of_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_retry_after_is_read_or_passed_over(value: str) -> None:
    assert 0 <= retry_after_seconds(value, NOW) <= 86400


@pytest.mark.parametrize(
    ("first", "last", "delivered", "trouble"),
    [(200, 299, True, False), (300, 399, False, True), (400, 407, False, False), (500, 599, False, True)],
)
def test_statuses_at_the_ends_of_a_class_are_judged_alike(
    *, first: int, last: int, delivered: bool, trouble: bool
) -> None:
    for status in (first, last):
        verdict = judge(answered(status), DELAYS, 1, NOW, no_jitter)
        assert ((verdict.state is DeliveryState.DELIVERED), is_trouble(answered(status))) == (delivered, trouble)
        assert ("redirects are not followed" in verdict.error) == (first == 300)


@pytest.mark.parametrize(("delays", "longest"), [((5,), LONGEST_RETRY_AFTER), ((5, 9e6, 7), 9e6)])
def test_longest_wait_is_a_delay_with_its_jitter_and_an_hour(delays: tuple[float, ...], longest: float) -> None:
    assert longest_wait(delays) == timedelta(seconds=longest * (1 + JITTER) + 3600)
