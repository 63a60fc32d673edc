"""How long the events of an idle tenant take beside one with thousands of endpoints that all have due deliveries.

    python tests/bench/bench_turns.py [--endpoints 5000] [--each 4] [--events 60] [--rounds 3] [--outbox sqlite]

One dispatcher, a receiver in memory that answers after ``--answer`` seconds.  The idle tenant stores single events,
50 ms apart; its time is from before the store to the request: alone, then while the other tenant's ``--each``
deliveries of each of its endpoints are sent.  Printed are medians of the rounds, and the median of their ratios: the
goal is a p99 of at most twice that of alone.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from bench_outbox import endpoint, event
from bench_tenants import new_outbox
from measure import percentile

from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.signing import new_secret
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.outbox.store import OutboxStore

CLOCK = SystemClock()
PAUSE = 0.05


class Receiver:
    """Counts the requests of the busy tenant and times those of the idle one."""

    def __init__(self, answer: float) -> None:
        self._answer = answer
        self.busy = 0
        self.idle: asyncio.Queue[float] = asyncio.Queue()

    async def send(self, request: WebhookRequest) -> Answer:
        if request.url.endswith("idle"):
            self.idle.put_nowait(time.perf_counter())
        else:
            self.busy += 1
        await asyncio.sleep(self._answer)
        return Answer(204, self._answer)


class Taken(NamedTuple):
    """Milliseconds, and requests of the busy tenant a second."""

    p50: float
    p99: float
    after: float  # p99 from the store's return
    rate: float


async def measure(outbox: OutboxStore, options: argparse.Namespace, number: Callable[[], int]) -> Taken:
    receiver, times, after = Receiver(options.answer), list[float](), list[float]()
    dispatcher = Dispatcher(outbox, receiver, CLOCK, DispatchSettings("bench"))
    running = asyncio.create_task(dispatcher.run())
    begun = time.perf_counter()
    for each in range(options.events + 1):
        await asyncio.sleep(PAUSE)  # the pace
        one = event(number())._replace(source="idle")
        known = time.perf_counter()
        hand_over = None if options.searched else dispatcher.hand_over("idle")
        stored = await outbox.store("idle", Position(one.id), [one], {}, CLOCK.now(), hand_over=hand_over)
        if hand_over is not None and stored.leased:
            hand_over.take(stored.leased)
        else:
            dispatcher.notify()
        returned = time.perf_counter()
        sent = await receiver.idle.get()
        if each:  # the endpoints are read before the first
            times.append(sent - known)
            after.append(max(sent - returned, 0.0))
    rate = receiver.busy / (time.perf_counter() - begun)
    dispatcher.stop()
    await running
    return Taken(percentile(times, 50) * 1e3, percentile(times, 99) * 1e3, percentile(after, 99) * 1e3, rate)


async def pair(outbox: OutboxStore, options: argparse.Namespace) -> tuple[Taken, Taken]:
    """Return the times alone, and beside the other tenant."""
    numbers = iter(range(1, 1_000_000))
    await outbox.open()
    for name, source in (("idle", "idle"), *((f"busy-{each}", "busy") for each in range(options.endpoints))):
        made = replace(endpoint(name), url=f"http://127.0.0.1:9/{name}", sources=(source,), secret=new_secret())
        await outbox.add_endpoint(made)
    alone = await measure(outbox, options, lambda: next(numbers))
    for each in range(options.each):
        one = event(next(numbers))._replace(source="busy")
        await outbox.store("busy", Position(str(each)), [one], {}, CLOCK.now())
    beside = await measure(outbox, options, lambda: next(numbers))
    await outbox.close()
    return alone, beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=5000)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searched", action="store_true", help="the store leases nothing")
    parser.add_argument("--answer", type=float, default=0.002)
    parser.add_argument("--outbox", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    options = parser.parse_args()
    configure_logs("json", "error")
    for kind in options.outbox:
        pairs = []
        for _ in range(options.rounds):
            with new_outbox(kind) as (outbox, _):
                pairs.append(asyncio.run(pair(outbox, options)))
        sides = list(zip(*pairs, strict=True))
        p50 = [median(one.p50 for one in side) for side in sides]
        p99 = [median(one.p99 for one in side) for side in sides]
        after = [median(one.after for one in side) for side in sides]
        ratio = median(beside.p99 / alone.p99 for alone, beside in pairs)
        rate = median(beside.rate for _, beside in pairs)
        print(
            f"{kind:10} p50 {p50[0]:.1f} → {p50[1]:.1f} ms, p99 {p99[0]:.1f} → {p99[1]:.1f} ms ({ratio:.2f} times), "
            f"from the store's return {after[0]:.1f} → {after[1]:.1f} ms; "
            f"the other tenant {rate:,.0f} requests/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
