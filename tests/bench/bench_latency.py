"""From "COMMIT returned" to "the POST has arrived", with `cdc run` in a process of its own and the durable outbox.

    PYTHONPATH=tests python tests/bench/bench_latency.py [--servers postgresql …] [--changes 300] [--idle 25] [--log]
        [--open 10]

Single updates with pauses of 20 to 120 ms ("trickle"), then with pauses of more than two seconds ("idle": MariaDB and
MySQL are then looked at more slowly).  The same run checks that every change arrived, and none twice.  --open: in
pairs, with and without a transaction of the ERP that has written and stays open.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from statistics import median

import orjson
from bench_capture import Debezium, task_of
from measure import SERVERS, add_invoices, erp_database, percentile
from product import consumer_of, receiving, start, wait_for_position

from support.database import Database

INVOICES = 200
HELD = INVOICES + 1
TRICKLE = (0.02, 0.12)
IDLE = (2.2, 2.5)


@dataclass
class Arrivals:
    """Number of the change (it is written into the invoice) → when it arrived; how often."""

    times: dict[int, float] = field(default_factory=dict)
    counts: Counter[int] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, when: float, body: bytes) -> None:
        number = orjson.loads(body)["data"]["numdocs"]
        self.times.setdefault(number, when)
        self.counts[number] += 1
        self.news.set()


def write(database: Database, numbers: range, pauses: tuple[float, float]) -> dict[int, float]:
    """Number of the change → when its commit returned."""
    connection = database.connect()
    cursor = connection.cursor()
    committed: dict[int, float] = {}
    for number in numbers:
        time.sleep(random.uniform(*pauses))
        cursor.execute(
            "UPDATE facturascli SET numdocs = %s WHERE idfactura = %s", [number, random.randint(1, INVOICES)]
        )
        connection.commit()
        committed[number] = time.perf_counter()
    return committed


async def spent_on(database: Database, arrivals: Arrivals, numbers: range, pauses: tuple[float, float]) -> list[float]:
    """Milliseconds from each commit to its arrival."""
    committed = await asyncio.to_thread(write, database, numbers, pauses)
    async with asyncio.timeout(30):
        while not committed.keys() <= arrivals.times.keys():
            arrivals.news.clear()
            await arrivals.news.wait()
    return [(arrivals.times[number] - at) * 1e3 for number, at in committed.items()]


@contextmanager
def open_transaction(database: Database) -> Iterator[None]:
    """One of the ERP that has written an invoice which nobody else writes."""
    connection = database.connect()
    connection.cursor().execute("UPDATE facturascli SET numdocs = -1 WHERE idfactura = %s", [HELD])
    yield
    connection.rollback()
    connection.close()


async def beside_open(database: Database, arrivals: Arrivals, pairs: int, changes: int) -> str:
    """With an open transaction against without, the first one changing."""
    medians: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * pairs):
        numbers = range(10_000 + turn * changes, 10_000 + (turn + 1) * changes)
        opened = turn % 4 in (0, 3)
        with open_transaction(database) if opened else nullcontext():
            spent = await spent_on(database, arrivals, numbers, TRICKLE)
        medians[opened].append(percentile(spent, 50))
    ratio = median(beside / without for without, beside in zip(*medians, strict=True))
    return (
        f"open transaction p50 {median(medians[1]):6.1f} ms, without {median(medians[0]):6.1f} ms, "
        f"median of {pairs} pairs' ratios {ratio:.2f}"
    )


async def phase(label: str, database: Database, arrivals: Arrivals, numbers: range, pauses: tuple[float, float]) -> str:
    spent = await spent_on(database, arrivals, numbers, pauses)
    return f"{label} p50 {percentile(spent, 50):6.1f} ms  p99 {percentile(spent, 99):6.1f} ms  ({len(spent)} changes)"


async def measure(name: str, changes: int, idle: int, pairs: int, *, log: bool) -> None:
    """``log``: captured from the server's log instead of by triggers."""
    capture = "triggers" if not log else "logical" if name == "postgresql" else "binlog"
    with erp_database(SERVERS[name]) as (database, server):
        arrivals = Arrivals()
        async with receiving(arrivals.take) as url:
            add_invoices(database, HELD)
            with consumer_of(database, url, "invoice.updated", capture=capture) as consumer:
                start(consumer)
                if log:
                    await asyncio.to_thread(wait_for_position, consumer)
                await phase("", database, arrivals, range(1, 21), TRICKLE)  # warms up
                lines = [await phase("trickle", database, arrivals, range(1000, 1000 + changes), TRICKLE)]
                if idle:
                    lines.append(await phase("idle", database, arrivals, range(5000, 5000 + idle), IDLE))
                if pairs:
                    lines.append(await beside_open(database, arrivals, pairs, changes // pairs))
                await asyncio.to_thread(consumer.end)
        twice = sum(count - 1 for count in arrivals.counts.values())
        for line in lines:
            print(f"{server.label:30} {capture:9} {line}", flush=True)
        print(f"{server.label:30} {capture:9} lost 0, doubled {twice}", flush=True)


async def debezium(changes: int, poll: int) -> None:
    """The same changes to Debezium's embedded engine and a Python callback; ``poll``: its poll.interval.ms."""
    with erp_database(SERVERS["mysql"]) as (database, server):
        add_invoices(database, INVOICES)
        arrivals = Arrivals()
        task = task_of(database, server, "facturascli", changes + 20) | {"poll": poll, "tell": True}
        engine = Debezium(task)
        engine.begin()
        loop = asyncio.get_running_loop()

        def listen() -> None:
            for line in engine.lines():
                found = orjson.loads(line)
                if "at" in found:
                    body = orjson.dumps({"data": found["value"]})
                    loop.call_soon_threadsafe(arrivals.take, found["at"], body)

        listening = asyncio.create_task(asyncio.to_thread(listen))
        await phase("", database, arrivals, range(1, 21), TRICKLE)
        line = await phase("trickle", database, arrivals, range(1000, 1000 + changes), TRICKLE)
        await listening
        print(f"{server.label:30} Debezium, poll.interval.ms {poll}: {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--idle", type=int, default=25)
    parser.add_argument("--log", action="store_true", help="capture from the log instead of by triggers")
    parser.add_argument("--open", type=int, default=0, metavar="PAIRS", help="with and without an open transaction")
    parser.add_argument("--debezium", type=int, metavar="MS", help="Debezium instead, with this poll interval")
    options = parser.parse_args()
    if options.debezium:
        asyncio.run(debezium(options.changes, options.debezium))
        return
    for name in options.servers:
        if not options.log or name != "mariadb":  # which has no log
            asyncio.run(measure(name, options.changes, options.idle, options.open, log=options.log))


if __name__ == "__main__":
    main()
