"""Backfill: rows a second into the SQLite outbox, and what the ERP's writes feel of it.

    PYTHONPATH=tests python tests/bench/bench_backfill.py [--servers postgresql …] [--rows 60000] [--rounds 3]
        [--capture triggers] [--turns 12] [--seconds 2] [--profile] [--only rate|writes]

The rows are invoices as FacturaScripts fills them, on a server of their own; each gives an event and a delivery to one
endpoint (which is disabled, so that nothing is sent and nobody is waited for).

*Rate*: one `Relay` in this process, as `cdc run` has it, from the job to its end.  *Writes*: `cdc run` as a process of
its own; an ERP that updates an invoice and commits, a hundred times a second, with a backfill going on and without, in
turns of two seconds (`backfill_writes.py`): printed are percentiles of a transaction over all turns of each side, and
their ratio: the goal is a p99 of at most 1.3 times.
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
from backfill_writes import Backfiller, Writer, job, measure_writes
from measure import SERVERS, add_invoices, erp_database

from cdc.config import load_config
from cdc.logs import configure_logs
from cdc.model.backfill import Backfill, BackfillState
from cdc.model.clock import SystemClock
from cdc.model.endpoint import Endpoint
from cdc.model.observer import SILENT
from cdc.outbox.sqlite.outbox import SqliteOutbox
from cdc.runtime.components import settled
from cdc.runtime.consumer import relay_of
from cdc.runtime.sharing import alone
from support.consumer import Consumer
from support.database import Database

_CLOCK = SystemClock()


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
        settled()
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


def felt(database: Database, consumer: Consumer, options: argparse.Namespace) -> None:
    with asyncio.Runner() as runner:
        outbox = runner.run(prepare(consumer.folder))
        consumer.start()
        try:
            runner.run(consumer.logged("reading"))
            writer, backfiller = Writer(database, options.rows), Backfiller(outbox, runner)
            measure_writes(writer, backfiller, options.turns, options.seconds)
        finally:
            consumer.end()
            runner.run(outbox.close())


def profiled(work: Callable[[], None]) -> None:
    profile = cProfile.Profile()
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def measure(name: str, options: argparse.Namespace) -> None:
    with erp_database(SERVERS[name]) as (database, server), tempfile.TemporaryDirectory() as folder:
        add_invoices(database, options.rows)
        consumer = Consumer.configure(Path(folder), database.info, f'capture = "{options.capture}"', as_installed=True)
        if options.capture != "binlog":
            consumer.run("install-slot" if options.capture == "logical" else "install-triggers")
        print(f"{server.label}, {options.capture}")
        if options.only != "writes":
            rates = [uvloop.run(rate(consumer, options.rows)) for _ in range(options.rounds)]
            print(f"  {median(rates):,.0f} rows/s into the outbox ({', '.join(f'{each:,.0f}' for each in rates)})")
        if options.profile:
            profiled(lambda: print(json.dumps({"rows/s": round(uvloop.run(rate(consumer, options.rows)))})))
        if options.only != "rate":
            felt(database, consumer, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="+", choices=list(SERVERS), default=["postgresql", "mariadb"])
    parser.add_argument("--capture", choices=("triggers", "binlog", "logical"), default="triggers")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", choices=("rate", "writes"))
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    configure_logs("text", "error")
    for name in options.servers:
        measure(name, options)


if __name__ == "__main__":
    main()
