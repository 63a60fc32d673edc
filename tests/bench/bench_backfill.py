"""Backfill: rows a second into the SQLite outbox, and what the ERP's writes feel of it.

    PYTHONPATH=tests python tests/bench/bench_backfill.py [--servers postgresql …] [--rows 60000] [--rounds 3]
        [--capture triggers] [--seconds 3] [--profile] [--only rate|writes]

The rows are invoices as FacturaScripts fills them, on a server of their own; each gives an event and a delivery to one
endpoint (which is disabled, so that nothing is sent and nobody is waited for).

*Rate*: one `Relay` in this process, as `cdc run` has it, from the job to its end.  *Writes*: `cdc run` as a process of
its own; an ERP that updates an invoice and commits, a hundred times a second, with a backfill going on and without, in
turn; printed is the p99 of a transaction, and the median of the rounds' ratios: the goal is at most 1.3 times.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import uvloop
from measure import SERVERS, add_invoices, erp_database, paired, percentile

from cdc.backfill import Backfill, BackfillState
from cdc.clock import SystemClock
from cdc.config import load_config
from cdc.endpoint import Endpoint
from cdc.logs import configure_logs
from cdc.observer import SILENT
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.service.consumer_parts import relay_of
from cdc.service.sharing import alone
from support.consumer import Consumer
from support.database import Database

#: Transactions of the ERP a second.
PACE = 100
_CLOCK = SystemClock()


def job(number: int) -> Backfill:
    return Backfill(f"bf_{number}", "main", "facturascli", "bench", _CLOCK.now())


async def prepare(folder: Path) -> SqliteOutbox:
    outbox = SqliteOutbox(folder / "cdc.db")
    await outbox.open()
    wanted = Endpoint("ep_1", "https://example.com", ("*.existing",), "whsec_c2VjcmV0", _CLOCK.now(), enabled=False)
    await outbox.add_endpoint(wanted)
    return outbox


async def until_ended(outbox: SqliteOutbox, backfill: Backfill) -> None:
    while (found := await outbox.find_backfill(backfill.id)) is None or not found.state.ended:  # noqa: ASYNC110 - an outbox tells nobody
        await asyncio.sleep(0.01)
    if found.state is not BackfillState.DONE:
        raise SystemExit(found.error)


async def rate(consumer: Consumer, rows: int) -> float:
    """Rows a second."""
    with tempfile.TemporaryDirectory(dir=consumer.folder) as folder:
        outbox = await prepare(Path(folder))
        source = load_config(consumer.folder / "cdc.toml").select_source("main")
        stop = asyncio.Event()
        await outbox.add_backfill(job(1))
        running = asyncio.create_task(relay_of(source, outbox, lambda: None, SILENT, alone()).run(stop))
        while (await outbox.find_backfill("bf_1") or job(1)).rows == 0:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        before, started = (await outbox.find_backfill("bf_1") or job(1)).rows, time.perf_counter()
        await until_ended(outbox, job(1))
        seconds = time.perf_counter() - started
        stop.set()
        await running
        await outbox.close()
    return (rows - before) / seconds


def write(database: Database, rows: int, seconds: float) -> float:
    """The p99 of a transaction, in milliseconds."""
    connection = database.connect()
    cursor, spent, started = connection.cursor(), [], time.perf_counter()
    for number in range(int(seconds * PACE)):
        time.sleep(max(0.0, started + number / PACE - time.perf_counter()))
        began = time.perf_counter()
        cursor.execute("UPDATE facturascli SET total = total + 1 WHERE idfactura = %s", [number * 7919 % rows + 1])
        connection.commit()
        spent.append(time.perf_counter() - began)
    connection.close()
    return percentile(spent, 99) * 1000


def writes(database: Database, consumer: Consumer, rows: int, seconds: float, rounds: int) -> None:
    outbox_of = asyncio.Runner()
    outbox = outbox_of.run(prepare(consumer.folder))
    consumer.start()
    outbox_of.run(consumer.logged("reading"))
    numbers = iter(range(1, 1000))

    def with_backfill() -> float:
        backfill = job(next(numbers))
        outbox_of.run(outbox.add_backfill(backfill))
        while (outbox_of.run(outbox.find_backfill(backfill.id)) or backfill).rows == 0:
            time.sleep(0.01)
        spent = write(database, rows, seconds)
        found = outbox_of.run(outbox.find_backfill(backfill.id))
        if found is None or found.state is not BackfillState.RUNNING:
            raise SystemExit("the backfill ended before the writes did: more --rows or fewer --seconds")
        outbox_of.run(outbox.set_backfill(backfill.id, BackfillState.CANCELLED, "", _CLOCK.now()))
        return spent

    pair = paired(with_backfill, lambda: write(database, rows, seconds), rounds)
    consumer.end()
    outbox_of.run(outbox.close())
    outbox_of.close()
    print(f"  ERP writes: p99 {pair.ours:.2f} ms with a backfill, {pair.other:.2f} ms without ({pair.ratio:.2f} times)")


def profiled(work: Callable[[], None]) -> None:
    profile = cProfile.Profile()
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def measure(name: str, options: argparse.Namespace) -> None:
    with erp_database(SERVERS[name]) as (database, server), tempfile.TemporaryDirectory() as folder:
        add_invoices(database, options.rows)
        consumer = Consumer.configure(Path(folder), database.info, f'capture = "{options.capture}"')
        if options.capture != "binlog":
            consumer.run("install-slot" if options.capture == "logical" else "install-triggers")
        print(f"{server.label}, {options.capture}")
        if options.only != "writes":
            rates = [uvloop.run(rate(consumer, options.rows)) for _ in range(options.rounds)]
            print(f"  {median(rates):,.0f} rows/s into the outbox ({', '.join(f'{each:,.0f}' for each in rates)})")
        if options.profile:
            profiled(lambda: print(json.dumps({"rows/s": round(uvloop.run(rate(consumer, options.rows)))})))
        if options.only != "rate":
            writes(database, consumer, options.rows, options.seconds, options.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=["postgresql", "mariadb"])
    parser.add_argument("--capture", choices=("triggers", "binlog", "logical"), default="triggers")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", choices=("rate", "writes"))
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    configure_logs("text", "error")
    for name in options.servers:
        measure(name, options)


if __name__ == "__main__":
    main()
