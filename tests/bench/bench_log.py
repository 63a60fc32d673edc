"""How long searches, replays and retention take in a long log.  Prints figures; no test.

``python tests/bench/bench_log.py [--events N] [--outbox sqlite|postgresql]``: so many events with a delivery to one
endpoint, spread over thirty days and a hundred thousand records; 1 in 50,000 is a dead letter or of a rare name.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from bench_outbox import NOW, delivered, endpoint, event, opened, say

from cdc.model.change import Position
from cdc.model.delivery import DeliveryFilter, DeliveryState, EventFilter
from cdc.model.endpoint import Endpoint
from cdc.model.event import Event
from cdc.outbox.base import Retention
from cdc.outbox.store import OutboxStore
from cdc.outbox.tidy import BATCH

RARE = 50_000
DAYS = 30
RECORDS = 100_000


def made(number: int, events: int) -> Event:
    name = "user.login" if number % RARE == 1 else ("invoice.updated", "receipt.paid", "stock.changed")[number % 3]
    at = NOW + timedelta(days=DAYS) * (number / events)
    return event(number)._replace(name=name, record=f"facturascli:{number % RECORDS}", time=at)


async def fill(outbox: OutboxStore, events: int) -> None:
    await outbox.add_endpoint(endpoint("ep_1"))
    for first in range(0, events, 1000):
        batch = [made(number, events) for number in range(first, min(first + 1000, events))]
        await outbox.store("main", Position(str(first)), batch, {}, batch[0].time)
        while leased := await outbox.lease("bench", batch[-1].time, batch[-1].time + timedelta(seconds=60), 1000):
            outcomes = [delivered(one) for one in leased]
            if first % RARE == 0:
                outcomes[0] = outcomes[0]._replace(state=DeliveryState.DEAD)
            await outbox.finish("bench", outcomes, batch[-1].time)


async def timed(what: str, work: Callable[[], Awaitable[Any]]) -> None:
    """The median of nine."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    say(what, sorted(times)[4] * 1e3, "ms")


def searches(end: timedelta) -> dict[str, DeliveryFilter]:
    new: Endpoint = endpoint("ep_new")
    return {
        "newest 50": DeliveryFilter(),
        "of a record": DeliveryFilter(record="facturascli:77"),
        "of a frequent event": DeliveryFilter(event_pattern="stock.changed"),
        "of a rare event": DeliveryFilter(event_pattern="user.*"),
        "of all events but one": DeliveryFilter(event_pattern="*.*d"),
        "to an endpoint": DeliveryFilter(endpoint_id="ep_1"),
        "to an endpoint that got nothing": DeliveryFilter(endpoint_id=new.id),
        "dead letters": DeliveryFilter(state=DeliveryState.DEAD),
        "delivered": DeliveryFilter(state=DeliveryState.DELIVERED),
        "pending (none)": DeliveryFilter(state=DeliveryState.PENDING),
        "of the last hour": DeliveryFilter(since=NOW + end - timedelta(hours=1)),
        "of an hour three weeks ago": DeliveryFilter(since=NOW, until=NOW + timedelta(hours=1)),
        "of the last ten days": DeliveryFilter(since=NOW + end - timedelta(days=10)),
        "of an hour, to an endpoint, of an event": DeliveryFilter(
            endpoint_id="ep_1", event_pattern="receipt.*", since=NOW, until=NOW + timedelta(hours=1)
        ),
    }


async def main(kind: str, events: int) -> None:
    async with opened(kind) as outbox:
        await fill(outbox, events)
        say("events", events, "")
        for what, which in searches(timedelta(days=DAYS)).items():
            await timed(what, lambda which=which: outbox.deliveries(which, 50))  # type: ignore[misc] # mypy: a default's type
        await timed("events of a record", lambda: outbox.find_events(EventFilter(record="facturascli:77"), 50))
        await outbox.add_endpoint(endpoint("ep_new"))
        await timed("replay, a step of 50", lambda: outbox.replay(DeliveryFilter(endpoint_id="ep_1"), 50, NOW))
        await timed("history, a step of 50", lambda: outbox.replay(DeliveryFilter(endpoint_id="ep_new"), 50, NOW))
        what = Retention(NOW + timedelta(days=90), NOW + timedelta(days=90))
        after = events // 10
        await timed(f"retention, a step of {BATCH}", lambda: outbox.retain(what, BATCH, after))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--outbox", choices=["sqlite", "postgresql"], default="sqlite")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.outbox, arguments.events))
