"""The verdict on a delivery from its answer or the lack of one: delivered, due again at a time, dead, or endpoint
disabled.

Pure: time and randomness are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple

from cdc.model.delivery import DeliveryState
from cdc.model.errors import UsageError

_MINUTE, _HOUR = 60.0, 3600.0

#: Seconds to wait before each retry, by name.
SCHEDULES: dict[str, tuple[float, ...]] = {
    "facturascripts": (5.0, 25.0, 125.0, 625.0, 3125.0),
    "standard": (
        5.0,
        5 * _MINUTE,
        30 * _MINUTE,
        2 * _HOUR,
        5 * _HOUR,
        10 * _HOUR,
        14 * _HOUR,
        20 * _HOUR,
        24 * _HOUR,
    ),
}
#: The most that jitter adds, as a part of the delay.
JITTER = 0.1
#: No ``Retry-After`` makes a delivery wait longer than this (seconds).
LONGEST_RETRY_AFTER = 24 * _HOUR

#: Answers whose ``Retry-After`` is heeded.
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def longest_wait(schedule: Sequence[float]) -> timedelta:
    """Return how long a delivery may wait at most, by a schedule or by what its receiver asks."""
    return timedelta(seconds=max(LONGEST_RETRY_AFTER, *schedule, 0.0) * (1 + JITTER) + _HOUR)


Random = Callable[[], float]  # uniform in [0, 1), as random.random


class Answer(NamedTuple):
    """The result of one request.  ``status`` is None when no answer's head arrived; ``error`` then gives the reason in
    one sentence.  Beside a status it is set when the status alone says too little.  ``body``: its first bytes.
    ``duration``: seconds from the request on.  ``unsent``: no request could be made of the event.  ``disable_reason``:
    the endpoint is to be disabled.  ``final``: the receiver takes no event like this one, however often it is sent."""

    status: int | None
    duration: float
    retry_after: str | None = None
    body: bytes = b""
    error: str = ""
    unsent: bool = False
    disable_reason: str = ""
    final: bool = False


class Verdict(NamedTuple):
    """``error``: one sentence, empty when delivered.  ``due_at`` is set when the state is ``PENDING``."""

    state: DeliveryState
    error: str = ""
    due_at: datetime | None = None
    disable_reason: str = ""


DELIVERED = Verdict(DeliveryState.DELIVERED)


def schedule(name: str) -> tuple[float, ...]:
    """The retry schedule of this name, or `UsageError`."""
    try:
        return SCHEDULES[name]
    except KeyError:
        raise UsageError(f"There is no retry schedule {name!r}.", f"Use one of {', '.join(SCHEDULES)}.") from None


def next_delay(delays: Sequence[float], attempt: int, random: Random) -> float | None:
    """Seconds to wait after the failure of attempt number ``attempt`` (from 1); None when it was the last."""
    if attempt > len(delays):
        return None
    return delays[attempt - 1] * (1 + JITTER * random())


def retry_after_seconds(value: str | None, now: datetime) -> float:
    """Return the seconds of a ``Retry-After`` header (seconds or an HTTP date); 0 for none, past or unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Digits without bound are legal; more than nine of them are beyond the longest wait in any case.
        return min(float(text[:10]), LONGEST_RETRY_AFTER)
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if time.tzinfo is None:  # "-0000": UTC by another name
        time = time.replace(tzinfo=UTC)
    return min(max((time - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def pause_asked(answer: Answer, now: datetime) -> float:
    """Return the seconds of pause that the endpoint asks for; 0 for none."""
    return retry_after_seconds(answer.retry_after, now) if answer.status in _BUSY else 0.0


def is_trouble(answer: Answer) -> bool:
    """Return whether it speaks of the endpoint (it does not answer, sends elsewhere, is overrun or broken) rather than
    of the event that it was sent."""
    status = answer.status
    if status is None:
        return True
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return False
    client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return not client_error or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def judge(
    answer: Answer,
    delays: Sequence[float],
    attempt: int,
    now: datetime,
    random: Random,
    *,
    doubt: float | None = None,
) -> Verdict:
    """Judge an attempt.  ``attempt``: number of the one that ended ``now``; ``delays``: the endpoint's schedule.

    ``doubt``: seconds until the endpoint, which seems to be faulty, is tried again; None when it seems to work.  A
    failure then says nothing about the event: a delivery that has a schedule is tried again with the endpoint, also
    after its last attempt.
    """
    status = answer.status
    if status is not None and HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return DELIVERED
    error = describe_status(status) if status is not None and not answer.error else answer.error
    if status == HTTPStatus.GONE:
        # It stays due: it is not leased while the endpoint is disabled, and flows when it is enabled again.
        return Verdict(DeliveryState.PENDING, error, now, "It answered 410 Gone.")
    if answer.disable_reason:
        return Verdict(DeliveryState.PENDING, error, now, answer.disable_reason)
    counted = min(attempt, len(delays)) if doubt is not None and delays else attempt
    delay = next_delay(delays, counted, random)
    if delay is None or answer.final:
        return Verdict(DeliveryState.DEAD, error)
    if doubt is not None:
        delay = min(delay, doubt)
    delay = max(delay, pause_asked(answer, now))
    return Verdict(DeliveryState.PENDING, error, now + timedelta(seconds=delay))


def describe_status(status: int) -> str:
    """One sentence for a status that is no success."""
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"The endpoint answered {phrase}; redirects are not followed."
    if status == HTTPStatus.GONE:
        return f"The endpoint answered {phrase} and was disabled."
    return f"The endpoint answered {phrase}."
