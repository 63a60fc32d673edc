"""End to end: a journal full of changes → mapped → durable outbox → signed POSTs to nginx, one `cdc run`; events/s, and
the CPU time of an event, on which other processes of the machine have little influence.

PYTHONPATH=tests python tests/bench/bench_throughput.py [--servers postgresql mariadb] [--changes 20000] [--roles]

``--roles``: two processes, one captures and one dispatches.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from statistics import median

import psutil
from bench_dispatch import nginx
from measure import SERVERS, add_invoices, change_invoices, cpu_seconds, erp_database
from product import consumer_of, journal_rows, start, unfinished

from support.consumer import Consumer
from support.database import Database

INVOICES = 5000
ENDPOINT = ("--concurrency", "64")
SETTLE = 5.0


def run(database: Database, consumer: Consumer, changes: int) -> tuple[float, ...]:
    """Events a second, into the outbox and to the last recorded 204; microseconds of CPU of an event."""
    change_invoices(database, INVOICES, changes)
    wanted = unfinished(consumer)[0] + changes
    process = start(consumer)
    started, spent = time.perf_counter(), cpu_seconds(process)
    stored = 0.0
    while True:
        every, waiting = unfinished(consumer)
        if not stored and not journal_rows(database):
            stored = time.perf_counter() - started
        if every == wanted and not waiting:
            break
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    spent = cpu_seconds(process) - spent
    consumer.end()
    return changes / (stored or seconds), changes / seconds, spent / changes * 1e6


def run_roles(database: Database, consumer: Consumer, changes: int) -> tuple[float, ...]:
    """Microseconds of CPU of an event: of the process that captures, and of the one that dispatches."""
    wanted = unfinished(consumer)[0] + changes
    processes = []
    for role in ("capture", "dispatch"):
        with (consumer.folder / f"{role}.log").open("wb") as log:
            command = consumer.command("--log-format", "json", "run", "--role", role)
            processes.append(psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=log))
    while b'"reading"' not in (consumer.folder / "capture.log").read_bytes():
        time.sleep(0.1)
    time.sleep(SETTLE)  # for the dispatcher, which says nothing
    for process in processes:
        process.suspend()
    change_invoices(database, INVOICES, changes)
    before = [cpu_seconds(process) for process in processes]
    for process in processes:
        process.resume()
    while unfinished(consumer) != (wanted, 0):
        time.sleep(0.1)
    spent = [cpu_seconds(process) - start for process, start in zip(processes, before, strict=True)]
    for process in processes:
        process.terminate()
        process.wait()
    return tuple(seconds / changes * 1e6 for seconds in spent)


def measure(name: str, changes: int, rounds: int, *, roles: bool) -> None:
    with erp_database(SERVERS[name]) as (database, server), nginx() as url:
        add_invoices(database, INVOICES)
        with consumer_of(database, url, "invoice.updated", *ENDPOINT) as consumer:
            results = [(run_roles if roles else run)(database, consumer, changes) for _ in range(rounds)]
        medians = [median(side) for side in zip(*results, strict=True)]
        words = (
            "CPU of an event: capture {:.0f} µs, dispatch {:.0f} µs"
            if roles
            else "into the outbox {:,.0f} events/s, to the last 204 {:,.0f} events/s, CPU of an event {:.0f} µs"
        )
        print(f"{server.label:30} {changes:,} changes: {words.format(*medians)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", default=["postgresql", "mariadb"], choices=list(SERVERS))
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--roles", action="store_true")
    options = parser.parse_args()
    for name in options.servers:
        measure(name, options.changes, options.rounds, roles=options.roles)


if __name__ == "__main__":
    main()
