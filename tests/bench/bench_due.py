"""The delay of an ERP's writes by the search for due records in a table of a million receipts.

    PYTHONPATH=tests python tests/bench/bench_due.py [--servers postgresql …] [--rows 1000000] [--turns 6] [--seconds 4]

One `Relay` in this process, as `cdc run` has it, reads a table without an index on the date, so that each search reads
all of it; a process of its own updates a receipt and commits a hundred times a second, with a search going on and
without, in turns.  Printed are the seconds of a search while the ERP writes nothing, percentiles of a transaction over
all turns of each side, and the ratio of the p99: the goal is at most 1.1.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Gate
from pathlib import Path
from typing import Any
from unittest import mock

from measure import SERVERS, erp_database, percentile

from cdc.config import load_config
from cdc.logs import configure_logs
from cdc.model.change import Batch
from cdc.model.clock import SystemClock
from cdc.model.event import Event
from cdc.model.observer import Observer
from cdc.relay import nobody
from cdc.runtime import consumer as consumer_module
from cdc.runtime.components import settled
from cdc.runtime.sharing import alone
from support.consumer import Consumer
from support.database import Database
from support.memory_outbox import MemoryOutbox

PACE = 100
TABLE = """CREATE TABLE recibos (id integer PRIMARY KEY, codcliente varchar(10), codigofactura varchar(20), fecha date,
importe double precision, vencimiento date, pagado boolean, observaciones text)"""
FILL = {
    "postgresql": """INSERT INTO recibos SELECT n, 'C' || n % 1000, 'FAC2026A' || n, date '2024-01-01' + n % 1000,
100.5, date '2024-01-01' + n % 1400, n % 10 <> 0, 'x' FROM generate_series(0, {last}) AS n""",
    "mariadb": """INSERT INTO recibos SELECT seq, CONCAT('C', seq % 1000), CONCAT('FAC2026A', seq),
'2024-01-01' + INTERVAL seq % 1000 DAY, 100.5, '2024-01-01' + INTERVAL seq % 1400 DAY, seq % 10 <> 0, 'x'
FROM seq_0_to_{last}""",
}
RULES = """
due = { timezone = "UTC" }
event = [{ table = "recibos", name = "due", date = "vencimiento", days = [-7, 0, 7, 30], where.pagado.not = true }]
"""


class DayClock(SystemClock):
    """A clock that shows one time of day; ``days``: added to its date."""

    days = 0

    def now(self) -> datetime:
        return datetime(2026, 11, 29, 7, tzinfo=UTC) + timedelta(days=self.days)


class Searches(Observer):
    """``done``: searches that ended."""

    done = pages = events = 0

    def stored(self, source: str, batch: Batch, events: Sequence[Event], new: int) -> None:
        self.events += sum(each.days is not None for each in events)
        if batch.step is not None:
            self.pages += 1
            self.done += batch.step.finished


def write(database: Database, rows: int, go: Gate, spent: Connection) -> None:
    """Update a receipt `PACE` times a second while ``go`` is set; send the seconds of each when it is cleared."""
    connection = database.connect()
    cursor, number, taken = connection.cursor(), 0, []
    while True:
        if not go.is_set():
            if taken:
                spent.send(taken)
                taken = []
            go.wait()
        number += 1
        began = time.perf_counter()
        cursor.execute("UPDATE recibos SET importe = importe + 1 WHERE id = %s", [number * 7919 % rows])
        connection.commit()
        taken.append(time.perf_counter() - began)
        time.sleep(max(0.0, began + 1 / PACE - time.perf_counter()))


def prepare(database: Database, folder: Path, rows: int) -> Consumer:
    database.execute(TABLE)
    database.execute(FILL[database.flavour].format(last=rows - 1))
    consumer = Consumer.configure(folder, database.info, 'rules = "rules.toml"')
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    consumer.run("install-triggers")
    return consumer


async def felt(database: Database, consumer: Consumer, options: argparse.Namespace) -> None:
    clock, searches, stop = DayClock(), Searches(), asyncio.Event()
    source = load_config(consumer.folder / "cdc.toml").select_source("main")
    settled()
    with mock.patch.object(consumer_module, "SystemClock", return_value=clock):
        relay = consumer_module.relay_of(source, MemoryOutbox(), nobody, searches, alone())
    began = time.perf_counter()
    running = asyncio.create_task(relay.run(stop))
    while not searches.done:  # noqa: ASYNC110 - an observer has no event to await
        await asyncio.sleep(0.05)
    print(f"  {time.perf_counter() - began:.1f} s for a search of {options.rows:,} rows, {searches.events} events")
    go, (receiver, sender) = multiprocessing.Event(), multiprocessing.Pipe(duplex=False)
    writer = multiprocessing.Process(target=write, args=(database, options.rows, go, sender), daemon=True)
    writer.start()
    spent: dict[bool, list[float]] = {True: [], False: []}
    pages = searches.pages
    for turn in range(2 * options.turns):
        searching = turn % 4 in (1, 2)
        go.set()
        until = time.perf_counter() + options.seconds
        while time.perf_counter() < until:
            clock.days += searching and searches.done > clock.days  # the next search
            await asyncio.sleep(0.02)
        go.clear()
        spent[searching] += await asyncio.to_thread(receiver.recv)
        while searches.done <= clock.days:  # noqa: ASYNC110 - as above; the other side's turn begins without one
            await asyncio.sleep(0.05)
    report(spent, searches.pages - pages)
    writer.kill()
    stop.set()
    await running


def report(spent: dict[bool, list[float]], pages: int) -> None:
    found: dict[bool, Any] = {
        side: [percentile(taken, each) * 1000 for each in (50, 95, 99)] for side, taken in spent.items()
    }
    for side, (p50, p95, p99) in found.items():
        words = f"with a search ({pages} pages)" if side else "without"
        print(f"  {len(spent[side]):,} writes {words}: p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms")
    print(f"  ratio of p99: {found[True][2] / found[False][2]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="+", choices=list(FILL), default=list(FILL))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    configure_logs("text", "error")
    for name in options.servers:
        with erp_database(SERVERS[name]) as (database, server), tempfile.TemporaryDirectory() as folder:
            consumer = prepare(database, Path(folder), options.rows)
            print(server.label)
            asyncio.run(felt(database, consumer, options))


if __name__ == "__main__":
    main()
