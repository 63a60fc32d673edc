"""Compares what receivers got with what the ERP committed.  Shares no code with the product.

A violation is a sentence.  Times are seconds since the start of the run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from support.simulated.history import Change, Delivery, History, Promise, Request

#: The part of a delay that a sender may add, and what its arithmetic loses.
_JITTER = 1.1
_ROUNDING = 0.002
#: A breaker looks at the newest results of its process, at least and at most so many.  It opens when half of them are
#: failures of the receiver; a probe then takes the place of the schedule.
_FEWEST, _MOST = 10, 20


@dataclass(frozen=True)
class Rules:
    """``schedules``: the pauses before each retry, by endpoint.  ``whole``: endpoints that get every event after all
    earlier ones.  ``fenced``: nothing may be on its way twice at once.  ``timely``: all clocks are right, so that times
    can be compared.  ``undone``: recorded outcomes may have been undone by a power failure."""

    schedules: Mapping[str, Sequence[float]]
    whole: frozenset[str] = frozenset()
    fenced: bool = True
    timely: bool = True
    undone: bool = False


def judge(history: History, rules: Rules) -> list[str]:
    """Return the violations of a run that has ended with everything delivered, as far as its outbox says."""
    return [
        *history.complaints,
        *_invented(history),
        *_lost(history, rules),
        *_doubled(history),
        *_reordered(history, rules),
        *_at_once(history, rules),
        *_again(history, rules),
        *_early(history, rules),
        *_waits(history, rules),
        *_positions(history),
    ]


def _event(delivery: Delivery) -> tuple[str, str, str]:
    return delivery.record, delivery.event, delivery.text


def _name(change: Change) -> tuple[str, str, str]:
    return change.record, change.event, change.text


def _invented(history: History) -> Iterator[str]:
    """Events that no commit made, or that were sent before it."""
    committed = {_name(change): change.at for change in history.changes}
    for request in history.requests:
        for delivery in request.deliveries:
            at = committed.get(_event(delivery))
            if at is None:
                yield f"invented: request {request.number} tells {_event(delivery)}"
            elif request.sent < at:
                yield f"invented: request {request.number} tells {_event(delivery)} before its commit"


def _lost(history: History, rules: Rules) -> Iterator[str]:
    accepted = {
        (request.endpoint, *_event(delivery))
        for request in history.requests
        if request.accepted
        for delivery in request.deliveries
    }
    for endpoint in rules.schedules:
        for change in history.changes:
            if (endpoint, *_name(change)) not in accepted:
                yield f"lost: {endpoint} never accepted {_name(change)}"


def _doubled(history: History) -> Iterator[str]:
    """One change with two ids, or one id for two changes."""
    ids: dict[tuple[str, str, str], str] = {}
    changes: dict[str, tuple[str, str, str]] = {}
    for request in history.requests:
        for delivery in request.deliveries:
            event = _event(delivery)
            if ids.setdefault(event, delivery.id) != delivery.id:
                yield f"doubled: {event} has the ids {ids[event]} and {delivery.id} (request {request.number})"
            if changes.setdefault(delivery.id, event) != event:
                yield f"doubled: the id {delivery.id} is of {changes[delivery.id]} and of {event}"
        if len(request.deliveries) == 1 and request.webhook_id not in (request.deliveries[0].id, _of_batch(request)):
            yield f"doubled: request {request.number} has the id {request.webhook_id} in its head"


def _of_batch(request: Request) -> str:
    return request.webhook_id if request.webhook_id.startswith("batch_") else ""


def _reordered(history: History, rules: Rules) -> Iterator[str]:
    """A change sent before an earlier one of its record had been accepted, or given up."""
    ends = _ends(history)
    earlier: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    by_record: defaultdict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for change in history.changes:
        earlier[_name(change)] = list(by_record[change.record])
        by_record[change.record].append(_name(change))
    for request in history.requests:
        together = {_event(delivery) for delivery in request.deliveries}
        for event in sorted(together):
            for before in earlier.get(event, ()):
                if before not in together and ends.get((request.endpoint, *before), inf) > request.sent:
                    sent = f"{event} (request {request.number})"
                    yield f"reordered: {request.endpoint} is sent {sent} before {before}"
    for endpoint in rules.whole:
        yield from _reordered_as_a_whole(history, endpoint)


def _ends(history: History) -> dict[tuple[str, str, str, str], float]:
    """Return when deliveries were first accepted, or given up, by endpoint and change."""
    found: dict[tuple[str, str, str, str], float] = {}
    for request in history.requests:
        for delivery in request.deliveries:
            key = (request.endpoint, *_event(delivery))
            given_up = history.dead.get((request.endpoint, delivery.id), inf)
            found[key] = min(found.get(key, inf), given_up, *request.accepted)
    return found


def _reordered_as_a_whole(history: History, endpoint: str) -> Iterator[str]:
    """Yield violations at an endpoint that gets one event at a time: none is sent again once a later one was accepted
    first."""
    accepted: dict[str, float] = {}
    first: dict[str, float] = {}
    for request in history.requests:
        if request.endpoint == endpoint:
            (delivery,) = request.deliveries
            first.setdefault(delivery.id, request.sent)
            if request.accepted:
                accepted[delivery.id] = min(request.accepted[0], accepted.get(delivery.id, request.accepted[0]))
    order = sorted(first, key=lambda each: first[each])
    for former, later in pairwise(order):
        end = min(accepted.get(former, inf), history.dead.get((endpoint, former), inf))
        if first[later] < end:
            yield f"reordered: {endpoint} is sent {later} before {former} was accepted"


def _at_once(history: History, rules: Rules) -> Iterator[str]:
    """The same delivery, or two of one record, on their way at once from processes that live."""
    if not rules.fenced:
        return
    flying: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in history.requests:
        for record in sorted({delivery.record for delivery in request.deliveries}):
            for other in flying[request.endpoint, record]:
                if other.ended is None or (other.ended > request.sent and not other.died):
                    yield f"at once: requests {other.number} and {request.number} to {request.endpoint} of {record}"
            flying[request.endpoint, record].append(request)


def _again(history: History, rules: Rules) -> Iterator[str]:
    """Sent although it had been recorded as delivered."""
    if not rules.fenced or rules.undone:
        return
    for request in history.requests:
        for delivery in request.deliveries:
            at = history.delivered.get((request.endpoint, delivery.id))
            if at is not None and request.sent > at:
                yield f"again: request {request.number} tells {_event(delivery)}, recorded as delivered at {at:.3f} s"


def _early(history: History, rules: Rules) -> Iterator[str]:
    """Sent before the time that was recorded for it."""
    if not rules.timely or rules.undone:
        return
    sent: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in history.requests:
        for delivery in request.deliveries:
            sent[request.endpoint, delivery.id].append(request)
    for promise in history.promises:
        for request in sent[promise.endpoint, promise.event_id]:
            if promise.recorded < request.sent < promise.due - _ROUNDING:
                yield f"early: request {request.number} is sent before {promise.due:.3f} s"


def _waits(history: History, rules: Rules) -> Iterator[str]:
    """Retries scheduled sooner or later than the endpoint's schedule and its answer say."""
    if not rules.timely:
        return
    for promise in history.promises:
        if promise.status == GONE:
            continue
        answered = _answered(history, promise)
        asked = answered.retry_after if answered else None
        schedule = rules.schedules[promise.endpoint]
        planned = schedule[min(promise.attempt, len(schedule)) - 1]
        wait = promise.due - promise.at
        least = 0.0 if answered and _breaker_may_open(history, answered) else planned
        if asked is not None:
            least = max(least, asked)
        most = max(planned * _JITTER, asked or 0.0)
        if not least - _ROUNDING <= wait <= most + _ROUNDING:
            yield (
                f"at the wrong time: {promise.endpoint} {promise.event_id} waits {wait:.3f} s after attempt "
                f"{promise.attempt}, not {least:.3f} to {most:.3f} s"
            )


ACCEPTED, REJECTED, GONE = 204, 400, 410


def _answered(history: History, promise: Promise) -> Request | None:
    """Return the request whose failure led to the promise.

    Its ``retry_after`` is None when the receiver asked for no pause, which is not the same as a pause of 0 s."""
    for request in history.requests:
        if request.endpoint != promise.endpoint or request.ended is None:
            continue
        if abs(request.ended - promise.at) < _ROUNDING and any(
            delivery.id == promise.event_id for delivery in request.deliveries
        ):
            return request
    return None


def _breaker_may_open(history: History, last: Request) -> bool:
    """Return whether the results that the process of ``last`` had from its endpoint by then can open its breaker."""
    ended = sorted(
        (request.ended, request.status not in (ACCEPTED, REJECTED, GONE))
        for request in history.requests
        if (request.process, request.endpoint) == (last.process, last.endpoint)
        and request.ended is not None
        and request.ended <= (last.ended or 0.0)
    )
    failed = [failure for _, failure in ended]
    return any(
        2 * sum(failed[end - size : end]) >= size
        for end in range(_FEWEST, len(failed) + 1)
        for size in range(_FEWEST, min(_MOST, end) + 1)
    )


def _positions(history: History) -> Iterator[str]:
    """Each stored position must follow the one before."""
    last: tuple[str, int] | None = None
    text = ""
    for at, process, position in history.positions:
        if position == text:
            continue
        read: Any = json.loads(position)["marker"]
        marker = (str(read[0]), int(read[1]))
        if last is not None and (marker[0] != last[0] or marker[1] <= last[1]):
            yield f"backwards: {process} moves the position from {last} to {marker} at {at:.3f} s"
        last, text = marker, position
