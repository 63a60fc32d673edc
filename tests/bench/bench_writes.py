"""What an ERP write waits for the consumer: its p99 with `cdc run` stopped, running, stalled and killed, against none.

    PYTHONPATH=tests python tests/bench/bench_writes.py [--rounds 7] [--writes 400] [--pause 0.004] [SERVER …]
    PYTHONPATH=tests python tests/bench/bench_writes.py --bulk 200000 [--rounds 7] [SERVER …]

Two databases of one server whose commits are durable (data under $TMPDIR): one has triggers and a consumer, the other
has nothing of ours.  A write is a transaction of an update of an invoice and one of its customer, timed from its begin
to the end of its commit; one in each database, in turn, so that both sides meet the same moments of the machine.  In
each round every state of the consumer gets ``--writes`` pairs:

running: it reads the journal and sends; stalled: by SIGSTOP in the middle of its work; killed: by SIGKILL in the middle
of its work; stopped: in good order.  In the last three the journal grows.

Printed are p50 and p99 of both sides over all rounds, and the median of the rounds' differences of p99.  The goal is at
most 1.0 ms more, and no error: a write that fails ends the benchmark.

``--bulk N`` instead: one UPDATE of N products, with triggers and an empty journal that nobody reads, and without, in
turn.  Printed are the medians of its seconds and of the server's processor time; the goal is three times as long.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from statistics import median
from typing import Any, NamedTuple, cast

import psutil
from measure import SERVERS, add_invoices, commits_unsynced, cpu_seconds, erp_database, paired, percentile
from product import consumer_of, receiving

from support.consumer import Consumer
from support.database import Database, create_database
from support.servers import TestServer

INVOICES = 1000
GOAL_MS, BULK_GOAL = 1.0, 3.0
STATES = ("running", "stalled", "killed", "stopped")
#: Writes before the kill, so that it comes in the middle of the consumer's work.
BEFORE = 20


class Side(NamedTuple):
    connection: Any
    dice: random.Random

    def write(self) -> float:
        """Milliseconds of one transaction."""
        number = self.dice.randrange(1, INVOICES + 1)
        cursor = self.connection.cursor()
        total = self.dice.randrange(10_000) / 100
        began = time.perf_counter()
        cursor.execute("BEGIN")
        cursor.execute(
            "UPDATE facturascli SET total = %s, neto = %s, observaciones = %s WHERE idfactura = %s",
            [total, total / 1.21, f"note {total}", number],
        )
        cursor.execute("UPDATE clientes SET riesgomax = %s WHERE codcliente = '1'", [total])
        cursor.execute("COMMIT")
        return (time.perf_counter() - began) * 1000


class Times(NamedTuple):
    ours: list[float]
    plain: list[float]

    def difference(self) -> float:
        return percentile(self.ours, 99) - percentile(self.plain, 99)


class Bench(NamedTuple):
    """``ours``, ``plain``: writers to the database with a consumer and to the one without."""

    database: Database
    consumer: Consumer
    ours: Side
    plain: Side
    options: argparse.Namespace

    def rounds(self) -> dict[str, list[Times]]:
        """State → the times of its rounds; a round before them warms up."""
        found: dict[str, list[Times]] = {state: [] for state in STATES}
        for turn in range(self.options.rounds + 1):
            for state, times in self._round():
                if turn:
                    found[state].append(times)
        return found

    def _round(self) -> Iterator[tuple[str, Times]]:
        """Each state follows from the one before it, in the middle of the consumer's work."""
        process = self._started()
        yield "running", self._pairs()
        process.send_signal(signal.SIGSTOP)
        yield "stalled", self._pairs()
        process.send_signal(signal.SIGCONT)
        for _ in range(BEFORE):
            self.ours.write()
        self.consumer.end(signal.SIGKILL)
        yield "killed", self._pairs()
        self._started()
        self.consumer.end()
        yield "stopped", self._pairs()

    def _started(self) -> psutil.Process:
        """The consumer, once it has emptied the journal."""
        self.consumer.start()
        assert self.consumer.process is not None
        table = "cdc.cdc_journal" if self.database.flavour == "postgresql" else "cdc_journal"
        while self.database.execute(f"SELECT 1 FROM {table} LIMIT 1"):
            if self.consumer.process.poll() is not None:
                raise SystemExit(f"the consumer ended: {self.consumer.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return psutil.Process(self.consumer.process.pid)

    def _pairs(self) -> Times:
        """One write of each side in turn; the side that begins changes."""
        times = Times([], [])
        for number in range(self.options.writes):
            for side in (0, 1) if number % 2 else (1, 0):
                times[side].append((self.ours, self.plain)[side].write())
                time.sleep(self.options.pause)
        return times


async def bench(name: str, options: argparse.Namespace) -> list[str]:
    async with AsyncExitStack() as stack:
        database, server = stack.enter_context(erp_database(SERVERS[name]))
        other = Database(cast("TestServer", server), create_database(cast("TestServer", server), erp=True))
        stack.callback(other.close)
        for each in (database, other):
            add_invoices(each, INVOICES)
        url = await stack.enter_async_context(receiving(lambda _at, _body: None))
        consumer = stack.enter_context(consumer_of(database, url))
        ours, plain = (Side(each.connect(autocommit=True), random.Random(1)) for each in (database, other))
        found = await asyncio.to_thread(Bench(database, consumer, ours, plain, options).rounds)
        return [_line(server.label, state, times) for state, times in found.items()]


def bulk(name: str, options: argparse.Namespace) -> str:
    with ExitStack() as stack:
        database, server = stack.enter_context(erp_database(SERVERS[name]))
        other = Database(cast("TestServer", server), create_database(cast("TestServer", server), erp=True))
        stack.callback(other.close)
        for each in (database, other):
            add_products(each, options.bulk)
        consumer = stack.enter_context(consumer_of(database, "http://127.0.0.1:9/"))
        used: dict[Database, list[float]] = {database: [], other: []}

        def ours() -> float:
            consumer.run("uninstall-triggers")
            consumer.run("install-triggers")
            return update(database)

        def update(each: Database) -> float:
            used_before, began = cpu_seconds(server.process), time.perf_counter()
            each.execute("UPDATE productos SET precio = precio + 1")
            seconds = time.perf_counter() - began
            used[each].append(cpu_seconds(server.process) - used_before)
            return seconds

        wall = paired(ours, lambda: update(other), options.rounds)
        cpu = [median(used[each][1:]) for each in (database, other)]
        ratio = median(a / b for a, b in zip(used[database][1:], used[other][1:], strict=True))
        times = [f"{value:.1f}" for value in (wall.ours, wall.other, wall.ratio, *cpu, ratio)]
        return "| " + " | ".join([server.label, *times, "met" if wall.ratio <= BULK_GOAL else "NOT MET"]) + " |"


def add_products(database: Database, count: int) -> None:
    with commits_unsynced(database) as connection:
        cursor = connection.cursor()
        columns = "(referencia, descripcion, codsubcuentaven, fechaalta, observaciones, precio, stockfis, tipo)"
        values = "(%s, %s, '7000000000', '2026-11-24', 'Bultos de 12', %s, 10, 'Normal')"
        rows = [[f"REF-{n}", f"Tornillo de acero inoxidable n.º {n}", n / 100] for n in range(count)]
        cursor.executemany(f"INSERT INTO productos {columns} VALUES {values}", rows)
        connection.commit()


def _line(label: str, state: str, rounds: Sequence[Times]) -> str:
    ours = [value for each in rounds for value in each.ours]
    plain = [value for each in rounds for value in each.plain]
    more = median(each.difference() for each in rounds)
    numbers = [f"{percentile(side, at):.2f}" for at in (50, 99) for side in (ours, plain)]
    verdict = "met" if more <= GOAL_MS else "NOT MET"
    return "| " + " | ".join([label, state, str(len(ours)), *numbers, f"{more:+.2f}", verdict]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=", ".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--writes", type=int, default=400, help="pairs of each state and round")
    parser.add_argument("--pause", type=float, default=0.004, help="seconds after each write")
    parser.add_argument("--bulk", type=int, default=0, metavar="N", help="products that one UPDATE changes")
    options = parser.parse_args()
    if options.bulk:
        print("| server | seconds with | without | ratio | processor time with | without | ratio | |")
        print("|" + " --- |" * 8)
        for name in options.servers or ("postgresql", "mariadb", "mysql"):
            print(bulk(name, options), flush=True)
        return
    print("| server | consumer | writes | p50 ours, ms | p50 none | p99 ours | p99 none | p99 more | |")
    print("|" + " --- |" * 9)
    for name in options.servers or ("postgresql", "mariadb", "mysql"):
        for line in asyncio.run(bench(name, options)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
