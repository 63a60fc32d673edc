"""End to end: a journal full of changes → mapped → durable outbox → signed POSTs to nginx, one `cdc run`; events/s.

PYTHONPATH=tests python tests/bench/bench_throughput.py [--servers postgresql mariadb] [--changes 20000]
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from bench_dispatch import nginx
from measure import SERVERS, add_invoices, commits_unsynced, erp_database
from product import consumer_of, journal_rows, start, unfinished

from support.consumer import Consumer
from support.database import Database

INVOICES = 5000
ENDPOINT = ("--concurrency", "64")


def fill(database: Database, changes: int) -> None:
    """One change a transaction, as FacturaScripts saves."""
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        for number in range(changes):
            cursor.execute("UPDATE facturascli SET numdocs = numdocs + 1 WHERE idfactura = %s", [number % INVOICES + 1])
            connection.commit()


def run(database: Database, consumer: Consumer, changes: int) -> tuple[float, float]:
    """Events a second: into the outbox, and to the last recorded 204."""
    fill(database, changes)
    wanted = unfinished(consumer)[0] + changes
    start(consumer)
    started = time.perf_counter()
    stored = 0.0
    while True:
        every, waiting = unfinished(consumer)
        if not stored and not journal_rows(database):
            stored = time.perf_counter() - started
        if every == wanted and not waiting:
            break
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    consumer.end()
    return changes / (stored or seconds), changes / seconds


def measure(name: str, changes: int, rounds: int) -> None:
    with erp_database(SERVERS[name]) as (database, server), nginx() as url:
        add_invoices(database, INVOICES)
        with consumer_of(database, url, "invoice.updated", *ENDPOINT) as consumer:
            results = [run(database, consumer, changes) for _ in range(rounds)]
        stored, sent = (median(side) for side in zip(*results, strict=True))
        print(
            f"{server.label:30} {changes:,} changes: into the outbox {stored:,.0f} events/s, to the last 204"
            f" {sent:,.0f} events/s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="*", default=["postgresql", "mariadb"], choices=list(SERVERS))
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for name in options.servers:
        measure(name, options.changes, options.rounds)


if __name__ == "__main__":
    main()
