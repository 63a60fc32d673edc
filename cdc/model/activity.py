"""Statistics of attempts: counters by minute, endpoint and source, which become counters by hour."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cdc.model.delivery import DeliveryState, Outcome
from cdc.model.event import TESTS

#: Minutes become hours at this age; hours are removed at that age.
MINUTES_KEPT: Final = timedelta(hours=2)
HOURS_KEPT: Final = timedelta(days=400)


class Activity(NamedTuple):
    """Attempts for one endpoint and source in the period that begins at ``since``.  ``seconds``: their duration."""

    since: datetime
    endpoint_id: str
    source: str
    delivered: int
    failed: int
    seconds: float


def counted(outcomes: Iterable[Outcome], now: datetime) -> list[Activity]:
    """Return the counters of the attempts, each once.  Tests and cancelled deliveries do not count."""
    found: dict[tuple[str, str], list[float]] = {}
    for attempt, state, _, _, _, endpoint_id, source, _ in outcomes:
        key = endpoint_id, source
        counter = found.get(key)
        if counter is None:
            counter = found[key] = [0, 0, 0.0]
        if state is DeliveryState.DELIVERED:
            counter[0] += 1
        elif state is not DeliveryState.CANCELLED:
            counter[1] += 1
        counter[2] += attempt.duration
    minute = now.replace(second=0, microsecond=0)
    return [
        Activity(minute, endpoint_id, source, int(delivered), int(failed), seconds)
        for (endpoint_id, source), (delivered, failed, seconds) in sorted(found.items())
        if delivered + failed and source != TESTS
    ]
