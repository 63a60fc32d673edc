"""What the consumer costs while nothing happens, and its memory while 100,000 changes wait.

    PYTHONPATH=tests python tests/bench/bench_idle.py [--servers postgresql …] [--seconds 30] [--waiting 100000]

CPU: of `cdc run` and of the database server with all its processes, per cent of one core; beside it the server alone,
without a consumer.  Memory: the greatest resident size of `cdc run` (as the kernel counts it) from its start until the
journal is empty, for many transactions of ten changes and for a single one.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path

import psutil
from measure import SERVERS, BenchServer, add_invoices, commits_unsynced, cpu_seconds, erp_database
from product import consumer_of, journal_rows, receiving, start

from support.consumer import Consumer
from support.database import Database

INVOICES = 10_000
TRANSACTION = 10
SETTLE = 5.0  # seconds after which the server has done what starting and installing left behind


async def idle_cpu(database: Database, server: BenchServer, consumer: Consumer, seconds: float) -> None:
    await asyncio.sleep(SETTLE)
    before = cpu_seconds(server.process)
    await asyncio.sleep(seconds)
    alone = cpu_seconds(server.process) - before
    running = start(consumer)
    await asyncio.sleep(SETTLE)
    ours, theirs = cpu_seconds(running), cpu_seconds(server.process)
    await asyncio.sleep(seconds)
    ours, theirs = cpu_seconds(running) - ours, cpu_seconds(server.process) - theirs
    print(
        f"{server.label:30} idle CPU: cdc run {ours / seconds:.2%}, server {theirs / seconds:.2%}"
        f" (without a consumer {alone / seconds:.2%}); together {(ours + theirs) / seconds:.2%} (goal 2%)",
        flush=True,
    )
    await asyncio.to_thread(consumer.end)


def fill(database: Database, changes: int, size: int) -> None:
    """``changes`` updates of invoices, ``size`` a transaction."""
    update = "UPDATE facturascli SET numdocs = numdocs + 1 WHERE idfactura BETWEEN %s AND %s"
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        step = min(size, INVOICES)
        for first in range(0, changes, step):
            low = first % INVOICES + 1
            cursor.execute(update, [low, low + step - 1])
            if (first + step) % size == 0:
                connection.commit()
        connection.commit()


async def memory(database: Database, server: BenchServer, consumer: Consumer, size: int, rows: int) -> None:
    """``rows`` changes, ``size`` a transaction."""
    await asyncio.to_thread(fill, database, rows, size)
    running = start(consumer)
    before, started = peak_mb(running), time.perf_counter()
    await asyncio.to_thread(wait_until_drained, database)
    seconds = time.perf_counter() - started
    print(
        f"{server.label:30} {rows:,} changes waiting, {size:,} a transaction: in the outbox after {seconds:.1f} s,"
        f" at most {peak_mb(running):.0f} MB resident (at the start {before:.0f} MB; goal 150 MB)",
        flush=True,
    )
    await asyncio.to_thread(consumer.end)


def wait_until_drained(database: Database) -> None:
    while journal_rows(database):
        time.sleep(0.2)


def peak_mb(process: psutil.Process) -> float:
    """The greatest resident size so far."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


async def measure(name: str, seconds: float, waiting: int) -> None:
    with erp_database(SERVERS[name]) as (database, server):
        async with receiving(lambda _when, _body: None) as url:
            await asyncio.to_thread(add_invoices, database, INVOICES)
            with consumer_of(database, url) as consumer:
                if seconds:
                    await idle_cpu(database, server, consumer, seconds)
                if waiting:
                    await memory(database, server, consumer, TRANSACTION, waiting)
                    await memory(database, server, consumer, waiting, waiting)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--waiting", type=int, default=100_000)
    options = parser.parse_args()
    for name in options.servers:
        asyncio.run(measure(name, options.seconds, options.waiting))


if __name__ == "__main__":
    main()
