"""The cost of an old transaction (a backup, a forgotten session) for a PostgreSQL outbox, against a database without.

    python tests/bench/bench_old_transaction.py [--delivered 100000 200000] [--batches 2000] [--seconds 20] [--before]

The transaction began before anything was delivered, so that PostgreSQL can remove no version of a row since then.
Before each measurement both databases get finished deliveries, each stored, leased and recorded, and versions of the
rows that every store and record changes (`--batches` of them); the one without the transaction is vacuumed.  A round
stores, leases and records 64 deliveries and asks for the next due time.  Printed is the server's CPU time of each step:
the mean of the rounds of ``--seconds``, in both databases in turns.  ``--before``: each search for due deliveries is
whole.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import mean
from typing import Any

import psycopg
from bench_outbox import NOW, batches, delivered, endpoint

from cdc.database.postgres_connection import conninfo
from cdc.model.change import Position
from cdc.model.connection import ConnectionInfo
from cdc.outbox.postgres import floors
from cdc.outbox.postgres.outbox import PostgresOutbox
from support.server import postgres_server

BATCH = 64
RATE = 1000  # deliveries a second
LEASE = timedelta(seconds=60)
WARM = 6  # seconds: plans are made, and `DueFloors` has looked
DONE = """
INSERT INTO cdc_outbox.event (sequence, id, name, source, record, "time", payload)
SELECT n, 'evt_old' || n, 'invoice.updated', 'main', 'facturascli:' || n, now(), '{{}}'
FROM generate_series({first}, {last}) AS n;;
INSERT INTO cdc_outbox.delivery (id, event, endpoint, lane, state, due, created_at)
SELECT n, n, 1, n, 1, '{now}'::timestamptz + n * interval '1 ms', now() FROM generate_series({first}, {last}) AS n;;
UPDATE cdc_outbox.delivery SET worker = 'w', due = due + interval '60 s', attempts = 1
WHERE id BETWEEN {first} AND {last};;
UPDATE cdc_outbox.delivery SET state = 2, worker = NULL, finished_at = due WHERE id BETWEEN {first} AND {last};;
INSERT INTO cdc_outbox.attempt (delivery, number, url, status, started_at, duration, error, answer)
SELECT n, 1, 'https://example.com/hook', 204, now(), 0.01, '', '' FROM generate_series({first}, {last}) AS n;;
"""
COUNTED = """
INSERT INTO cdc_outbox.finished_count VALUES (1, 2, {shard}, 0) ON CONFLICT DO NOTHING;;
INSERT INTO cdc_outbox.source_position VALUES ('main', '0') ON CONFLICT DO NOTHING;;
DO $$BEGIN FOR n IN 1..{batches} LOOP
    UPDATE cdc_outbox.finished_count SET deliveries = deliveries + 1
    WHERE endpoint = 1 AND state = 2 AND shard = {shard};
    UPDATE cdc_outbox.source_position SET position = n::text WHERE source = 'main';
    COMMIT;
END LOOP; END$$
"""


class Side:
    """A database, and the CPU milliseconds that each step took in it."""

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.outbox = PostgresOutbox(info)
        self.spent: dict[str, list[float]] = defaultdict(list)

    async def timed(self, step: str, session: Any, work: Any) -> Any:
        connection = session._connection
        before = cpu(connection.info.backend_pid) if connection else 0.0
        result = await work
        if connection:
            self.spent[step].append(cpu(connection.info.backend_pid) - before)
        return result

    async def round(self, number: int) -> None:
        outbox, now = self.outbox, NOW + timedelta(seconds=number / RATE)
        (events,) = batches(number, number + BATCH, BATCH)
        store = outbox.store("main", Position(str(number)), events, {}, now)
        await self.timed("store", outbox._durable, store)
        lease = outbox.lease("bench", now, now + LEASE, BATCH, {"ep_1": BATCH})
        leased = await self.timed("lease", outbox._leasing, lease)
        if len(leased) != BATCH:
            raise SystemExit(f"{len(leased)} leased")
        done = [delivered(each) for each in leased]
        await self.timed("record", outbox._recording, outbox.finish("bench", done, now))
        await self.timed("next due", outbox._due, outbox.next_due(now))


async def rounds(sides: list[Side], number: int, seconds: float) -> int:
    """Return the number of the last delivery."""
    until = time.monotonic() + seconds
    for turn in itertools.count():
        for side in sides if turn % 2 else reversed(sides):
            await side.round(number + 1)
        number += BATCH
        if time.monotonic() > until:
            return number
    raise AssertionError


def cpu(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def fill(side: Side, first: int, last: int, versions: int, *, vacuumed: bool) -> None:
    recorder = side.outbox._recording._connection
    assert recorder is not None
    shard = recorder.info.backend_pid & 15
    with psycopg.connect(conninfo(side.info, "bench"), autocommit=True) as db:
        db.execute("SET synchronous_commit = off")
        text = DONE.format(first=first, last=last, now=NOW) + COUNTED.format(shard=shard, batches=versions)
        for statement in text.split(";;\n"):
            db.execute(statement.encode())
        db.execute("VACUUM ANALYZE" if vacuumed else "ANALYZE")


async def main(given: argparse.Namespace) -> None:
    with postgres_server("max_wal_size=4GB", "shared_buffers=256MB", "fsync=off", "autovacuum=off") as info:
        with psycopg.connect(conninfo(info, "bench"), autocommit=True) as db:
            db.execute("CREATE DATABASE plain")
        sides = [Side(info), Side(replace(info, database="plain"))]
        for side in sides:
            await side.outbox.open()
            await side.outbox.add_endpoint(endpoint("ep_1"))
        with psycopg.connect(conninfo(info, "bench")) as old:
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM cdc_outbox.delivery")
            number = done = 0
            for upto in (0, *given.delivered):
                if upto:
                    last = number + upto - done
                    for side, vacuumed in zip(sides, (False, True), strict=True):
                        await asyncio.to_thread(fill, side, number + 1, last, given.batches, vacuumed=vacuumed)
                    number, done = last, upto
                for side in sides:
                    number = await rounds([side], number, WARM)
                    side.spent.clear()
                number = await rounds(sides, number, given.seconds)
                say(upto, sides)
        for side in sides:
            await side.outbox.close()


def say(upto: int, sides: list[Side]) -> None:
    print(f"{upto:,} finished since it began; CPU ms of {BATCH}, beside it and without")
    for step in sides[0].spent:
        beside, without = (mean(side.spent[step]) for side in sides)
        print(f"  {step:9} {beside:8.2f} {without:8.2f} {beside / without:6.2f}", flush=True)
    for side in sides:
        side.spent.clear()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delivered", type=int, nargs="+", default=[100_000, 200_000])
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--before", action="store_true")
    arguments = parser.parse_args()
    if arguments.before:
        floors.MANY_READS = 10**18  # type: ignore[misc] # a constant of the product, which is switched off here
    asyncio.run(main(arguments))
