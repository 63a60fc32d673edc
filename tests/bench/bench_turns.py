"""How long the events of an idle tenant take beside one with thousands of endpoints that all have due deliveries.

    python tests/bench/bench_turns.py [--endpoints 5000] [--each 4] [--events 60] [--rounds 3] [--outbox sqlite]
        [--erp postgresql mariadb]

Two spans, alone and then while the other tenant's ``--each`` deliveries of each of its endpoints are sent:

* with ``--erp``, the whole way: from the return of the ERP's commit to the request, captured by triggers, with
  `cdc run` in a process of its own and receivers in this one;
* from before the store to the request: one dispatcher, a receiver in memory that answers after ``--answer`` seconds.

The idle tenant stores single events, 50 ms apart (the ERP commits 20 to 120 ms apart).  Printed are medians of the
rounds, and the median of their ratios: the goal is a p99 of at most twice that of alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench_latency import INVOICES, TRICKLE, Arrivals, spent_on
from bench_outbox import endpoint, event
from bench_tenants import new_outbox
from measure import SERVERS, add_invoices, erp_database, percentile
from product import receiving, start

from cdc.cli.environment import run_async
from cdc.dispatch.dispatcher import Dispatcher, DispatchSettings
from cdc.dispatch.request import WebhookRequest
from cdc.dispatch.retry import Answer
from cdc.dispatch.signing import new_secret
from cdc.logs import configure_logs
from cdc.model.change import Position
from cdc.model.clock import SystemClock
from cdc.model.connection import ConnectionInfo
from cdc.outbox.store import OutboxStore
from cdc.runtime.components import settled
from support.consumer import Consumer, database_url

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
        if hand_over is not None:
            hand_over.take(stored.leased)
        if not stored.leased:
            dispatcher.notify()
        returned = time.perf_counter()
        sent = await receiver.idle.get()
        if not each:  # the endpoints are read before the first
            settled()
        else:
            times.append(sent - known)
            after.append(max(sent - returned, 0.0))
    rate = receiver.busy / (time.perf_counter() - begun)
    dispatcher.stop()
    await running
    return Taken(percentile(times, 50) * 1e3, percentile(times, 99) * 1e3, percentile(after, 99) * 1e3, rate)


async def pair(outbox: OutboxStore, options: argparse.Namespace) -> tuple[Taken, Taken]:
    """Return the times alone, and beside the other tenant."""
    numbers = iter(range(1, 1_000_000))
    await add_endpoints(outbox, options.endpoints, ("idle", "http://127.0.0.1:9/idle"), "http://127.0.0.1:9")
    alone = await measure(outbox, options, lambda: next(numbers))
    for _ in range(options.each):
        await store_busy(outbox, next(numbers))
    beside = await measure(outbox, options, lambda: next(numbers))
    await outbox.close()
    return alone, beside


async def whole_pair(erp: str, kind: str, options: argparse.Namespace, numbers: Iterator[int]) -> tuple[Taken, Taken]:
    """Return the times of the whole way, alone, and beside the other tenant."""
    arrivals, busy = Arrivals(), list[float]()
    with (
        erp_database(SERVERS[erp]) as (database, _),
        new_outbox(kind) as (outbox, where),
        tempfile.TemporaryDirectory() as folder,
    ):
        add_invoices(database, INVOICES)
        consumer = Consumer.configure(Path(folder), database.info, as_installed=True)
        url = database_url(where) if isinstance(where, ConnectionInfo) else f"sqlite:///{where}"
        os.environ["CDC_OUTBOX_URL"] = url
        async with receiving(arrivals.take) as idle_url, receiving(lambda when, _: busy.append(when)) as busy_url:
            await add_endpoints(outbox, options.endpoints, ("main", idle_url), busy_url)
            consumer.has_outbox = True
            await asyncio.to_thread(consumer.run, "install-triggers")
            await asyncio.to_thread(start, consumer)
            sides = []
            for each in (20, options.events, options.events):  # the first ones warm up
                for _ in range(options.each if len(sides) == 2 else 0):
                    await store_busy(outbox, next(numbers))
                begun, busy[:] = time.perf_counter(), ()
                first = next(numbers) * 1000
                spent = await spent_on(database, arrivals, range(first, first + each), TRICKLE)
                rate = len(busy) / (time.perf_counter() - begun)
                sides.append(Taken(percentile(spent, 50), percentile(spent, 99), 0.0, rate))
            await asyncio.to_thread(consumer.end)
        await outbox.close()
    return sides[1], sides[2]


async def add_endpoints(outbox: OutboxStore, number: int, idle: tuple[str, str], busy_url: str) -> None:
    """``idle``: the source of its tenant, and the URL."""
    await outbox.open()
    busy = (("busy", f"{busy_url}/{each}") for each in range(number))
    for place, (source, url) in enumerate((idle, *busy)):
        made = replace(endpoint(f"ep-{place}"), url=url, sources=(source,), secret=new_secret())
        await outbox.add_endpoint(made)


async def store_busy(outbox: OutboxStore, number: int) -> None:
    one = event(number)._replace(source="busy")
    await outbox.store("busy", Position(str(number)), [one], {}, CLOCK.now())


def report(label: str, pairs: Sequence[tuple[Taken, Taken]]) -> None:
    sides = list(zip(*pairs, strict=True))
    p50 = [median(one.p50 for one in side) for side in sides]
    p99 = [median(one.p99 for one in side) for side in sides]
    after = [median(one.after for one in side) for side in sides]
    ratio = median(beside.p99 / alone.p99 for alone, beside in pairs)
    rate = median(beside.rate for _, beside in pairs)
    returned = f"from the store's return {after[0]:.1f} → {after[1]:.1f} ms; " if after[0] else ""
    print(
        f"{label:38} p50 {p50[0]:.1f} → {p50[1]:.1f} ms, p99 {p99[0]:.1f} → {p99[1]:.1f} ms ({ratio:.2f} times); "
        f"{returned}the other tenant {rate:,.0f} requests/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=5000)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--searched", action="store_true", help="the store leases nothing")
    parser.add_argument("--answer", type=float, default=0.002)
    parser.add_argument("--outbox", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--erp", nargs="+", choices=["postgresql", "mariadb"], default=[])
    options = parser.parse_args()
    configure_logs("json", "error")
    for kind in options.outbox:
        for erp in options.erp:
            numbers = iter(range(1, 1_000_000))
            rounds = range(options.rounds)
            report(
                f"{kind}, whole way from {erp}", [run_async(whole_pair(erp, kind, options, numbers)) for _ in rounds]
            )
        pairs = []
        for _ in range(options.rounds):
            with new_outbox(kind) as (outbox, _):
                pairs.append(run_async(pair(outbox, options)))
        report(f"{kind}, from the store", pairs)


if __name__ == "__main__":
    main()
